"""`FlowLedger`: the books of one flow."""

import sys
from collections import deque
from typing import Any, Final, Protocol

from rxpool._forks import bury
from rxpool.pool._state.byte_bound import ByteBound, size_of
from rxpool.pool._state.queues import SortedQueue
from rxpool.pool._state.results import CompletionOrder, InputOrder, ResultOrder
from rxpool.pool._state.task import Task
from rxpool.pool._state.time_limits import TimeLimits

__all__ = ("FlowLedger", "Slots")

_LARGE: Final = 256  #: from so many on, `max_pending` counts as large


class Slots(Protocol):
    """What a flow knows of the pool it is in."""

    slots: int
    free: int
    max_bytes: int | None

    def enlist(self, flow: "FlowLedger") -> None:
        """Remember that *flow* may have something to start."""


def _slack(max_pending: int) -> int:
    return max_pending // 8 if max_pending >= _LARGE else 1


class FlowLedger:
    """The books of one flow.

    Inside are at most `concurrency` running tasks and, in completion order, `max_pending`
    others, be they waiting to start or done and not yet fetched.  In input order
    `max_pending` may wait, and `max_reorder` be started and not yet fetched.  What is parked
    (it waits for its next attempt, a limit or a breaker) counts as waiting in every order.

    A worker far away may be given several tasks at once, its lot: the first one runs, the
    others are allotted, and count as waiting until their turn comes.

    In completion order a worker may go from one task to the next without the engine's lock
    (`ThreadRunner._swift`): `waiting`, `done` and `tasks` are changed by single atomic
    operations, and whoever removes a task from `tasks` settles it.
    """

    __slots__ = (
        "accepted",
        "allotted",
        "binding",
        "bisects",
        "bytes",
        "cancelled",
        "cells",
        "concurrency",
        "counted",
        "cut_off",
        "divisible",
        "done",
        "dropped",
        "ended",
        "failed",
        "gate",
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
        "overflow",
        "parked",
        "policies",
        "pulled",
        "results",
        "running",
        "sorted",
        "tasks",
        "times",
        "unfetched",
        "unweighed",
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
        self.low_water = max_pending - _slack(max_pending)
        most_bytes = ledger.max_bytes if max_pending and overflow == "block" else None
        self.bytes = None if most_bytes is None else ByteBound(most_bytes, max_pending)
        #: as long as nothing is known of the sizes of items: how many are read ahead; or 0
        self.unweighed = 0 if self.bytes is None else ledger.slots + 2
        self.sorted = SortedQueue(keyed) if keyed or prioritised else None
        self.waiting: deque[Task] | SortedQueue = (
            deque() if self.sorted is None else self.sorted
        )
        #: whether tasks may be handed to a worker before their turn: not where a later item
        #: may overtake them or make them go
        self.divisible = self.sorted is None and overflow in ("block", "error") and not most
        self.results: ResultOrder = InputOrder() if ordered else CompletionOrder()
        self.done = self.results.done  # for those who go on without the lock
        self.tasks: set[Task] = set()  # running or allotted
        self.lent: set[Task] = set()  # running, but without the slot they had
        self.running = 0
        self.allotted = 0
        self.unfetched = False  # nobody may come to fetch results: nothing waits for that
        self.cut_off: tuple[str, bool] | None = None  # cancelled: why, and outcomes kept?
        self.gate: Any = None  # asked before each attempt
        self.policies: Any = None  # asked what becomes of tasks that failed
        #: tasks that wait for something else than a slot, and what sets off that wait's end
        self.parked: dict[Task, Any] = {}
        self.times = TimeLimits(timeout, deadline, self.tasks, self.waiting, self.parked)
        self.holding: Task | None = None  # waits, and all others behind it, for the gate
        self.listed = False
        self.ended = False
        self.binding: Any = None
        self.accepted = self.counted = self.failed = self.dropped = self.cancelled = 0
        #: successes counted by workers that go on without the lock, a cell for each
        self.cells: list[list[int]] = []

    @property
    def plain(self) -> bool:
        """Whether tasks that ended well need nothing that the engine's lock guards."""
        if self.results.ordered or self.sorted is not None or self.times.hedge is not None:
            return False
        quick = self.gate is None or self.gate.quick
        looks = self.policies is not None and self.policies.looks
        return self.times.deadline is None and quick and not looks

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
        return self.results.undelivered

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
        return self._may_run(self.limit())

    def _may_run(self, limit: int) -> bool:
        if self.holding is not None or self.running >= limit:
            return False
        results = self.results
        if not results.ordered and self.bytes is None:
            return True
        if self.to_start(limit) > 0:
            return True
        return results.ordered and bool(self.waiting and self.waiting[0].placed)  # type: ignore[index]

    def to_start(self, limit: int) -> int:
        """How many more may be started, of which *limit* may run, for the bounds on results.

        In input order that is `max_reorder`.  Items that are small by comparison may have been
        accepted before one had a result, so the bytes of results count in either order.
        """
        if self.unfetched:
            return sys.maxsize
        large = self.bytes is not None and self.max_pending < self.bytes.limit
        if isinstance(self.results, InputOrder):
            most = self.max_reorder or 8 * limit
            if large:  # what waits and what was started has bytes: each has its half
                most = min(most, max(limit, self.max_pending // 2))
            return most - len(self.results.line)
        if not large:
            return sys.maxsize
        return self.max_pending + limit - self.running - self.allotted - self.undelivered

    def has_room(self) -> bool:
        """Whether an item would be taken."""
        if self.ended:
            return True  # it would be refused, but nobody has to wait for that
        return self.to_read() > 0 or self.may_start_at_once()

    def to_read(self) -> int:
        """How many items to read ahead."""
        most = min(self.max_pending, self.unweighed or self.max_pending)
        return most - self.inside()

    def weigh(self, items: int, size: int, results: bool = False) -> None:
        """So many items, or results, had *size* bytes: from now on that many may be inside."""
        if self.bytes is not None:
            self.unweighed = 0
            self._bound(self.bytes.weighed(items, size, results))

    def guess(self, item: Any) -> None:
        """*item* comes before any was weighed: if its size can be told, that is a beginning."""
        if self.bytes is not None and (size := size_of(item)):
            self._bound(self.bytes.of_size(size))

    def _bound(self, most: int) -> None:
        self.max_pending = most
        self.low_water = most - _slack(most)

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
        entry = self.results.fetch(self.parked)
        if entry is not None:
            self.were_fetched()
        return entry

    def fetch_all(self) -> list[Any]:
        """All that can be delivered now; it counts as if it was not, until the next time."""
        self.results.held = 0
        entries = self.results.fetch_all(self.parked)
        self.results.held = len(entries)
        if entries:
            self.were_fetched()
        return entries

    def were_fetched(self) -> None:
        """There may be room for the result of another task."""
        if self.waiting and (self.bytes is not None or self.results.ordered):
            self.ledger.enlist(self)

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
        return apart and any(task.extra.asked is not None for task in self.parked)

    def has_drained(self) -> bool:
        """Whether a producer that waits for room should go on."""
        return self.ended or self.inside() <= self.low_water or self.may_start_at_once()

    def inside(self) -> int:
        """What counts against `max_pending`."""
        waiting = len(self.waiting) + self.allotted + len(self.parked)
        return waiting if self.results.ordered else waiting + self.results.bounded

    def may_start_at_once(self, task: Task | None = None) -> bool:
        """Whether a slot is free for an item that comes now."""
        if self.ledger.free <= 0:
            return False
        if self.sorted is not None:
            if not self.sorted.takes_at_once(task):
                return False
        elif self.waiting:
            return False
        limit = self.limit()
        return self._may_run(limit) and self.spare(limit) > 0

    def spare(self, limit: int) -> int:
        """How many more items may start at once, as far as `max_pending` is concerned.

        *limit* may run.  What is parked comes back, so it is still inside.
        """
        inside = self.running + self.allotted + len(self.parked) + self.results.bounded
        return self.max_pending + limit - inside

    def forsake(self) -> None:
        """In a forked child: what is inside is the parent's, and is not done here."""
        for task in self.tasks.copy():
            task.settled = True
        self.ended = True
        bury(*self.waiting, *self.tasks, *self.results.everything, self.parked)
        for inside in (self.waiting, self.tasks, self.lent, self.parked):
            inside.clear()  # where it is: a worker that forked may be on its way through it
        self.results.discard()
        self.times.alarm = self.holding = None
        self.running = self.allotted = 0
        self.cancelled += self.in_flight
