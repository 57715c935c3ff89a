"""The queue of tasks with keys or priorities: laws that hold whatever happens to it."""

from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)

from rxpool.pool._state.queues import SortedQueue
from rxpool.pool._state.task import Task

WHICH = st.integers(0, 1000)
KEYS = st.sampled_from(["a", "b", "c", None, 1, True, (1, 2)])
PRIORITIES = st.sampled_from([0.0, -1.5, 2, 10**9])


class Lines(RuleBasedStateMachine):
    """A queue beside the simplest model of it: a list of what waits."""

    @initialize(keyed=st.booleans())
    def open_queue(self, keyed):
        """An empty queue."""
        self.keyed = keyed
        self.queue = SortedQueue(keyed, nullcontext())
        self.waiting = []  # the oldest first
        self.out = []  # left and not released

    def task(self, key, priority):
        """A task that has come."""
        task = Task(None, None, 0.0)
        self.queue.number(task, key if self.keyed else None, priority)
        return task

    def busy(self, key):
        """Whether a task of *key* is out."""
        return self.keyed and any(task.key == key for task in self.out)

    def ready(self):
        """What may leave: without keys everything, else the first of each key that is free."""
        seen = [task.key for task in self.out] if self.keyed else []
        ready = []
        for task in self.waiting:
            if not self.keyed or task.key not in seen:
                ready.append(task)
                if self.keyed:
                    seen.append(task.key)
        return ready

    @rule(key=KEYS, priority=PRIORITIES)
    def append(self, key, priority):
        """A task waits."""
        task = self.task(key, priority)
        self.queue.append(task)
        self.waiting.append(task)

    @rule(key=KEYS, priority=PRIORITIES)
    def start_at_once(self, key, priority):
        """A task starts without waiting, if it would be the first to."""
        task = self.task(key, priority)
        if self.keyed:
            free = not self.busy(key) and all(task.key != key for task in self.waiting)
        else:
            free = not self.waiting
        assert self.queue.takes_at_once(task) is free
        if free:
            self.queue.admit(task)
            self.out.append(task)

    @rule()
    def popleft(self):
        """The least of those that may leave leaves; equals first come."""
        ready = self.ready()
        if not ready:
            with pytest.raises(IndexError):
                self.queue.popleft()
            return
        task = self.queue.popleft()
        assert task is min(ready, key=lambda task: task.rank)
        self.waiting.remove(task)
        self.out.append(task)

    @rule()
    def pop_oldest(self):
        """The one that waited longest goes, whether it may leave or not."""
        if not self.waiting:
            with pytest.raises(IndexError):
                self.queue.pop_oldest()
            return
        assert self.queue.pop_oldest() is self.waiting.pop(0)

    @precondition(lambda self: self.waiting)
    @rule(which=WHICH)
    def remove(self, which):
        """A task goes from anywhere."""
        task = self.waiting.pop(which % len(self.waiting))
        self.queue.remove(task)
        with pytest.raises(KeyError):
            self.queue.remove(task)

    @precondition(lambda self: self.out)
    @rule(which=WHICH)
    def release(self, which):
        """A task is settled; the next of its key may leave."""
        self.queue.release(self.out.pop(which % len(self.out)))

    @precondition(lambda self: self.out)
    @rule(which=WHICH)
    def take_back(self, which):
        """A task that had left waits again, before the others of its key."""
        task = self.out.pop(which % len(self.out))
        self.queue.appendleft(task)
        self.waiting.insert(0, task)

    @precondition(lambda self: self.out)
    @rule(which=WHICH, count=st.integers(1, 3))
    def split(self, which, count):
        """Others wait in the place of a task that had left, before those of its key."""
        task = self.out.pop(which % len(self.out))
        parts = [Task(None, n, 0.0) for n in range(count)]
        self.queue.split(task, parts)
        assert all(part.rank[: len(task.rank)] == task.rank for part in parts)
        assert parts == sorted(parts, key=lambda part: part.rank)
        self.waiting[:0] = parts

    @invariant()
    def holds_what_waits(self):
        """Nothing is lost, doubled, or out of the order in which it came."""
        assert list(self.queue) == self.waiting
        assert len(self.queue) == len(self.waiting)
        assert all(task in self.queue for task in self.waiting)
        assert not any(task in self.queue for task in self.out)

    @invariant()
    def one_of_each_key(self):
        """No two tasks of one key are out."""
        if self.keyed:
            keys = [task.key for task in self.out]
            assert len(keys) == len(set(keys))

    @invariant()
    def stays_small(self):
        """What has gone is not kept, be it tasks or keys."""
        queue = self.queue
        assert len(queue._heap) <= 2 * len(self.waiting) + 16 + 1
        if self.keyed:
            live = {task.key for task in [*self.waiting, *self.out]}
            assert set(queue._lines) == live
            assert set(queue._heads.values()) == set(self.ready())

    def teardown(self):
        """All of it can be had in the end."""
        if not hasattr(self, "queue"):
            return
        left = len(self.waiting)
        for _ in range(left):
            while self.keyed and self.out:
                self.release(0)
            self.popleft()
        assert not self.queue
        assert not self.waiting


Lines.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestLines = Lines.TestCase


def queued(queue, tasks):
    """Let tasks wait: name, key, priority."""
    made = []
    for name, key, priority in tasks:
        task = Task(None, name, 0.0)
        queue.number(task, key, priority)
        queue.append(task)
        made.append(task)
    return made


def left(queue):
    """What may leave now."""
    names = []
    while True:
        try:
            names.append(queue.popleft())
        except IndexError:
            return names


def test_smaller_first_equals_first_come():
    """Without keys the priority decides, then who came first."""
    queue = SortedQueue(keyed=False, guard=nullcontext())
    queued(queue, [("a", 0, 5), ("b", 0, 1), ("c", 0, 5), ("d", 0, 1), ("e", 0, -2)])
    assert "".join(task.item for task in left(queue)) == "ebdac"


def test_a_key_is_in_line_behind_the_one_that_is_out():
    """Whatever its priority, a task waits for those of its key that came before it."""
    queue = SortedQueue(keyed=True, guard=nullcontext())
    queued(queue, [("a", "x", 9), ("b", "x", 0), ("c", "y", 5), ("d", "x", -9)])
    first = left(queue)
    assert "".join(task.item for task in first) == "ca"
    queue.release(first[1])
    (second,) = left(queue)
    assert second.item == "b"
    queue.release(second)
    assert [task.item for task in left(queue)] == ["d"]


def test_who_is_dropped_does_not_hold_up_its_key():
    """With the head of a line gone, the next of its key may leave."""
    queue = SortedQueue(keyed=True, guard=nullcontext())
    a, _, _ = queued(queue, [("a", "x", 0), ("b", "x", 0), ("c", "y", 0)])
    assert queue.pop_oldest() is a
    assert [task.item for task in left(queue)] == ["b", "c"]


def test_equal_keys_are_one_key():
    """Keys are compared as in a dict."""
    queue = SortedQueue(keyed=True, guard=nullcontext())
    queued(queue, [("a", 1, 0), ("b", 1.0, 0), ("c", True, 0)])
    assert [task.item for task in left(queue)] == ["a"]


@pytest.mark.parametrize("keyed", [False, True])
def test_what_was_removed_leaves_no_memory_behind(keyed):
    """A queue where everything is dropped, never started, stays small."""
    queue = SortedQueue(keyed, nullcontext())
    queued(queue, [("first", "key of the first", -1)])
    for n in range(5000):
        (task,) = queued(queue, [(n, n, 0)])
        queue.remove(task)
    assert len(queue._heap) < 20
    assert len(queue._lines) == keyed
