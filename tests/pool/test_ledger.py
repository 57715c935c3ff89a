"""The books of a pool in single cases."""

from itertools import product

import pytest

from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import DROPPED, FULL, STARTED, WAITING, Slots
from rxpool.pool._state.task import Task


def flow_of(slots=1, **options):
    """Slots and their only flow."""
    pool = Slots(slots)
    return pool, FlowState(pool, **options)


def fed(slots, flow, count):
    """Push items; their tasks and what became of them."""
    tasks = [Task(flow, n, 0.0) for n in range(count)]
    verdicts = [slots.accept(flow, task) for task in tasks]
    for task in tasks:
        task.started = 0.0
    return tasks, verdicts


@pytest.mark.parametrize(
    ("options", "verdicts"),
    [
        ({"max_pending": 2}, [STARTED, WAITING, WAITING, FULL]),
        ({"max_pending": 0}, [STARTED, FULL, FULL, FULL]),
        ({"max_pending": 1, "overflow": "drop_newest"}, [STARTED, WAITING, DROPPED, DROPPED]),
        ({"max_pending": 1, "overflow": "drop_oldest"}, [STARTED, WAITING, WAITING, WAITING]),
        ({"max_pending": 0, "overflow": "drop_oldest"}, [STARTED, DROPPED, DROPPED, DROPPED]),
    ],
)
def test_what_becomes_of_items(options, verdicts):
    """The first takes the slot, `max_pending` wait, then the policy decides."""
    slots, flow = flow_of(**options)
    assert fed(slots, flow, 4)[1] == verdicts


def test_results_nobody_fetched_count_as_pending():
    """In completion order what is done and not fetched takes room from what may wait."""
    slots, flow = flow_of(max_pending=1)
    tasks, _ = fed(slots, flow, 2)
    assert flow.settle(tasks[0], None, None, 1.0)
    slots.release(tasks[0])
    assert slots.fill() == [tasks[1]]
    tasks[1].started = 1.0
    assert not flow.capacity.has_room()
    assert flow.fetch() is tasks[0]
    assert flow.capacity.has_room()


def test_flows_take_turns():
    """Slots that become free go round the flows."""
    slots = Slots(1)
    flows = [FlowState(slots) for _ in range(3)]
    first = Task(flows[0], "x", 0.0)
    assert slots.accept(flows[0], first) == STARTED
    for flow in flows:
        for n in range(3):
            slots.accept(flow, Task(flow, n, 0.0))
    order = []
    first.started = 0.0
    first.flow.settle(first, None, None, 0.0)
    slots.release(first)
    while started := slots.fill():
        (task,) = started
        order.append(flows.index(task.flow))
        slots.release(task)
        task.started = 0.0
        task.flow.settle(task, None, None, 0.0)
    assert order == [0, 1, 2] * 3


def test_many_tasks_at_once_are_taken_as_one_by_one():
    """`accept_many` takes what `accept` would have taken, and starts as many."""
    for slots in (1, 3):
        for pending in (0, 1, 4):
            for ordered in (False, True):
                options = {"max_pending": pending, "ordered": ordered}
                one, flow = flow_of(slots, **options)
                _, verdicts = fed(one, flow, 9)
                many, other = flow_of(slots, **options)
                tasks = [Task(other, n, 0.0) for n in range(9)]
                taken, started = many.accept_many(other, tasks)
                assert taken == 9 - verdicts.count(FULL)
                assert started == verdicts.count(STARTED)
                assert list(other.waiting) == tasks[started:taken]
                assert (many.free, other.counts.accepted) == (one.free, flow.counts.accepted)


def test_a_waiting_thread_runs_only_what_the_bounds_allow():
    """A thread that would wait takes a task unless the user's own bound forbids it."""
    slots, flow = flow_of(1, max_pending=4)
    tasks, _ = fed(slots, flow, 3)
    assert slots.take(flow, nested=False) is None
    assert slots.take(flow, nested=True) is tasks[1]
    assert not tasks[1].slot
    slots, flow = flow_of(3, max_pending=4, concurrency=1)
    fed(slots, flow, 3)
    assert slots.take(flow, nested=True) is None


def test_a_task_is_taken_by_name_only_while_it_waits():
    """`take_this` starts a waiting task once."""
    slots, flow = flow_of(1)
    tasks, _ = fed(slots, flow, 2)
    assert not slots.take_this(tasks[0])
    assert slots.take_this(tasks[1])
    assert not slots.take_this(tasks[1])


def test_what_is_overdue_is_due():
    """A task that became due between two looks asks for a look at once, not never."""
    slots, flow = flow_of(2, timeout=5.0, deadline=9.0, max_pending=4)
    fed(slots, flow, 1)
    assert flow.times.next_due(2.0) == 5.0
    assert flow.times.next_due(7.0) == 5.0
    assert [limit for _, limit in flow.times.overdue(5.0)] == ["timeout"]
    assert flow.times.overdue(4.9) == []


def test_a_task_that_is_being_ended_is_not_due_again():
    """Its backend was told; there is nothing more to do about it."""
    slots, flow = flow_of(1, timeout=5.0)
    ((task,), _) = fed(slots, flow, 1)
    task.own().ending = True
    assert flow.times.overdue(7.0) == []
    assert flow.times.next_due(7.0) is None


def test_workers_may_change_tasks_while_limits_look_at_them():
    """A worker adds and removes tasks without the lock, at any moment."""
    slots, flow = flow_of(3, timeout=5.0)

    class Passing(Task):
        """A task that comes and goes while it is looked at."""

        @property
        def ending(self):
            """Asked for in the middle of the look."""
            flow.tasks.add(Task(flow, 0, 0.0))
            return False

    for n in range(3):
        task = Passing(flow, n, 0.0)
        task.started = 0.0
        assert slots.accept(flow, task) == STARTED
    assert len(flow.times.overdue(6.0)) == 3
    assert flow.times.next_due(6.0) == 5.0


def test_a_task_that_its_worker_settles_at_the_same_moment():
    """Whoever removes a task from `tasks` settles it; the other one is told so."""
    slots, flow = flow_of(1)
    ((task,), _) = fed(slots, flow, 1)

    class Seen(set):
        """A set in which a task is seen that a worker removes before it can be."""

        def __contains__(self, _):
            return True

    flow.tasks = Seen()
    assert task.flow.settle(task, None, ValueError("late"), 1.0) is False
    assert (flow.counts.failed, task.settled) == (0, False)


def test_limits_hold_again_for_a_task_that_went_back():
    """A task that was to be ended, and was given back instead, has a deadline as before."""
    slots, flow = flow_of(1, deadline=5.0)
    (first, second), _ = fed(slots, flow, 2)
    assert slots.reserve(first, 1) == [second]
    second.own().ending = True
    slots.give_back([second])
    assert first.flow.settle(first, None, None, 1.0)
    slots.release(first)
    assert slots.fill() == [second]
    assert flow.times.next_due(2.0) == 5.0
    assert [task for task, _ in flow.times.overdue(5.0)] == [second]


def test_what_workers_may_settle_without_the_lock():
    """In any order of items and results; limits of time if items are not sorted."""
    for ordered, keyed, prioritised in product((False, True), repeat=3):
        kind = {"ordered": ordered, "keyed": keyed, "prioritised": prioritised}
        assert FlowState(Slots(1), **kind).lock_free
        for limit in ("deadline", "timeout"):
            timed = FlowState(Slots(1), **{limit: 1.0}, **kind)
            assert timed.lock_free is not (keyed or prioritised)
