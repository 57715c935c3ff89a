"""The books of a pool: laws that hold whatever happens, in whatever order."""

from collections import Counter

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from rxpool.errors import DeadlineExceeded, ItemDropped, Overflow, TaskCancelled, TaskTimeout
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import DROPPED, FULL, STARTED, WAITING, Slots
from rxpool.pool._state.task import Part, Task, Withdrawn

COMMON = {
    "concurrency": st.none() | st.integers(1, 4),
    "overflow": st.sampled_from(["block", "drop_oldest", "drop_newest", "error"]),
    "emits_drops": st.booleans(),
    "timeout": st.none() | st.integers(1, 6),
    "deadline": st.none() | st.integers(1, 12),
    "bisect": st.booleans(),
}
OPTIONS = st.one_of(
    st.fixed_dictionaries(
        COMMON
        | {
            "ordered": st.booleans(),
            "max_pending": st.integers(0, 4),
            "max_reorder": st.none() | st.integers(1, 5),
        }
    ),
    st.fixed_dictionaries(
        COMMON
        | {
            "keyed": st.booleans(),
            "prioritised": st.booleans(),
            "max_pending": st.integers(1, 4),
        }
    ),
    st.fixed_dictionaries(  # what exhaust_map is
        {
            "concurrency": st.just(1),
            "overflow": st.sampled_from(["drop_oldest", "drop_newest"]),
            "max_items": st.integers(1, 2),
            "timeout": st.none() | st.integers(1, 6),
        }
    ),
)
WHICH = st.integers(0, 1000)


class Books(RuleBasedStateMachine):
    """A pool without threads: whatever may happen to its slots, in any order.

    A worker is a list of tasks: the one that runs, and those of its lot that follow.
    """

    @initialize(slots=st.integers(1, 4), options=st.lists(OPTIONS, min_size=1, max_size=3))
    def open_pool(self, slots, options):
        """A pool with some flows."""
        self.now = 0.0
        self.slots = Slots(slots)
        self.flows = [FlowState(self.slots, **chosen) for chosen in options]
        self.workers = []  # what a backend would be running
        self.fates = Counter()  # by task: how often it was fetched
        self.parts = {}  # by task: parts not fetched
        self.accepted = {flow: [] for flow in self.flows}
        self.gone = set()  # tasks that nobody fetches: dropped or cancelled without a record
        self.starts = {flow: [] for flow in self.flows}
        self.fetched = {flow: [] for flow in self.flows}
        self.halved = Counter()  # by flow: how many more wait than arrived
        self.resized = False
        self.given_back = set()  # flows of which tasks went back

    def pick(self, which, among):
        """One of several."""
        return among[which % len(among)]

    @property
    def running(self):
        """What runs now."""
        return [worker[0] for worker in self.workers]

    def worker_of(self, task):
        """The one that runs *task*."""
        return next(worker for worker in self.workers if worker[0] is task)

    def start(self, tasks):
        """What the backend is given."""
        for task in tasks:
            assert task.slot
            assert task.running
            assert not task.settled
            assert task not in self.running
            task.started = self.now
            self.workers.append([task])
            self.starts[task.flow].append(task)

    def free(self, task):
        """The worker of a task goes on with its lot, or looks for others, as engines do."""
        worker = self.worker_of(task)
        self.workers.remove(worker)
        rest = [other for other in worker[1:] if not other.settled]
        if self.slots.promote(worker[1:], True):
            task.slot = False
            assert rest[0].running
            assert not any(other.running for other in rest[1:])
            rest[0].started = self.now
            self.workers.append(rest)
        else:
            assert not rest
            self.slots.release(task)
        self.start(self.slots.fill())

    def settle(self, task, value, error):
        """A task ends; its halves take its place."""
        flow, known = task.flow, set(task.flow.waiting)
        assert task.flow.settle(task, value, error, self.now)
        assert not task.flow.settle(task, 2, None, self.now)
        halves = [part for part in flow.waiting if part not in known]
        too_late = isinstance(error, DeadlineExceeded)
        whole = error is None or not flow.bisect or len(task.item) == 1 or too_late
        assert bool(halves) is not whole
        if halves:
            assert list(flow.waiting)[:2] == halves
            assert [*halves[0].item, *halves[1].item] == task.item
            assert all(half.accepted == task.accepted for half in halves)
            place = self.accepted[flow].index(task)
            self.accepted[flow][place : place + 1] = halves
            self.halved[flow] += 2

    @rule(
        which=WHICH,
        size=st.integers(1, 5),
        key=st.integers(0, 2),
        priority=st.integers(0, 2),
        waited=st.integers(0, 2),
    )
    def push(self, which, size, key, priority, waited):
        """An item arrives."""
        flow = self.pick(which, self.flows)
        if flow.ended:
            return
        self.now += waited
        task = Task(flow, list(range(size)), self.now)
        if flow.sorted is not None:
            flow.sorted.number(task, key, priority)
        room, crowded = flow.capacity.has_room(), flow.capacity.at_capacity()
        waiting = list(flow.waiting)
        before = flow.counts.accepted
        try:
            verdict = self.slots.accept(flow, task)
        except Overflow:
            assert flow.capacity.overflow == "error"
            assert not room
            flow.ended = True
            return
        if not room:  # unless it is the first of its key
            full = verdict in (FULL, DROPPED) or flow.capacity.overflow == "drop_oldest"
            assert full or (flow.sorted is not None and verdict == STARTED)
        assert not room or crowded or verdict in (STARTED, WAITING)
        if crowded:
            drops = [t for t in (*waiting, task) if t.settled]
            newest = flow.capacity.overflow == "drop_newest"
            assert drops == ([task] if newest else waiting or [task])
        if verdict == FULL:
            assert flow.capacity.overflow == "block"
            assert flow.counts.accepted == before
            return
        assert flow.counts.accepted == before + 1
        self.accepted[flow].append(task)
        if verdict == STARTED:
            self.start([task])
        for dropped in [t for t in (*waiting, task) if t.settled]:
            assert not room or crowded
            if not flow.emits_drops:
                self.gone.add(dropped)
        self.start(self.slots.fill())

    @precondition(lambda self: self.running)
    @rule(which=WHICH, error=st.sampled_from([None, None, ValueError("no"), Withdrawn("back")]))
    def end(self, which, error):
        """A running task ends, one way or another; once is enough."""
        task = self.pick(which, self.running)
        self.now += 1
        self.settle(task, 1, error)
        self.free(task)

    @precondition(lambda self: self.running)
    @rule(which=WHICH, most=st.integers(0, 4))
    def allot(self, which, most):
        """A worker far away is given more tasks of the same flow."""
        worker = self.pick(which, self.workers)
        flow = worker[0].flow
        others = any(other is not flow for other in self.slots.ring)
        waiting = list(flow.waiting)
        lot = self.slots.reserve(worker[0], most)
        assert lot == waiting[: len(lot)]
        assert len(lot) <= min(most, -(-len(waiting) // flow.capacity.limit()))
        if lot:
            assert not others
            assert flow.capacity.overflow in ("block", "error")
            assert flow.sorted is None
        assert not any(task.running or task.slot for task in lot)
        worker.extend(lot)
        self.starts[flow] += lot

    @precondition(lambda self: any(len(worker) > 1 for worker in self.workers))
    @rule(which=WHICH, count=st.integers(1, 4), error=st.sampled_from([None, ValueError("no")]))
    def end_several(self, which, count, error):
        """The first tasks of a lot end together, the last of them perhaps badly."""
        worker = self.pick(which, [w for w in self.workers if len(w) > 1])
        ended, rest = worker[:count], worker[count:]
        self.now += 1
        for task in ended:
            if not task.settled:
                task.started = self.now
                self.settle(task, 1, error if task is ended[-1] else None)
                assert task.attempts == 1
        worker[1:] = rest
        self.free(worker[0])

    @precondition(lambda self: any(len(worker) > 1 for worker in self.workers))
    @rule(which=WHICH, keep=st.integers(1, 3))
    def give_back(self, which, keep):
        """Tasks of a lot are not going to be run there after all."""
        worker = self.pick(which, [w for w in self.workers if len(w) > 1])
        back, flow = [t for t in worker[keep:] if not t.settled], worker[0].flow
        waiting = list(flow.waiting)
        self.slots.give_back(worker[keep:])
        assert list(flow.waiting) == back + waiting
        assert not any(task.attempts for task in back)
        del worker[keep:]
        for task in back:
            self.starts[flow].remove(task)
        if back:
            self.given_back.add(flow)
        self.start(self.slots.fill())

    @precondition(lambda self: self.running)
    @rule(which=WHICH)
    def give_part(self, which):
        """A running task gives one of several results; batches do not."""
        task = self.pick(which, self.running)
        if task.flow.bisect:
            return
        assert task.flow.add_part(task, task)
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
            if flow.results.ordered:
                assert flow.results.line[0] is task
        elif entry is not None:
            assert entry.settled
            assert entry not in self.gone
            self.fates[entry] += 1
            self.fetched[flow].append(entry)
        self.start(self.slots.fill())

    @rule(which=WHICH)
    def take_back(self, which):
        """A task that waits is withdrawn; one with a place in the order never is."""
        waiting = [task for flow in self.flows for task in flow.waiting if not task.placed]
        if waiting:
            task = self.pick(which, waiting)
            task.flow.cancellation.withdraw(task, "withdrawn")
            assert isinstance(task.error, TaskCancelled)
            self.gone.add(task)
            self.start(self.slots.fill())

    @rule(which=WHICH)
    def fail_waiting(self, which):
        """A task fails that waits; another does not."""
        tasks = [task for flow in self.flows for task in self.accepted[flow]]
        if tasks:
            task = self.pick(which, tasks)
            waits = task in task.flow.waiting
            assert task.flow.parking.fail(task, ValueError("no")) is waits
            assert not task.flow.parking.fail(task, ValueError("no"))
            assert not waits or (task.settled and task.attempts == 0)
            self.start(self.slots.fill())

    @rule(which=WHICH)
    def refuse(self, which):
        """An item fails before it waits."""
        flow = self.pick(which, self.flows)
        if not flow.ended and not flow.results.ordered:
            task = Task(flow, [0], self.now)
            flow.settlement.refuse(task, ValueError("no"))
            self.accepted[flow].append(task)

    @rule(which=WHICH, far=st.booleans(), late=st.booleans())
    def ring(self, which, far, late):
        """The alarm of a flow rings: what is overdue ends, or is going to be ended."""
        flow = self.pick(which, self.flows)
        due = flow.times.next_due(self.now)
        if due is None:
            assert flow.times.overdue(self.now + 1000) == []
            return
        assert due <= self.now or flow.times.overdue((self.now + due) / 2) == []
        self.now = max(self.now, due) + late
        overdue = flow.times.overdue(self.now)
        assert overdue == flow.times.overdue(self.now)  # looking changes nothing
        for task, limit in overdue:
            since = task.accepted if limit == "deadline" else task.started
            assert self.now >= since + getattr(flow.times, limit)
        ended = []
        for task, limit in overdue:
            error = {"timeout": TaskTimeout, "deadline": DeadlineExceeded}[limit]("late")
            if task in flow.waiting:
                assert limit == "deadline"
                assert task.flow.parking.fail(task, error)
            elif far or len(self.worker_with(task)) > 1:
                task.own().ending = True
            else:
                self.settle(task, None, error)
                ended.append(task)
        for task in ended:
            self.free(task)
        due = flow.times.next_due(self.now)
        assert due is None or due > self.now or self.halved[flow]

    def worker_with(self, task):
        """The one that has *task*, running or to be run."""
        return next(worker for worker in self.workers if task in worker)

    @rule(which=WHICH, keep=st.booleans())
    def cancel(self, which, keep):
        """A flow is disposed, or terminated with its outcomes kept."""
        flow = self.pick(which, self.flows)
        flow.ended = True
        inside = [*flow.waiting, *flow.tasks]
        busy = flow.cancellation.running("over", keep, self.now)
        flow.cancellation.waiting("over", keep)
        for worker in [w for w in self.workers if w[0].flow is flow]:
            self.workers.remove(worker)
            assert worker[0] in busy
        for task in busy:
            assert not task.flow.settle(task, 1, None, self.now)
        assert all(task.settled and task.cancelled for task in inside)
        assert flow.counts.in_flight == 0
        if not keep:
            self.gone.update(inside)
            self.gone.update(t for t in self.accepted[flow] if not self.fates[t])
            flow.results.discard()
            self.parts = {t: n for t, n in self.parts.items() if t.flow is not flow}
        self.start(self.slots.fill())

    @rule(which=WHICH)
    def end_source(self, which):
        """A source completes."""
        self.pick(which, self.flows).ended = True

    @rule(slots=st.integers(1, 5))
    def resize(self, slots):
        """The pool has another number of workers."""
        self.slots.resize(slots)
        for flow in self.flows:
            flow.mark_runnable()
        self.resized = True
        self.start(self.slots.fill())

    @invariant()
    def balance(self):
        """Accepted is succeeded, failed, dropped, cancelled and in flight, for every flow."""
        for flow in self.flows:
            counts = flow.counts
            ends = counts.succeeded + counts.failed + counts.dropped + counts.cancelled
            busy = [t for worker in self.workers for t in worker if not t.settled]
            inside = len(flow.waiting) + len([t for t in busy if t.flow is flow])
            assert flow.counts.accepted == len(self.accepted[flow]) == ends + inside
            assert flow.counts.in_flight == inside

    @invariant()
    def slots_are_kept(self):
        """Free and taken slots are all slots; more run only while the number shrinks."""
        held = len(self.running)
        assert self.slots.free + held == self.slots.total
        assert all(task.slot for task in self.running)
        assert not any(task.slot for worker in self.workers for task in worker[1:])
        if not self.resized:
            assert self.slots.free >= 0

    @invariant()
    def bounds(self):
        """No flow has more running, waiting or done than its options allow."""
        for flow in self.flows:
            if not self.resized:
                assert flow.running <= flow.capacity.limit()
            busy = [task for task in self.running if task.flow is flow]
            follow = [
                t for w in self.workers for t in w[1:] if not t.settled and t.flow is flow
            ]
            assert flow.running == len(busy)
            assert flow.reserved == len(follow)
            assert flow.tasks == {*busy, *follow}
            extra = self.halved[flow]
            back = len(flow.waiting) if flow in self.given_back else 0
            assert len(flow.waiting) <= flow.capacity.max_pending + extra + back
            if flow.capacity.max_items is not None:
                assert len(flow.waiting) <= max(1, flow.capacity.max_items - 1)
                assert flow.running + len(flow.waiting) <= flow.capacity.max_items
            kept = [t for t in flow.done if isinstance(t, Task) and t.attempts == 0]
            if not flow.results.ordered and not self.resized:
                several = [p for p in flow.done if isinstance(p, Part)]
                others = len(flow.waiting) + len(flow.done) - len(several) - len(kept)
                most = flow.capacity.max_pending + flow.capacity.limit() + extra
                assert others + flow.running + flow.reserved <= most
            elif not self.resized and not flow.ended:
                started = [t for t in flow.results.line if t.attempts or t in flow.tasks]
                most = flow.capacity.max_reorder or 8 * flow.capacity.limit()
                assert len(started) <= most + extra + back

    @invariant()
    def one_of_each_key(self):
        """No two tasks of one key run; those of a key start in the order they came."""
        for flow in self.flows:
            if flow.sorted is None or not flow.sorted._keyed:
                continue
            keys = Counter(task.key for task in flow.tasks)
            assert all(count == 1 for count in keys.values())
            places = {task: n for n, task in enumerate(self.accepted[flow])}
            for key in range(3):
                turns = [t for t in self.starts[flow] if t.key == key and t in places]
                assert turns == sorted(turns, key=places.__getitem__)

    @invariant()
    def nobody_idles(self):
        """While a slot is free, nothing waits that may start."""
        if self.slots.free > 0:
            for flow in self.flows:
                ready = list(flow.waiting)
                if flow.sorted is not None and flow.sorted._keyed:
                    busy = {task.key for task in flow.tasks}
                    ready = [task for task in ready if task.key not in busy]
                assert not (ready and flow.capacity.may_run())

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
            moved = flow in self.given_back or self.halved[flow]
            if flow.sorted is None and not moved:
                starts = [places[task] for task in self.starts[flow] if task in places]
                assert starts == sorted(starts)
            if flow.results.ordered:
                turns = [
                    places[task]
                    for task in self.fetched[flow]
                    if not isinstance(task.error, ItemDropped)
                ]
                assert turns == sorted(turns)

    @invariant()
    def finished_means_nothing_left(self):
        """A flow has finished when its source has, and nothing of it is left."""
        for flow in self.flows:
            busy = any(task.flow is flow for task in self.running)
            left = busy or flow.waiting or flow.results.everything
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
            left = [flow.waiting, flow.tasks, flow.results.everything, flow.undelivered]
            assert not any(left)
            assert flow.fetch() is None
            assert set(self.accepted[flow]) == set(self.fetched[flow]) | {
                task for task in self.gone if task.flow is flow
            }
        assert not self.running
        assert self.slots.free == self.slots.total
        assert self.slots.next() is None
        assert not any(self.parts.values())


Books.TestCase.settings = settings(
    max_examples=200,
    stateful_step_count=60,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
TestBooks = Books.TestCase
