"""The line of results in input order: laws that hold whatever happens to it."""

import threading
from collections import deque
from contextlib import nullcontext

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from rxpool import WorkerPool
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.queues import SortedQueue
from rxpool.pool._state.results import InputOrder
from rxpool.pool._state.slots import Slots
from rxpool.pool._state.task import BEHIND, READY, Task, again
from tests.waiting import eventually


class Line(RuleBasedStateMachine):
    """Tasks take places alone or behind another, end, are tried again, divided and left out."""

    def __init__(self):
        super().__init__()
        self.order = InputOrder(nullcontext())
        self.waiting = deque(Task(None, n, 0.0) for n in range(200))
        self.line = []  # what should be in it
        self.ready = set()
        self.behind = set()
        self.numbers = iter(range(1000, 10_000))

    def one(self, data, of):
        """One of *of*."""
        return of[data.draw(st.integers(0, len(of) - 1))]

    @property
    def busy(self):
        """In the line, and not done."""
        return [task for task in self.line if task not in self.ready]

    @rule(most=st.integers(1, 4), bounded=st.booleans())
    def take(self, most, bounded):
        """A worker takes the next: within the bound, unless it has its place already."""
        room = self.order.bound(most)
        if not self.waiting:
            return
        head = self.waiting[0]
        if bounded and room <= 0 and head not in self.line:
            with pytest.raises(IndexError):
                self.order.take(self.waiting, bounded)
            assert self.waiting[0] is head
            return
        assert self.order.take(self.waiting, bounded) is head
        if head not in self.line:
            self.line.append(head)

    @rule(behind=st.booleans())
    def place(self, behind):
        """The next one is handed over, or starts."""
        if not self.waiting:
            return
        task = self.waiting.popleft()
        self.order.place(task, behind)
        if task not in self.line:
            self.line.append(task)
            if behind:
                self.behind.add(task)

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def give_back(self, data):
        """One that was not begun waits again, and keeps its place."""
        task = self.one(data, self.busy)
        if task not in self.waiting:
            self.waiting.appendleft(task)

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def put(self, data):
        """One is done; whether that can be fetched is told."""
        task = self.one(data, self.busy)
        if task in self.waiting:
            self.waiting.remove(task)
        self.ready.add(task)
        assert self.order.put_next(task) is (self.line[0] in self.ready)

    @precondition(lambda self: self.busy)
    @rule(data=st.data(), parts=st.integers(1, 3))
    def replace(self, data, parts):
        """Others stand for one, each of them for itself."""
        task = self.one(data, self.busy)
        others = [again(task) for _ in range(parts)]
        self.order.replace(task, others)
        where = self.line.index(task)
        self.line[where : where + 1] = others
        self.behind.discard(task)
        if task in self.waiting:
            self.waiting.remove(task)

    @precondition(lambda self: self.busy)
    @rule(data=st.data())
    def remove(self, data):
        """One gives nothing."""
        task = self.one(data, self.busy)
        self.order.remove(task)
        self.line.remove(task)
        self.behind.discard(task)
        if task in self.waiting:
            self.waiting.remove(task)

    @rule()
    def fetch(self):
        """The first comes out, if it is done."""
        found = self.order.fetch()
        if self.line and self.line[0] in self.ready:
            assert found is self.line.pop(0)
            self.behind.discard(found)
        else:
            assert found is None

    @rule()
    def fetch_all(self):
        """All come out that nothing holds up."""
        expected = []
        while self.line and self.line[0] in self.ready:
            expected.append(self.line.pop(0))
        self.behind.difference_update(expected)
        assert self.order.fetch_all() == expected
        assert self.order.held == len(expected)
        self.order.held = 0

    @rule()
    def discard(self):
        """All is forgotten."""
        for task in self.busy:
            if task in self.waiting:
                self.waiting.remove(task)
        self.order.discard()
        self.line.clear()
        self.behind.clear()

    @invariant()
    def counts(self):
        """Places are in the order of starts; what came in lots counts once a lot."""
        assert list(self.order.line) == self.line
        assert self.order.started == len(self.line) - len(self.behind) >= 0
        assert {task for task in self.line if task.placed & BEHIND} == self.behind
        done = [task for task in self.line if task in self.ready]
        assert self.order.undelivered == len(done)
        assert self.order.ready is bool(self.line and self.line[0] in self.ready)
        assert self.order.empty is (not self.line)
        assert {task for task in self.line if task.placed & READY} == set(done)


Line.TestCase.settings = settings(
    max_examples=150,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestLine = Line.TestCase


def ordered(slots=1, waiting=9, settled=256, **options):
    """Slots, their flow in input order, its first task, which runs, and those that wait.

    So many results have come out before.
    """
    pool = Slots(slots)
    flow = FlowState(pool, ordered=True, max_pending=10_000, **options)
    flow.results.fetched = settled
    tasks = [Task(flow, n, 0.0) for n in range(waiting + 1)]
    for task in tasks:
        pool.accept(flow, task)
    return pool, flow, tasks


def test_a_lot_counts_with_the_one_that_it_came_with():
    """Against the default bound; so `started` is the number of lots."""
    slots, flow, tasks = ordered()
    assert slots.reserve(tasks[0], 4, fairly=False) == tasks[1:5]
    assert flow.results.started == 1


def test_of_few_items_each_counts():
    """A flow that has just begun, or is short, has no more started than the bound says."""
    slots, flow, tasks = ordered(settled=255)
    assert slots.reserve(tasks[0], 9, fairly=False) == tasks[1:8]
    assert flow.results.started == 8


@pytest.mark.parametrize(
    ("settled", "took", "options", "most"),
    [
        (255, 0.0, {}, 16),
        (256, 1.0, {}, 16),
        (256, 0.00005, {}, 256),
        (256, 0.00005, {"max_reorder": 5}, 5),
    ],
)
def test_of_many_short_items_more_are_started(settled, took, options, most):
    """Unless the user has set the bound; long ones, and few, keep to 8 for each worker."""
    slots, flow, _ = ordered(slots=2, waiting=400, settled=settled, **options)
    flow.results.took = took
    started = 2
    while flow.capacity.may_run() or flow.running >= 2:
        flow.settle(next(iter(flow.tasks)), 0, None, 1.0)
        flow.results.line[0].placed &= ~READY  # the head is not done yet
        slots.free += 1
        if slots.fill() == []:
            break
        started += 1
        slots.free = 0
    assert flow.results.started == most


def test_a_worker_that_is_never_idle_is_handed_lots_within_the_bound():
    """Each lot behind the first counts by its own first task, whoever asks for it."""
    slots, flow, tasks = ordered(waiting=500)
    head = tasks[0]
    lots = [slots.reserve(head, 10, fairly=False)]
    for _ in range(50):
        lots.append(slots.reserve(lots[-1][-1], 10, fairly=False))
        if not lots[-1]:
            break
    assert [len(lot) for lot in lots] == [10] * 8 + [0]
    assert flow.results.started == 8
    assert slots.reserve(head, 10, fairly=False) == []  # it has its lot


def test_a_lot_of_what_was_given_back_does_not_bring_more_for_nothing():
    """Those have their places; the others count."""
    slots, flow, tasks = ordered(waiting=30)
    lot = slots.reserve(tasks[0], 10, fairly=False)
    slots.give_back(lot)
    again_out = slots.reserve(tasks[0], 15, fairly=False)
    assert again_out == tasks[1:16]
    assert flow.results.started == 2
    assert list(flow.results.line) == tasks[:16]


@pytest.mark.parametrize("most", [1, 2, 5])
def test_a_bound_of_the_user_is_counted_task_by_task(most):
    """Whatever travels together."""
    slots, flow, tasks = ordered(max_reorder=most)
    assert slots.reserve(tasks[0], 100, fairly=False) == tasks[1:most]
    assert flow.results.started == most
    assert slots.reserve(tasks[most - 1], 100, fairly=False) == []


def test_a_task_that_is_withdrawn_holds_up_nobody():
    """It may have had its place, as one that waited for a limit has."""
    _, flow, tasks = ordered(slots=2, waiting=3)
    flow.chunks.take_back(tasks[1])
    flow.cancellation.withdraw(tasks[1], "not wanted")
    assert tasks[1] not in flow.results.line
    flow.settle(tasks[0], 0, None, 1.0)
    assert flow.fetch() is tasks[0]
    assert not flow.results.line


def test_room_that_a_worker_has_taken_meanwhile_is_not_given_twice(monkeypatch):
    """The bound is looked at again when a task is taken: workers need no lock for that."""
    slots, flow, tasks = ordered(slots=3, waiting=6, max_reorder=2)
    assert flow.results.started == 2
    flow.settle(tasks[0], 0, None, 1.0)
    slots.release(tasks[0])
    assert flow.fetch() is tasks[0]
    may_run = type(flow.capacity).may_run
    taken = []

    def meanwhile(capacity):
        found = may_run(capacity)
        if not taken:
            taken.append(flow.pop_next()())
        return found

    monkeypatch.setattr(type(flow.capacity), "may_run", meanwhile)
    assert slots.fill() == []
    assert taken == [tasks[2]]
    assert flow.results.started == 2


def test_a_finaliser_may_end_a_flow_where_its_thread_holds_the_guard():
    """As it runs anywhere; the pool's own lock lets it, too."""
    with WorkerPool(2) as pool:
        guard = pool._engine.slots.guard()
        order, queue = InputOrder(guard), SortedQueue(True, guard)
        ended = threading.Event()

        def finalised():
            with guard:
                order.discard()
                queue.release(task)
                ended.set()

        task = Task(None, 0, 0.0)
        queue.number(task, "key", 0)
        queue.append(task)
        assert queue.popleft() is task
        threading.Thread(target=finalised, daemon=True).start()
        eventually(ended.is_set, 5.0)


def test_what_is_discarded_while_it_is_fetched_is_not_missed():
    """Outcomes of dropped items are fetched without the guard."""

    class Emptied(deque):
        """Somebody disposes after the look."""

        def __bool__(self):
            return True

    order = InputOrder(nullcontext())
    order.done = Emptied()
    assert order.fetch() is None


def test_a_lot_takes_those_that_may_leave_the_most_urgent_first():
    """One of each key; the next of it when that is released."""
    queue = SortedQueue(True, nullcontext())
    tasks = []
    for number, (key, priority) in enumerate([("a", 5), ("a", 0), ("b", 1), ("c", 9)]):
        task = Task(None, number, 0.0)
        queue.number(task, key, priority)
        queue.append(task)
        tasks.append(task)
    assert queue.pop_several(2) == [tasks[2], tasks[0]]
    assert queue.pop_several(9) == [tasks[3]]
    assert queue.pop_several(9) == []
    assert len(queue) == 1
    queue.release(tasks[0])
    assert queue.pop_several(9) == [tasks[1]]
