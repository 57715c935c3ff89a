"""`FlowLedger`: the books of one flow."""

from collections import deque
from typing import Any, Final, Protocol

from rxpool.pool._task import Part, Task

__all__ = ("FlowLedger", "Slots")

_LARGE: Final = 256  #: from so many on, `max_pending` counts as large


class Slots(Protocol):
    """What a flow knows of the pool it is in."""

    slots: int
    free: int

    def enlist(self, flow: "FlowLedger") -> None:
        """Remember that *flow* may have something to start."""


class FlowLedger:
    """The books of one flow.

    Inside are at most `concurrency` running tasks and, in completion order, `max_pending`
    others, be they waiting to start or done and not yet fetched.  In input order
    `max_pending` may wait, and `max_reorder` be started and not yet fetched.

    In completion order a worker may go from one task to the next without the engine's lock
    (`Engine._swift`): `waiting`, `done` and `tasks` are changed by single atomic operations,
    and whoever removes a task from `tasks` settles it.
    """

    __slots__ = (
        "accepted",
        "binding",
        "cancelled",
        "cells",
        "concurrency",
        "counted",
        "cut_off",
        "done",
        "dropped",
        "ended",
        "failed",
        "held",
        "keeps_drops",
        "ledger",
        "listed",
        "low_water",
        "max_pending",
        "max_reorder",
        "order",
        "overflow",
        "reordered",
        "running",
        "tasks",
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
    ) -> None:
        self.ledger = ledger
        self.keeps_drops = keeps_drops  # whether the outcomes of dropped items are fetched
        self.concurrency = concurrency
        self.max_pending = max_pending
        self.max_reorder = max_reorder
        self.overflow = overflow
        # A producer that waits is woken when there is room for a few items: waking it for
        # each would cost more than short tasks do.
        slack = max_pending // 8 if max_pending >= _LARGE else 1
        self.low_water = max_pending - slack
        self.waiting: deque[Task] = deque()
        #: in input order: all tasks that were started and not fetched, in that order
        self.order: deque[Task] | None = deque() if ordered else None
        #: in completion order: what can be fetched; in input order: what is out of turn
        self.done: deque[Any] = deque()
        self.tasks: set[Task] = set()  # running
        self.running = 0
        self.reordered = 0  # in input order: done and not fetched
        self.held = 0  # fetched, but to be counted as if not
        self.cut_off: tuple[str, bool] | None = None  # cancelled: why, and outcomes kept?
        self.listed = False
        self.ended = False
        self.binding: Any = None
        self.accepted = self.counted = self.failed = self.dropped = self.cancelled = 0
        #: successes counted by workers that go on without the lock, a cell for each
        self.cells: list[list[int]] = []

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
        return self.ended and not (self.waiting or self.running or self.undelivered)

    def limit(self) -> int:
        """How many tasks may run."""
        slots = self.ledger.slots
        return slots if self.concurrency is None else min(self.concurrency, slots)

    def may_run(self) -> bool:
        """Whether the flow's own bounds let one more task start."""
        if self.order is None:
            return self.running < self.limit()
        limit = self.limit()
        window = self.max_reorder or 8 * limit
        return self.running < limit and len(self.order) < max(window, 1)

    def has_room(self) -> bool:
        """Whether an item would be taken."""
        if self.ended:
            return True  # it would be refused, but nobody has to wait for that
        return self.inside() < self.max_pending or self.may_start_at_once()

    def pop_waiting(self) -> Task | None:
        """The task that has waited longest, or None."""
        try:
            return self.waiting.popleft()
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
            if head.settled:
                self.order.popleft()
                self.reordered -= 1
                self.ledger.enlist(self)  # another may start
                return head
        return None

    def has_drained(self) -> bool:
        """Whether a producer that waits for room should go on."""
        return self.ended or self.inside() <= self.low_water or self.may_start_at_once()

    def inside(self) -> int:
        """What counts against `max_pending`."""
        waiting = len(self.waiting)
        return waiting + len(self.done) + self.held if self.order is None else waiting

    def may_start_at_once(self) -> bool:
        """Whether a slot is free for an item that comes now."""
        if self.waiting or self.ledger.free <= 0 or not self.may_run():
            return False
        if self.order is not None:
            return True
        return self.running + self.undelivered < self.max_pending + self.limit()
