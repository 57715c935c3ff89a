"""`FlowLedger`: the books of one flow."""

from collections import deque
from typing import Any, Final, Protocol

from rxpool.pool._queues import SortedQueue
from rxpool.pool._task import Part, Task

__all__ = ("FlowLedger", "Slots")

_LARGE: Final = 256  #: from so many on, `max_pending` counts as large


class Slots(Protocol):
    """What a flow knows of the pool it is in."""

    slots: int
    free: int

    def enlist(self, flow: "FlowLedger") -> None:
        """Remember that *flow* may have something to start."""


def _has_rival(task: Task) -> bool:
    return getattr(task, "hedged", False)


class FlowLedger:
    """The books of one flow.

    Inside are at most `concurrency` running tasks and, in completion order, `max_pending`
    others, be they waiting to start or done and not yet fetched.  In input order
    `max_pending` may wait, and `max_reorder` be started and not yet fetched.

    A worker far away may be given several tasks at once, its lot: the first one runs, the
    others are allotted, and count as waiting until their turn comes.

    In completion order a worker may go from one task to the next without the engine's lock
    (`Engine._swift`): `waiting`, `done` and `tasks` are changed by single atomic operations,
    and whoever removes a task from `tasks` settles it.
    """

    __slots__ = (
        "accepted",
        "alarm",
        "allotted",
        "armed",
        "binding",
        "bisects",
        "cancelled",
        "cells",
        "concurrency",
        "counted",
        "cut_off",
        "deadline",
        "divisible",
        "done",
        "dropped",
        "ended",
        "failed",
        "gate",
        "hedge",
        "held",
        "holding",
        "keeps_drops",
        "ledger",
        "lent",
        "listed",
        "low_water",
        "max_pending",
        "max_reorder",
        "most",
        "note",
        "order",
        "overflow",
        "parked",
        "policies",
        "pulled",
        "reordered",
        "running",
        "sorted",
        "tasks",
        "timeout",
        "waiting",
    )

    def __init__(
        self,
        ledger: Slots,
        *,
        concurrency: int | None = None,
        ordered: bool = False,
        max_pending: int = 1024,
        max_reorder: int | None = None,
        overflow: str = "block",
        keeps_drops: bool = False,
        keyed: bool = False,
        prioritised: bool = False,
        timeout: float | None = None,
        deadline: float | None = None,
        most: int | None = None,
        bisects: bool = False,
    ) -> None:
        self.ledger = ledger
        self.keeps_drops = keeps_drops  # whether the outcomes of dropped items are fetched
        self.timeout = timeout  # seconds that an attempt may run
        self.deadline = deadline  # seconds from acceptance
        self.armed = False  # an alarm is set for one of these
        self.alarm: Any = None
        self.bisects = bisects  # items are batches; those that fail are halved
        # Tasks that may wait or run, and all but one of them wait (but one may always wait);
        # beyond, the overflow policy decides.
        self.most = most
        self.note: Any = None  # what the backend remembers of the flow
        self.concurrency = concurrency
        self.max_pending = max_pending
        self.max_reorder = max_reorder
        self.overflow = overflow
        self.pulled = False  # a source looks for room before it brings something
        # A producer that waits is woken when there is room for a few items: waking it for
        # each would cost more than short tasks do.
        slack = max_pending // 8 if max_pending >= _LARGE else 1
        self.low_water = max_pending - slack
        self.sorted = SortedQueue(keyed) if keyed or prioritised else None
        self.waiting: deque[Task] | SortedQueue = (
            deque() if self.sorted is None else self.sorted
        )
        #: whether tasks may be handed to a worker before their turn: not where a later item
        #: may overtake them or make them go
        self.divisible = self.sorted is None and overflow in ("block", "error") and not most
        #: in input order: all tasks that were started and not fetched, in that order
        self.order: deque[Task] | None = deque() if ordered else None
        #: in completion order: what can be fetched; in input order: what is out of turn
        self.done: deque[Any] = deque()
        self.tasks: set[Task] = set()  # running or allotted
        self.lent: set[Task] = set()  # running, but without the slot they had
        self.running = 0
        self.allotted = 0
        self.reordered = 0  # in input order: done and not fetched
        self.held = 0  # fetched, but to be counted as if not
        self.cut_off: tuple[str, bool] | None = None  # cancelled: why, and outcomes kept?
        self.hedge: float | None = None  # seconds until a second run of the same item
        self.gate: Any = None  # asked before each attempt
        self.policies: Any = None  # asked what becomes of tasks that failed
        #: tasks that wait for something else than a slot, and what sets off that wait's end
        self.parked: dict[Task, Any] = {}
        self.holding: Task | None = None  # waits, and all others behind it, for the gate
        self.listed = False
        self.ended = False
        self.binding: Any = None
        self.accepted = self.counted = self.failed = self.dropped = self.cancelled = 0
        #: successes counted by workers that go on without the lock, a cell for each
        self.cells: list[list[int]] = []

    @property
    def watched(self) -> bool:
        """Whether something is to be done about tasks that run for long."""
        return self.timeout is not None or self.hedge is not None

    @property
    def succeeded(self) -> int:
        """How many tasks ended well."""
        return self.counted + sum(cell[0] for cell in tuple(self.cells))

    @property
    def in_flight(self) -> int:
        """Accepted and not settled."""
        return self.accepted - self.succeeded - self.failed - self.dropped - self.cancelled

    @property
    def undelivered(self) -> int:
        """Done and not fetched."""
        return len(self.done) + self.reordered + self.held

    @property
    def finished(self) -> bool:
        """The source ended, and everything that was accepted has been fetched."""
        return self.ended and not (
            self.waiting or self.running or self.undelivered or self.allotted or self.parked
        )

    def limit(self) -> int:
        """How many tasks may run."""
        slots = self.ledger.slots
        if self.concurrency is None:
            return slots + len(self.lent)
        return min(self.concurrency, slots)

    def may_run(self) -> bool:
        """Whether the flow's own bounds let one more task start."""
        if self.holding is not None:
            return False
        if self.order is None:
            return self.running < self.limit()
        if self.running >= self.limit():
            return False
        return self.window() > 0 or bool(self.waiting and self.waiting[0].placed)  # type: ignore[index]

    def window(self) -> int:
        """In input order: how many more tasks may be started."""
        assert self.order is not None
        return (self.max_reorder or 8 * self.limit()) - len(self.order)

    def has_room(self) -> bool:
        """Whether an item would be taken."""
        if self.ended:
            return True  # it would be refused, but nobody has to wait for that
        return self.inside() < self.max_pending or self.may_start_at_once()

    def pop_waiting(self) -> Task | None:
        """The task that is to start next, or None."""
        try:
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
        if self.done:
            try:
                return self.done.popleft()
            except IndexError:  # a worker was faster
                return None
        if self.order:
            head = self.order[0]
            if head.parts:
                self.reordered -= 1
                return Part(head.parts.popleft())
            if head.settled and not (self.parked and head in self.parked):
                self.order.popleft()
                self.reordered -= 1
                self.ledger.enlist(self)  # another may start
                return head
        return None

    def crowded(self) -> bool:
        """Whether as many tasks as ever may wait or run."""
        if self.most is None:
            return False
        waiting = len(self.waiting) + len(self.parked)
        return self.running + waiting >= self.most or waiting >= max(1, self.most - 1)

    def held_by_limit(self) -> bool:
        """Whether an item that may start waits for a limit."""
        if self.holding is not None:
            return True
        apart = self.gate is not None and self.gate.apart
        return apart and any(hasattr(task, "asked") for task in self.parked)

    def has_drained(self) -> bool:
        """Whether a producer that waits for room should go on."""
        return self.ended or self.inside() <= self.low_water or self.may_start_at_once()

    def inside(self) -> int:
        """What counts against `max_pending`."""
        waiting = len(self.waiting) + self.allotted + len(self.parked)
        return waiting + len(self.done) + self.held if self.order is None else waiting

    def may_start_at_once(self, task: Task | None = None) -> bool:
        """Whether a slot is free for an item that comes now."""
        if self.ledger.free <= 0:
            return False
        if self.sorted is not None:
            if not self.sorted.takes_at_once(task):
                return False
        elif self.waiting:
            return False
        if not self.may_run():
            return False
        if self.order is not None:
            return True
        return self.running + self.undelivered < self.max_pending + self.limit()

    def overdue(self, now: float) -> list[tuple[Task, str]]:
        """The tasks that should have ended by now, and which limit says so."""
        late: list[tuple[Task, str]] = []
        deadline, timeout = self.deadline, self.timeout
        for task in self._to_be_ended():
            dues: list[tuple[float, str]] = []  # of two, the one that came first
            if deadline is not None:
                dues.append((task.accepted + deadline, "deadline"))
            if timeout is not None and hasattr(task, "started"):
                dues.append((task.started + timeout, "timeout"))
            if self.hedge is not None and hasattr(task, "started") and not _has_rival(task):
                dues.append((task.started + self.hedge, "hedge"))
            if dues and min(dues)[0] <= now:
                late.append((task, min(dues)[1]))
        if deadline is not None:
            idle = [*self.waiting, *self.parked]
            late += [(t, "deadline") for t in idle if t.accepted + deadline <= now]
        late.sort(key=lambda entry: entry[0].accepted)
        return late

    def next_due(self, now: float) -> float | None:
        """When `overdue` is to be asked again, the past included; None: nothing is inside."""
        dues: list[float] = []
        busy = self._to_be_ended()
        if self.timeout is not None:
            dues += [getattr(task, "started", now) + self.timeout for task in busy]
        if self.hedge is not None:
            alone = [task for task in busy if not _has_rival(task)]
            dues += [getattr(task, "started", now) + self.hedge for task in alone]
            if self.waiting or self.parked:
                dues.append(now + self.hedge)
        if self.deadline is not None:
            dues += [task.accepted + self.deadline for task in busy]
            if self.waiting or self.parked:
                first = min(task.accepted for task in (*self.waiting, *self.parked))
                dues.append(first + self.deadline)
                if self.timeout is not None:  # it may start at any moment
                    dues.append(now + self.timeout)
        return min(dues, default=None)

    def _to_be_ended(self) -> list[Task]:
        """The tasks that limits hold for; a copy, as workers change `tasks` meanwhile."""
        return [task for task in self.tasks.copy() if not getattr(task, "ending", False)]
