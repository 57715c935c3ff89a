"""``ThrottleState``: when each item may leave, by token buckets or strict windows."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any

from rxpool import _checks as checks
from rxpool._core.rate_limiters import TIE, Meter, SlidingLog, TokenBucket
from rxpool._core.state import FULL, Measurement
from rxpool.errors import InvalidItem, Overflow, WouldBlock

__all__ = ("ThrottleState",)

_INSTANT = 1e-6  #: seconds; less is rounding, as datetimes count in microseconds
_LATENESS = 0.05  #: seconds; so late a timer may be without costing rate
_FEW_GONE = 64  #: so many dropped heads may lie in the heap before it is rebuilt
_GRACE = 64  #: admitted items that may wait for a busy subscriber, whatever max_pending is


class _KeyQueue:
    """The items of one key, in order, and what meters them."""

    __slots__ = ("listed", "meter", "sought", "waiting")

    def __init__(self, meter: Any) -> None:
        self.meter: Meter = meter
        self.listed = False  #: its head is in the heap; if not, something has to pass first
        self.sought = False  #: an item waits outside, for room: it counts as waiting
        #: order of arrival, item, cost, time of arrival
        self.waiting: deque[tuple[int, Any, float, float]] = deque()


class ThrottleState:
    """Decides when each item leaves.

    The heads of all queues are in a heap by the time they are due.  An entry whose item has
    gone, because it was dropped, is passed over when it comes up.

    A strict window counts items where they come out: an admitted one counts until it has
    been `delivered`, and for `per` seconds from then on.
    """

    __slots__ = (
        "_bucket",
        "_dearest",
        "_direct",
        "_early",
        "_heap",
        "_make_meter",
        "_max_pending",
        "_order",
        "_out",
        "_overflow",
        "_per",
        "_queues",
        "_resting",
        "_waiting",
        "admit",
        "delivered",
        "notes",
        "ready",
    )

    def __init__(
        self,
        rate: float,
        *,
        per: float = 1.0,
        burst: float = 1.0,
        cooldown: float = 0.0,
        strict: bool = False,
        max_pending: int = 1024,
        overflow: str = "block",
        notes: bool = False,
    ) -> None:
        def make_meter(now: float) -> Any:
            if strict:
                return SlidingLog(rate, per, cooldown, now)
            return TokenBucket(per / rate, burst, cooldown, now)

        self._make_meter = make_meter
        # Below one token of burst no item of cost 1 passes as it comes.
        self._direct = not strict and not cooldown and not notes and burst >= 1
        self._dearest = rate if strict else inf
        self._early = TIE if strict else _INSTANT  # so early an item may leave
        self._max_pending = max_pending
        self._overflow = overflow
        self._queues: dict[Hashable, _KeyQueue] = {}
        self._bucket: Any = None  # that of the key None, if it can be taken from directly
        self._heap: list[tuple[float, int, _KeyQueue]] = []
        self._resting: list[tuple[float, int, Hashable]] = []  # when to look at a queue again
        self._order = count()
        self._waiting: OrderedDict[int, _KeyQueue] = OrderedDict()  # by order of arrival
        self.ready: deque[Any] = deque()
        self._per = per
        self._out: deque[tuple[_KeyQueue, list[float]]] = deque()  # admitted and not delivered
        #: to be called when an item of `ready` has been delivered, unless it is None
        self.delivered: Callable[[float], None] | None = self._passed if strict else None
        self.notes: list[Measurement] | None = [] if notes else None
        # Seconds for a token, and to fill a bucket or, without a burst, for a token.
        self.admit = self._make_admit(per / rate, max(burst, 1.0) * per / rate)

    def _make_admit(self, interval: float, fill: float) -> Callable[[float], bool]:
        """A function for what most items need: `offer` without a key, cost or cooldown.

        It tells whether an item passes as it comes; if so it has passed.
        """
        waiting = self._waiting

        def admit(now: float) -> bool:
            bucket = self._bucket
            if bucket is None or waiting:
                return False
            # `due` and `take` of the bucket in one.
            empty = bucket.empty + interval
            if empty > now + _INSTANT:
                return False
            least = now - fill + interval
            bucket.empty = empty if empty > least else least
            return True

        return admit

    @property
    def due(self) -> float | None:
        """When the next item may leave."""
        heap = self._heap
        while heap and heap[0][1] not in self._waiting:
            heappop(heap)
        return heap[0][0] if heap else None

    @property
    def held(self) -> int:
        """Items that wait, and admitted ones that were not fetched."""
        return len(self._waiting) + len(self.ready)

    @property
    def keys(self) -> int:
        """How many keys are remembered."""
        return len(self._queues)

    def offer(self, item: Any, now: float, extra: Any, force: bool = False) -> int:  # noqa: C901 - the table of cases, in its order
        """Admit the item, or let it wait; ``extra`` is its key and cost."""
        if extra is None:
            key, cost = None, 1.0
        else:
            key, cost = extra
            if not 0 <= cost < inf:
                raise InvalidItem(
                    f"the cost of an item must be 0 or more, got {checks.shown(cost)}"
                )
            if cost > self._dearest:
                limit = f"a strict rate of {self._dearest:g}"
                raise InvalidItem(f"an item of cost {cost!r} can never pass {limit}")
            self._forget(now)
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = _KeyQueue(self._make_meter(now))
            if extra is None and self._direct:
                self._bucket = queue.meter
            if key is not None:
                heappush(self._resting, (now, next(self._order), key))
        waiting, meter = queue.waiting, queue.meter
        if not waiting:
            if not queue.sought:
                meter.settle(now)
            if meter.due(cost) <= now + self._early and len(self.ready) < _GRACE:
                self._take(queue, cost, now, now)
                queue.sought = False
                self.ready.append(item)
                if self.notes is not None:
                    self.notes.append(("rxpool.throttle.wait", 0.0, "s", {}))
                return 1
        act = 0
        if len(self._waiting) >= self._max_pending:
            if self._overflow == "block" and not force:
                queue.sought = True
                return FULL
            if not self._make_room(now):
                return 0
            act = 1  # another item may be the next to leave now
        queue.sought = False
        order = next(self._order)
        self._waiting[order] = queue
        waiting.append((order, item, cost, now))
        if len(waiting) == 1:
            self._push_head(queue, now)
            act = 1
        return act

    def retry_at(self, extra: Any) -> float | None:
        """When an item that may not wait inside could pass."""
        if self._max_pending or len(self.ready) >= _GRACE:
            return None  # room comes with the timer or the subscriber
        key, cost = extra or (None, 1.0)
        queue = self._queues.get(key)
        due = 0.0 if queue is None else queue.meter.due(cost)
        return None if due == inf else due

    def expire(self, now: float) -> None:
        """Admit what is due."""
        while (due := self.due) is not None:
            if due > now + self._early:
                return
            _, order, queue = heappop(self._heap)
            del self._waiting[order]
            _, item, cost, since = queue.waiting.popleft()
            # Tokens count from when the item was due: what a late timer costs is given back.
            at = max(due, now - _LATENESS)
            self._take(queue, cost, at, now)
            self.ready.append(item)
            if self.notes is not None:
                self.notes.append(("rxpool.throttle.wait", now - since, "s", {}))
            self._push_head(queue, at)

    def _take(self, queue: _KeyQueue, cost: float, at: float, now: float) -> None:
        """Admit an item that was due *at* then."""
        meter: Any = queue.meter
        if self.delivered is None:
            meter.take(cost, at, now)
        else:
            self._out.append((queue, meter.out(cost, now)))

    def _passed(self, now: float) -> None:
        """The first of the admitted items has been delivered."""
        if not self._out:  # they were dropped meanwhile
            return
        queue, entry = self._out.popleft()
        meter: Any = queue.meter
        meter.passed(entry, now)
        if not queue.listed:
            self._push_head(queue, now)

    def finish(self, now: float) -> None:
        """The source ended: what waits still leaves at its time."""
        self._bucket = None

    def clear(self) -> int:
        """Drop everything."""
        held = self.held
        self._waiting.clear()
        self._heap.clear()
        self._queues.clear()
        self._bucket = None
        self._resting.clear()
        self.ready.clear()
        self._out.clear()
        return held

    def _push_head(self, queue: _KeyQueue, since: float) -> None:
        """Note when the first item of *queue*, which is that since *since*, is due."""
        queue.listed = False
        if queue.waiting:
            order, _, cost, _ = queue.waiting[0]
            due = max(queue.meter.due(cost), since)
            if due < inf:
                heappush(self._heap, (due, order, queue))
                queue.listed = True

    def _make_room(self, now: float) -> bool:
        """What the policy does when too many items wait; whether there is room then."""
        limit = f"throttle: more than max_pending={self._max_pending} items wait"
        if self._overflow == "error":
            raise Overflow(limit)
        if self._overflow == "block":
            raise WouldBlock(f"{limit}, and the subscriber that pushes cannot wait for itself")
        if self.notes is not None:
            self.notes.append(("rxpool.dropped", 1, "{item}", {"policy": self._overflow}))
        if self._overflow == "drop_newest" or not self._waiting:
            return False
        _, queue = self._waiting.popitem(last=False)
        queue.waiting.popleft()
        if len(self._heap) > _FEW_GONE + 2 * len(self._queues):
            self._heap = [entry for entry in self._heap if entry[1] in self._waiting]
            heapify(self._heap)
        self._push_head(queue, now)
        return True

    def _forget(self, now: float) -> None:
        """Drop the queues that are idle and as good as new; each is looked at in time."""
        resting = self._resting
        while resting and resting[0][0] <= now:
            _, order, key = heappop(resting)
            queue = self._queues[key]
            rested = queue.meter.rested()
            if queue.waiting:
                _, _, cost, _ = queue.waiting[-1]
                rested = max(rested, queue.meter.due(cost)) + 1e-3
            if rested == inf:  # something is on its way out
                rested = now + self._per
            if rested <= now and not queue.waiting and not queue.sought:
                del self._queues[key]
            else:
                heappush(resting, (max(rested, now + 1e-3), order, key))
