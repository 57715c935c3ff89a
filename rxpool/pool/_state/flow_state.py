"""`FlowState`: the state of one flow, and how tasks begin and end in it."""

from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Unpack

from rxpool._forks import bury
from rxpool.pool._state.cancellation import Cancellation
from rxpool.pool._state.capacity import Bounds, Capacity
from rxpool.pool._state.chunks import Chunks
from rxpool.pool._state.counts import FlowCounts
from rxpool.pool._state.hedging import Hedging
from rxpool.pool._state.parking import Parking
from rxpool.pool._state.parts import PoolSlots
from rxpool.pool._state.queues import SortedQueue
from rxpool.pool._state.results import CompletionOrder, InputOrder, ResultOrder
from rxpool.pool._state.settlement import Settlement
from rxpool.pool._state.task import NOT_YET, Task
from rxpool.pool._state.time_limits import TimeLimits
from rxpool.pool._state.uncommitted import Uncommitted

__all__ = ("FlowState",)


class FlowState:
    """What waits, runs and is done of one flow, and its counts.

    Its parts: `capacity` has the bounds, `parking` what waits for a gate or another attempt,
    `commits` what is to be written first, `hedging` the rules of second runs, `chunks` what
    is handed out together, `settlement` how tasks end that do not run or whose attempt has
    failed, `cancellation` how all of it is given up, `times` timeouts and deadlines, `results`
    what is done and not fetched, `counts` what became of what was accepted.

    A worker far away may be given several tasks at once, its chunk: the first one runs, the
    others are reserved, and count as waiting until their turn comes.

    A worker may go from one task to the next without the engine's lock (`ThreadRunner`):
    `waiting`, `done` and `tasks` are changed by single atomic operations, or under the guard
    of what is sorted or reordered, and whoever removes a task from `tasks` settles it.
    """

    __slots__ = (
        "ahead",
        "binding",
        "bisect",
        "cancellation",
        "capacity",
        "chunkable",
        "chunks",
        "commits",
        "counts",
        "done",
        "effects",
        "emits_drops",
        "ended",
        "gate",
        "hedging",
        "note",
        "parked",
        "parking",
        "policies",
        "reserved",
        "results",
        "runnable",
        "running",
        "settlement",
        "slots",
        "sorted",
        "tasks",
        "times",
        "uncommitted",
        "waiting",
        "without_slot",
    )

    def __init__(
        self,
        slots: PoolSlots,
        *,
        ordered: bool = False,
        emits_drops: bool = False,
        keyed: bool = False,
        prioritised: bool = False,
        timeout: float | None = None,
        deadline: float | None = None,
        bisect: bool = False,
        **bounds: Unpack[Bounds],
    ) -> None:
        self.slots = slots
        self.effects = slots.effects
        self.emits_drops = emits_drops  # whether the outcomes of dropped items are fetched
        self.bisect = bisect  # items are batches; those that fail are halved
        self.note: Any = None  # what the backend remembers of the flow
        guard = slots.guard()
        self.sorted = SortedQueue(keyed, guard) if keyed or prioritised else None
        self.waiting: deque[Task] | SortedQueue = (
            deque() if self.sorted is None else self.sorted
        )
        self.results: ResultOrder = InputOrder(guard) if ordered else CompletionOrder()
        self.done = self.results.done  # for those who go on without the lock
        self.tasks: set[Task] = set()  # running or reserved
        self.without_slot: set[Task] = set()  # running, but without the slot they had
        self.running = 0
        self.reserved = 0
        self.gate: Any = None  # asked before each attempt
        self.policies: Any = None  # asked what becomes of tasks that failed
        self.parking = Parking(self)
        self.parked = self.parking.tasks
        self.commits = Uncommitted(self)
        self.uncommitted = self.commits.tasks
        self.chunks = Chunks(self)
        self.hedging = Hedging(self)
        self.settlement = Settlement(self)
        self.times = TimeLimits(timeout, deadline, self.tasks, self.waiting, self.parked)
        self.capacity = Capacity(self, **bounds)
        #: whether tasks may be handed to a worker before their turn: not where a later item
        #: may make them go
        self.chunkable = self.capacity.keeps_all
        self.counts = FlowCounts()
        self.cancellation = Cancellation(self)
        #: read and not brought by a reader that may wait for more: see `Slots.reading`
        self.ahead: deque[Task] = deque()
        self.runnable = False  # in the ring of those that may have something to start
        self.ended = False
        self.binding: Any = None

    # -- what it is told once ---------------------------------------------------------------

    def bind(self, binding: Any, chunkable: bool = True) -> None:
        """What takes the results; unless *chunkable*, tasks go to a worker one by one."""
        self.binding = binding
        self.chunkable = self.chunkable and chunkable

    def guard(self, policies: Any) -> None:
        """*policies* decide over the tasks."""
        self.policies = policies
        self.gate = policies if policies.admits else None

    def end(self) -> None:
        """Nothing is accepted any more, but for what was read already."""
        self.take_ahead()
        self.ended = True

    def take_ahead(self) -> None:
        """Accept what was read; there is room for it."""
        ahead = self.ahead
        if ahead and not self.ended:
            self.counts.accepted += len(ahead)
            while ahead:
                self.waiting.append(ahead.popleft())
            self.mark_runnable()

    def remember(self, note: Any) -> None:
        """What the backend notes of the flow."""
        self.note = note

    # -- what can be asked ----------------------------------------------------------------

    @property
    def lock_free(self) -> bool:
        """Whether tasks that ended well need nothing that the engine's lock guards."""
        quick = self.gate is None or self.gate.lock_free
        policies = self.policies
        looks = policies is not None and policies.looks
        twice = self.times.hedge is not None and policies is not None and policies.keeps
        timed = self.times.watched or self.times.deadline is not None
        return quick and not (looks or twice or (timed and self.sorted is not None))

    @property
    def undelivered(self) -> int:
        """Done and not fetched."""
        return self.results.undelivered

    @property
    def finished(self) -> bool:
        """The source ended, and everything that was accepted has been fetched."""
        return self.ended and not (
            self.waiting
            or self.running
            or self.reserved
            or self.parked
            or self.uncommitted
            or not self.results.empty
        )

    # -- the queue and the results ----------------------------------------------------------

    def mark_runnable(self) -> None:
        """Remember that there may be something to start."""
        if not self.runnable and self.waiting:
            self.runnable = True
            self.slots.ring.append(self)

    def pop_next(self) -> Callable[[], Task]:
        """What takes the task that is to start next, without the engine's lock.

        It raises IndexError if there is none, or the bounds let no more start.
        """
        if isinstance(self.results, InputOrder):
            return partial(self.results.take, self.waiting)  # type: ignore[arg-type]
        return self.waiting.popleft

    def pop_waiting(self, bounded: bool = True) -> Task | None:
        """The task that is to start next, or None; *bounded* as in `InputOrder.take`.

        Workers may have taken what there was room for when the bounds were asked.
        """
        try:
            if self.results.ordered:
                return self.results.take(self.waiting, bounded)  # type: ignore[union-attr,arg-type]
            return self.waiting.popleft()
        except IndexError:
            return None

    def pop_oldest(self) -> Task | None:
        """The task that has waited longest, or None."""
        try:
            return self.waiting.popleft() if self.sorted is None else self.sorted.pop_oldest()
        except IndexError:
            return None

    def fetch(self) -> Any:
        """The next `Task` or `Part` to deliver, or None."""
        entry = self.results.fetch()
        if entry is not None:
            self.were_fetched()
        return entry

    def fetch_all(self) -> list[Any]:
        """All that can be delivered now; it counts as if it was not, until the next time."""
        entries = self.results.fetch_all()
        if entries:
            self.were_fetched()
        return entries

    def were_fetched(self) -> None:
        """There may be room for the result of another task."""
        if self.waiting and (self.capacity.bytes is not None or self.results.ordered):
            self.mark_runnable()

    # -- the life of a task -----------------------------------------------------------------

    def start(self, task: Task) -> Task:
        """An attempt begins."""
        self.running += 1
        if self.results.ordered and not task.placed:
            self.results.place(task)
        task.running = True
        task.attempts += 1
        self.tasks.add(task)
        return task

    def place(self, task: Task) -> None:
        """This is its place in the order of results, unless it has one."""
        if self.results.ordered:
            self.results.place(task)

    def count_reserved(self, more: int) -> None:
        """So many more, or fewer, are inside and do not run."""
        self.reserved += more

    def promote(self, task: Task) -> None:
        """The turn of a reserved task has come."""
        if not task.running:
            task.running = True
            task.attempts += 1
            self.reserved -= 1
            self.running += 1

    def stop(self, task: Task) -> None:
        """An attempt, which was removed from `tasks`, is over."""
        if task.running is False:
            self.reserved -= 1
        elif task.running is None:
            self.uncommitted.discard(task)
        else:
            self.running -= 1
            task.running = False
            self.without_slot.discard(task)

    def put_back(self, task: Task) -> None:
        """A worker has taken *task*, which need not run: it is the next again."""
        if self.cancellation.reason is not None:
            self.cancellation.disown(task)
            return
        if self.gate is not None:
            self.gate.returned(task)
        self.waiting.appendleft(task)

    def settle(self, task: Task, value: Any, error: BaseException | None, now: float) -> bool:
        """Note how a running task ended; False if it was settled before (cancelled)."""
        try:
            self.tasks.remove(task)
        except KeyError:
            if task not in self.uncommitted:
                return False
        if error is not None:
            self.settlement.attempt_failed(task, error, now)
            return True
        if self.effects.recording:
            self.effects.attempted(task, "success", None, now)
        if self.times.hedge is not None:
            self.hedging.lost_a_run(task, None, now)
        if task.running is False:
            task.attempts += 1  # it ran behind another in the same chunk
        if self.gate is not None:
            self.gate.succeeded(task, now)
        self.stop(task)
        started = task.started
        task.took = 0.0 if started is NOT_YET else max(0.0, now - started)
        task.value = value
        task.settled = True
        self.counts.succeeded_locked += 1
        if self.effects.recording:
            self.effects.settled(task)
        self.results.put(task)
        if self.sorted is not None:  # only now: who takes the next one may not need the lock
            self.release_key(task)
        if self.waiting and not self.runnable:
            self.mark_runnable()
        return True

    def add_part(self, task: Task, value: Any) -> bool:
        """Note one result of a running task that gives several; False if it was cancelled."""
        if not task.settled:
            self.hedging.won(task)
            self.results.put_part(task, value)
        return not task.settled

    def release_key(self, task: Task) -> None:
        """Another task of its key may start."""
        if self.sorted is not None and not task.extra.unclaimed:
            self.sorted.release(task)

    def forsake(self) -> None:
        """In a forked child: what is inside is the parent's, and is not done here."""
        for task in self.tasks.copy():
            task.settled = True
        self.ended = True
        bury(*self.waiting, *self.tasks, *self.uncommitted)
        bury(*self.results.everything, self.parked)
        # Where they are: a worker that forked may be on its way through one.
        for inside in (self.waiting, self.tasks, self.without_slot, self.parked, self.ahead):
            inside.clear()
        self.uncommitted.clear()
        self.results.forsake()
        self.times.alarm = self.parking.head = None
        self.running = self.reserved = 0
        self.counts.cancelled += self.counts.in_flight
