"""The books of a pool: laws that hold whatever happens, in whatever order."""

from collections import Counter

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

from rxpool.errors import Overflow, TaskCancelled
from rxpool.pool._ledger import (
    DROPPED,
    FULL,
    STARTED,
    WAITING,
    FlowLedger,
    Ledger,
    Part,
    Task,
    Withdrawn,
)

OPTIONS = st.fixed_dictionaries(
    {
        "concurrency": st.none() | st.integers(1, 4),
        "ordered": st.booleans(),
        "max_pending": st.integers(0, 4),
        "max_reorder": st.none() | st.integers(1, 5),
        "overflow": st.sampled_from(["block", "drop_oldest", "drop_newest", "error"]),
        "keeps_drops": st.booleans(),
    }
)
WHICH = st.integers(0, 1000)


class Books(RuleBasedStateMachine):
    """A pool without threads: whatever may happen to its ledger, in any order."""

    @initialize(slots=st.integers(1, 4), options=st.lists(OPTIONS, min_size=1, max_size=3))
    def open_pool(self, slots, options):
        """A pool with some flows."""
        self.now = 0.0
        self.ledger = Ledger(slots)
        self.flows = [FlowLedger(self.ledger, **chosen) for chosen in options]
        self.running = []  # what a backend would be running
        self.fates = Counter()  # by task: how often it was fetched
        self.parts = {}  # by task: parts not fetched
        self.accepted = {flow: [] for flow in self.flows}
        self.gone = set()  # tasks that nobody fetches: dropped or cancelled without a record
        self.starts = {flow: [] for flow in self.flows}
        self.fetched = {flow: [] for flow in self.flows}
        self.resized = False

    def pick(self, which, among):
        """One of several."""
        return among[which % len(among)]

    def start(self, tasks):
        """What the backend is given."""
        for task in tasks:
            assert task.slot
            assert task.running
            assert not task.settled
            assert task not in self.running
            task.started = self.now
            self.running.append(task)
            self.starts[task.flow].append(task)

    def free(self, task):
        """The worker of a task looks for the next one, as the engine does."""
        self.running.remove(task)
        self.ledger.release(task)
        self.start(self.ledger.fill())

    @rule(which=WHICH)
    def push(self, which):
        """An item arrives."""
        flow = self.pick(which, self.flows)
        if flow.ended:
            return
        self.now += 1
        task = Task(flow, object(), self.now)
        room = flow.has_room()
        waiting = list(flow.waiting)
        before = flow.accepted
        try:
            verdict = self.ledger.accept(flow, task)
        except Overflow:
            assert flow.overflow == "error"
            assert not room
            flow.ended = True
            return
        assert room or verdict in (FULL, DROPPED) or flow.overflow == "drop_oldest"
        assert not room or verdict in (STARTED, WAITING)
        if verdict == FULL:
            assert flow.overflow == "block"
            assert flow.accepted == before
            return
        assert flow.accepted == before + 1
        self.accepted[flow].append(task)
        if verdict == STARTED:
            self.start([task])
        for dropped in [t for t in (*waiting, task) if t.settled]:
            assert not room
            if not flow.keeps_drops:
                self.gone.add(dropped)

    @precondition(lambda self: self.running)
    @rule(which=WHICH, error=st.sampled_from([None, None, ValueError("no"), Withdrawn("back")]))
    def end(self, which, error):
        """A running task ends, one way or another; once is enough."""
        task = self.pick(which, self.running)
        self.now += 1
        assert self.ledger.settle(task, 1, error, self.now)
        assert not self.ledger.settle(task, 2, None, self.now)
        self.free(task)

    @precondition(lambda self: self.running)
    @rule(which=WHICH)
    def give_part(self, which):
        """A running task gives one of several results."""
        task = self.pick(which, self.running)
        assert self.ledger.add_part(task, task)
        self.parts[task] = self.parts.get(task, 0) + 1

    @rule(which=WHICH)
    def fetch(self, which):
        """The subscriber takes the next."""
        flow = self.pick(which, self.flows)
        entry = flow.fetch()
        if isinstance(entry, Part):
            task = entry.value
            self.parts[task] -= 1
            assert self.parts[task] >= 0
            assert self.fates[task] == 0
            if flow.order is not None:
                assert flow.order[0] is task
        elif entry is not None:
            assert entry.settled
            assert entry not in self.gone
            self.fates[entry] += 1
            self.fetched[flow].append(entry)
        self.start(self.ledger.fill())

    @rule(which=WHICH)
    def take_back(self, which):
        """A task that waits is withdrawn."""
        waiting = [task for flow in self.flows for task in flow.waiting]
        if waiting:
            task = self.pick(which, waiting)
            self.ledger.withdraw(task, "withdrawn")
            assert isinstance(task.error, TaskCancelled)
            self.gone.add(task)
            self.start(self.ledger.fill())

    @rule(which=WHICH, keep=st.booleans())
    def cancel(self, which, keep):
        """A flow is disposed, or terminated with its outcomes kept."""
        flow = self.pick(which, self.flows)
        flow.ended = True
        inside = [*flow.waiting, *flow.tasks]
        busy = self.ledger.cancel_running(flow, "over", keep, self.now)
        self.ledger.cancel_waiting(flow, "over", keep)
        assert set(busy) <= set(self.running)
        for task in busy:
            self.running.remove(task)
            assert not self.ledger.settle(task, 1, None, self.now)
        assert all(task.settled and task.cancelled for task in inside)
        assert flow.in_flight == 0
        if not keep:
            self.gone.update(inside)
            self.gone.update(t for t in self.accepted[flow] if not self.fates[t])
            self.ledger.discard_done(flow)
            self.parts = {t: n for t, n in self.parts.items() if t.flow is not flow}
        self.start(self.ledger.fill())

    @rule(which=WHICH)
    def end_source(self, which):
        """A source completes."""
        self.pick(which, self.flows).ended = True

    @rule(slots=st.integers(1, 5))
    def resize(self, slots):
        """The pool has another number of workers."""
        self.ledger.resize(slots)
        self.resized = True
        self.start(self.ledger.fill())

    @invariant()
    def balance(self):
        """Accepted is succeeded, failed, dropped, cancelled and in flight, for every flow."""
        for flow in self.flows:
            ends = flow.succeeded + flow.failed + flow.dropped + flow.cancelled
            inside = len(flow.waiting) + len([t for t in self.running if t.flow is flow])
            assert flow.accepted == len(self.accepted[flow]) == ends + inside
            assert flow.in_flight == inside

    @invariant()
    def slots_are_kept(self):
        """Free and taken slots are all slots; more run only while the number shrinks."""
        held = len(self.running)
        assert self.ledger.free + held == self.ledger.slots
        assert all(task.slot for task in self.running)
        if not self.resized:
            assert self.ledger.free >= 0

    @invariant()
    def bounds(self):
        """No flow has more running, waiting or done than its options allow."""
        for flow in self.flows:
            if not self.resized:
                assert flow.running <= flow.limit()
            busy = [task for task in self.running if task.flow is flow]
            assert flow.running == len(flow.tasks) == len(busy)
            assert len(flow.waiting) <= flow.max_pending
            kept = [t for t in flow.done if isinstance(t, Task) and t.attempts == 0]
            if flow.order is None and not self.resized:
                several = [p for p in flow.done if isinstance(p, Part)]
                others = len(flow.waiting) + len(flow.done) - len(several) - len(kept)
                assert others + flow.running <= flow.max_pending + flow.limit()
            elif not self.resized and not flow.ended:
                assert len(flow.order) <= (flow.max_reorder or 8 * flow.limit())

    @invariant()
    def nobody_idles(self):
        """While a slot is free, nothing waits that may start."""
        if self.ledger.free > 0:
            assert not any(flow.waiting and flow.may_run() for flow in self.flows)

    @invariant()
    def one_fate(self):
        """No task is fetched twice, or fetched though it is gone."""
        assert all(count == 1 for count in self.fates.values())
        assert not any(self.fates[task] for task in self.gone)

    @invariant()
    def in_order(self):
        """Tasks of a flow start in the order of their acceptance; so come ordered results."""
        for flow in self.flows:
            places = {task: n for n, task in enumerate(self.accepted[flow])}
            starts = [places[task] for task in self.starts[flow]]
            assert starts == sorted(starts)
            if flow.order is not None:
                turns = [
                    places[task]
                    for task in self.fetched[flow]
                    if task.attempts or isinstance(task.error, TaskCancelled)
                ]
                assert turns == sorted(turns)

    @invariant()
    def finished_means_nothing_left(self):
        """A flow has finished when its source has, and nothing of it is left."""
        for flow in self.flows:
            busy = any(task.flow is flow for task in self.running)
            left = busy or flow.waiting or flow.done or flow.order
            assert flow.finished == (flow.ended and not left)

    def teardown(self):
        """When all sources end, everything ends, and nothing is left."""
        if not hasattr(self, "flows"):
            return
        for flow in self.flows:
            flow.ended = True
        for _ in range(10_000):
            for which in range(len(self.flows)):
                self.fetch(which)
            if self.running:
                self.end(0, None)
            if all(flow.finished for flow in self.flows):
                break
        for flow in self.flows:
            assert flow.finished
            left = [flow.waiting, flow.tasks, flow.done, flow.order, flow.undelivered]
            assert not any(left)
            assert flow.fetch() is None
            assert set(self.accepted[flow]) == set(self.fetched[flow]) | {
                task for task in self.gone if task.flow is flow
            }
        assert not self.running
        assert self.ledger.free == self.ledger.slots
        assert self.ledger.next() is None
        assert not any(self.parts.values())


Books.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBooks = Books.TestCase


def flow_of(slots=1, **options):
    """A ledger and its only flow."""
    ledger = Ledger(slots)
    return ledger, FlowLedger(ledger, **options)


def fed(ledger, flow, count):
    """Push items; their tasks and what became of them."""
    tasks = [Task(flow, n, 0.0) for n in range(count)]
    verdicts = [ledger.accept(flow, task) for task in tasks]
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
    ledger, flow = flow_of(**options)
    assert fed(ledger, flow, 4)[1] == verdicts


def test_results_nobody_fetched_count_as_pending():
    """In completion order what is done and not fetched takes room from what may wait."""
    ledger, flow = flow_of(max_pending=1)
    tasks, _ = fed(ledger, flow, 2)
    assert ledger.settle(tasks[0], None, None, 1.0)
    ledger.release(tasks[0])
    assert ledger.fill() == [tasks[1]]
    tasks[1].started = 1.0
    assert not flow.has_room()
    assert flow.fetch() is tasks[0]
    assert flow.has_room()


def test_flows_take_turns():
    """Slots that become free go round the flows."""
    ledger = Ledger(1)
    flows = [FlowLedger(ledger) for _ in range(3)]
    first = Task(flows[0], "x", 0.0)
    assert ledger.accept(flows[0], first) == STARTED
    for flow in flows:
        for n in range(3):
            ledger.accept(flow, Task(flow, n, 0.0))
    order = []
    first.started = 0.0
    ledger.settle(first, None, None, 0.0)
    ledger.release(first)
    while started := ledger.fill():
        (task,) = started
        order.append(flows.index(task.flow))
        ledger.release(task)
        task.started = 0.0
        ledger.settle(task, None, None, 0.0)
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
                assert (many.free, other.accepted) == (one.free, flow.accepted)


def test_a_waiting_thread_runs_only_what_the_bounds_allow():
    """A thread that would wait takes a task unless the user's own bound forbids it."""
    ledger, flow = flow_of(1, max_pending=4)
    tasks, _ = fed(ledger, flow, 3)
    assert ledger.take(flow, nested=False) is None
    assert ledger.take(flow, nested=True) is tasks[1]
    assert not tasks[1].slot
    ledger, flow = flow_of(3, max_pending=4, concurrency=1)
    fed(ledger, flow, 3)
    assert ledger.take(flow, nested=True) is None


def test_a_task_is_taken_by_name_only_while_it_waits():
    """`take_this` starts a waiting task once."""
    ledger, flow = flow_of(1)
    tasks, _ = fed(ledger, flow, 2)
    assert not ledger.take_this(tasks[0])
    assert ledger.take_this(tasks[1])
    assert not ledger.take_this(tasks[1])
