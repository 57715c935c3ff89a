"""`Capacity`: how much a flow may have inside, and how much of that may run."""

import sys
from typing import Any, Final, TypedDict

from rxpool.errors import ItemDropped
from rxpool.pool._state.byte_bound import ByteBound, size_of
from rxpool.pool._state.parts import Flow
from rxpool.pool._state.results import InputOrder
from rxpool.pool._state.task import Task

__all__ = ("Bounds", "Capacity")

_MANY: Final = 256  #: items of a flow, after which short ones have a larger window
_SHORT: Final = 1e-4  #: seconds
_LARGE: Final = 256  #: from so many on, `max_pending` counts as large


def _slack(max_pending: int) -> int:
    return max_pending // 8 if max_pending >= _LARGE else 1


class Bounds(TypedDict, total=False):
    """What a `Capacity` is made with."""

    concurrency: int | None
    max_pending: int
    max_reorder: int | None
    max_items: int | None
    overflow: str


class Capacity:
    """The bounds of one flow.

    Inside are at most `concurrency` running tasks and, in completion order, `max_pending`
    others, be they waiting to start or done and not yet fetched.  In input order
    `max_pending` may wait, and `max_reorder` be started and not yet fetched.  What is parked
    (it waits for its next attempt, a limit or a breaker) counts as waiting in every order.
    """

    __slots__ = (
        "_flow",
        "bytes",
        "concurrency",
        "low_water",
        "max_items",
        "max_pending",
        "max_reorder",
        "overflow",
        "pulled",
        "unfetched",
        "unweighed",
    )

    def __init__(
        self,
        flow: Flow,
        *,
        concurrency: int | None = None,
        max_pending: int = 1024,
        max_reorder: int | None = None,
        max_items: int | None = None,
        overflow: str = "block",
    ) -> None:
        self._flow = flow
        self.concurrency = concurrency
        self.max_pending = max_pending
        self.max_reorder = max_reorder
        # Tasks that may wait or run, and all but one of them wait (but one may always wait);
        # beyond, the overflow policy decides.
        self.max_items = max_items
        self.overflow = overflow
        self.pulled = False  # a source looks for room before it brings something
        self.unfetched = False  # nobody may come to fetch results: nothing waits for that
        # A producer that waits is woken when there is room for a few items: waking it for
        # each would cost more than short tasks do.
        self.low_water = max_pending - _slack(max_pending)
        slots = flow.slots
        most_bytes = slots.max_bytes if max_pending and overflow == "block" else None
        self.bytes = None if most_bytes is None else ByteBound(most_bytes, max_pending)
        #: as long as nothing is known of the sizes of items: how many are read ahead; or 0
        self.unweighed = 0 if self.bytes is None else slots.total + 2

    @property
    def keeps_all(self) -> bool:
        """Whether no later item can make one go that waits."""
        return self.overflow in ("block", "error") and not self.max_items

    def limit(self) -> int:
        """How many tasks may run."""
        flow = self._flow
        if self.concurrency is None:
            return flow.slots.total + len(flow.without_slot)
        return min(self.concurrency, flow.slots.total)

    def may_run(self) -> bool:
        """Whether the flow's own bounds let one more task start."""
        return self._may_run(self.limit())

    def _may_run(self, limit: int) -> bool:
        flow = self._flow
        if flow.parking.head is not None or flow.running >= limit:
            return False
        results = flow.results
        if not results.ordered and self.bytes is None:
            return True
        if self.to_start(limit) > 0:
            return True
        return results.ordered and bool(flow.waiting and flow.waiting[0].placed)  # type: ignore[index]

    def to_start(self, limit: int) -> int:
        """How many more may be started, of which *limit* may run, for the bounds on results.

        In input order that is `max_reorder`.  Items that are small by comparison may have been
        accepted before one had a result, so the bytes of results count in either order.
        """
        flow = self._flow
        large = self.bytes is not None and self.max_pending < self.bytes.limit
        results = flow.results
        if isinstance(results, InputOrder):
            most = self.max_reorder or 8 * limit
            # Of many short tasks more are started: workers that had to wait for one that the
            # system has stopped for a moment would be woken again and again.
            many = results.took < _SHORT and results.fetched >= _MANY
            if many and self.max_reorder is None and most < _MANY:
                most = _MANY
            if large:  # what waits and what was started has bytes: each has its half
                most = min(most, max(limit, self.max_pending // 2))
            return results.bound(sys.maxsize if self.unfetched else most)
        if self.unfetched or not large:
            return sys.maxsize
        inside = flow.running + flow.reserved + len(flow.uncommitted) + flow.undelivered
        return self.max_pending + limit - inside

    def to_reserve(self, limit: int, head: Task) -> int:
        """How many more may be handed over behind *head*, as one lot."""
        most = self.to_start(limit)
        if self.counts_once:  # with *head*, or else by its own first
            return sys.maxsize if most > 0 or head.may_lead else 0
        return most

    @property
    def counts_once(self) -> bool:
        """Whether what is handed over together counts as one in input order.

        Not where the user has set the bound, or where bytes do; nor before there are many.
        """
        results = self._flow.results
        if not isinstance(results, InputOrder) or self.max_reorder is not None:
            return False
        large = self.bytes is not None and self.max_pending < self.bytes.limit
        return results.fetched >= _MANY and not large

    def has_room(self) -> bool:
        """Whether an item would be taken."""
        if self._flow.ended:
            return True  # it would be refused, but nobody has to wait for that
        return self.to_read() > 0 or self.may_start_at_once()

    def had_room(self) -> bool:
        """Whether a source that looks for room may have found some: then tasks ended."""
        return self.pulled and self.occupied() <= self.max_pending + self.limit()

    def has_drained(self) -> bool:
        """Whether a producer that waits for room should go on."""
        return self._flow.ended or self.occupied() <= self.low_water or self.may_start_at_once()

    def to_read(self) -> int:
        """How many items to read ahead."""
        most = min(self.max_pending, self.unweighed or self.max_pending)
        return most - self.occupied()

    def occupied(self) -> int:
        """What counts against `max_pending`."""
        flow = self._flow
        waiting = len(flow.waiting) + flow.reserved + len(flow.parked) + len(flow.uncommitted)
        return waiting if flow.results.ordered else waiting + flow.results.bounded

    def why_dropped(self) -> ItemDropped:
        """What the overflow policy says of an item that it gives up."""
        if self.max_items is not None:
            return ItemDropped("another item waited or ran")
        return ItemDropped(
            f"dropped by overflow={self.overflow!r}: "
            f"max_pending={self.max_pending} items waited"
        )

    def at_capacity(self) -> bool:
        """Whether as many tasks as ever may wait or run."""
        if self.max_items is None:
            return False
        flow = self._flow
        waiting = len(flow.waiting) + len(flow.parked)
        return flow.running + waiting >= self.max_items or waiting >= max(1, self.max_items - 1)

    def may_start_at_once(self, task: Task | None = None) -> bool:
        """Whether a slot is free for an item that comes now."""
        flow = self._flow
        if flow.slots.free <= 0:
            return False
        if flow.sorted is not None:
            if not flow.sorted.takes_at_once(task):
                return False
        elif flow.waiting:
            return False
        limit = self.limit()
        return self._may_run(limit) and self.spare(limit) > 0

    def spare(self, limit: int) -> int:
        """How many more items may start at once, as far as `max_pending` is concerned.

        *limit* may run.  What is parked comes back, so it is still inside.
        """
        flow = self._flow
        inside = flow.running + flow.reserved + len(flow.parked) + flow.results.bounded
        inside += len(flow.uncommitted)
        return self.max_pending + limit - inside

    # -- bytes --------------------------------------------------------------------------

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
