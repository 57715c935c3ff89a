"""``throttle``: pace items by a token bucket with cooldown, or by a strict window."""

from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from heapq import heapify, heappop, heappush
from itertools import count
from math import inf
from typing import Any, TypeVar, overload

from reactivex import Observable, abc

from rxpool import _checks as checks
from rxpool._core.operator import operator
from rxpool._core.rate_limiters import TIE, Meter, SlidingLog, TokenBucket
from rxpool._core.state import FULL, Measurement
from rxpool.errors import InvalidArgument, InvalidItem, Overflow, WouldBlock
from rxpool.events import Monitor

__all__ = (
    "ThrottleState",
    "throttle",
)

_T = TypeVar("_T")

_INSTANT = 1e-6  #: seconds; less is rounding, as datetimes count in microseconds
_LATENESS = 0.05  #: seconds; so late a timer may be without costing rate
_FEW_GONE = 64  #: so many dropped heads may lie in the heap before it is rebuilt
_GRACE = 64  #: admitted items that may wait for a busy subscriber, whatever max_pending is


class _Lane:
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

    The heads of all lanes are in a heap by the time they are due.  An entry whose item has
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
        "_lanes",
        "_make_meter",
        "_max_pending",
        "_order",
        "_out",
        "_overflow",
        "_per",
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
        self._lanes: dict[Hashable, _Lane] = {}
        self._bucket: Any = None  # that of the key None, if it can be taken from directly
        self._heap: list[tuple[float, int, _Lane]] = []
        self._resting: list[tuple[float, int, Hashable]] = []  # when to look at a lane again
        self._order = count()
        self._waiting: OrderedDict[int, _Lane] = OrderedDict()  # by order of arrival
        self.ready: deque[Any] = deque()
        self._per = per
        self._out: deque[tuple[_Lane, list[float]]] = deque()  # admitted and not delivered
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
    def lanes(self) -> int:
        """How many keys are remembered."""
        return len(self._lanes)

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
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = _Lane(self._make_meter(now))
            if extra is None and self._direct:
                self._bucket = lane.meter
            if key is not None:
                heappush(self._resting, (now, next(self._order), key))
        waiting, meter = lane.waiting, lane.meter
        if not waiting:
            if not lane.sought:
                meter.settle(now)
            if meter.due(cost) <= now + self._early and len(self.ready) < _GRACE:
                self._take(lane, cost, now, now)
                lane.sought = False
                self.ready.append(item)
                if self.notes is not None:
                    self.notes.append(("rxpool.throttle.wait", 0.0, "s", {}))
                return 1
        act = 0
        if len(self._waiting) >= self._max_pending:
            if self._overflow == "block" and not force:
                lane.sought = True
                return FULL
            if not self._make_room(now):
                return 0
            act = 1  # another item may be the next to leave now
        lane.sought = False
        order = next(self._order)
        self._waiting[order] = lane
        waiting.append((order, item, cost, now))
        if len(waiting) == 1:
            self._push_head(lane, now)
            act = 1
        return act

    def retry_at(self, extra: Any) -> float | None:
        """When an item that may not wait inside could pass."""
        if self._max_pending or len(self.ready) >= _GRACE:
            return None  # room comes with the timer or the subscriber
        key, cost = extra or (None, 1.0)
        lane = self._lanes.get(key)
        due = 0.0 if lane is None else lane.meter.due(cost)
        return None if due == inf else due

    def expire(self, now: float) -> None:
        """Admit what is due."""
        while (due := self.due) is not None:
            if due > now + self._early:
                return
            _, order, lane = heappop(self._heap)
            del self._waiting[order]
            _, item, cost, since = lane.waiting.popleft()
            # Tokens count from when the item was due: what a late timer costs is given back.
            at = max(due, now - _LATENESS)
            self._take(lane, cost, at, now)
            self.ready.append(item)
            if self.notes is not None:
                self.notes.append(("rxpool.throttle.wait", now - since, "s", {}))
            self._push_head(lane, at)

    def _take(self, lane: _Lane, cost: float, at: float, now: float) -> None:
        """Admit an item that was due *at* then."""
        meter: Any = lane.meter
        if self.delivered is None:
            meter.take(cost, at, now)
        else:
            self._out.append((lane, meter.out(cost, now)))

    def _passed(self, now: float) -> None:
        """The first of the admitted items has been delivered."""
        if not self._out:  # they were dropped meanwhile
            return
        lane, entry = self._out.popleft()
        meter: Any = lane.meter
        meter.passed(entry, now)
        if not lane.listed:
            self._push_head(lane, now)

    def finish(self, now: float) -> None:
        """The source ended: what waits still leaves at its time."""
        self._bucket = None

    def clear(self) -> int:
        """Drop everything."""
        held = self.held
        self._waiting.clear()
        self._heap.clear()
        self._lanes.clear()
        self._bucket = None
        self._resting.clear()
        self.ready.clear()
        self._out.clear()
        return held

    def _push_head(self, lane: _Lane, since: float) -> None:
        """Measurement when the first item of *lane*, which is that since *since*, is due."""
        lane.listed = False
        if lane.waiting:
            order, _, cost, _ = lane.waiting[0]
            due = max(lane.meter.due(cost), since)
            if due < inf:
                heappush(self._heap, (due, order, lane))
                lane.listed = True

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
        _, lane = self._waiting.popitem(last=False)
        lane.waiting.popleft()
        if len(self._heap) > _FEW_GONE + 2 * len(self._lanes):
            self._heap = [entry for entry in self._heap if entry[1] in self._waiting]
            heapify(self._heap)
        self._push_head(lane, now)
        return True

    def _forget(self, now: float) -> None:
        """Drop the lanes that are idle and as good as new; each is looked at when it may be."""
        resting = self._resting
        while resting and resting[0][0] <= now:
            _, order, key = heappop(resting)
            lane = self._lanes[key]
            rested = lane.meter.rested()
            if lane.waiting:
                _, _, cost, _ = lane.waiting[-1]
                rested = max(rested, lane.meter.due(cost)) + 1e-3
            if rested == inf:  # something is on its way out
                rested = now + self._per
            if rested <= now and not lane.waiting and not lane.sought:
                del self._lanes[key]
            else:
                heappush(resting, (max(rested, now + 1e-3), order, key))


# Without functions of items, so that type checkers can leave the type of items open.
@overload
def throttle(
    rate: float,
    *,
    per: checks.Seconds = 1.0,
    burst: float = 1,
    cooldown: checks.Seconds = 0.0,
    cost: None = None,
    key: None = None,
    strict: bool = False,
    max_pending: int = 1024,
    overflow: checks.OverflowPolicy = "block",
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[_T]]: ...


@overload
def throttle(
    rate: float,
    *,
    per: checks.Seconds = 1.0,
    burst: float = 1,
    cooldown: checks.Seconds = 0.0,
    cost: Callable[[_T], float] | None = None,
    key: Callable[[_T], Hashable] | None = None,
    strict: bool = False,
    max_pending: int = 1024,
    overflow: checks.OverflowPolicy = "block",
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[_T]]: ...


def throttle(
    rate: float,
    *,
    per: checks.Seconds = 1.0,
    burst: float = 1,
    cooldown: checks.Seconds = 0.0,
    cost: Callable[[_T], float] | None = None,
    key: Callable[[_T], Hashable] | None = None,
    strict: bool = False,
    max_pending: int = 1024,
    overflow: checks.OverflowPolicy = "block",
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[_T]]:
    """Let items through at a rate, in order, each at the first instant it can.

    A token bucket starts with `burst` tokens and refills continuously at ``rate / per``
    tokens a second, up to `burst`.  An item passes when the bucket holds its cost.

    - **Emits** an item at once if it can pass and none waits before it, else when it can.
      The long-run rate is exact: up to 50 ms by which a timer is late are made up for.
    - **Completes** and **fails** when the source does (or `cost`, or `key`), after the
      waiting items have left, each at its time.
    - **Holds back** as `overflow` says once `max_pending` items wait.

    ::

        -123-------4---|
        [ throttle(1, per=3) ]
        -1--2--3---4---|

    Args:
        rate: Items, or units of cost, in `per`; above 0.
        per: Seconds or a timedelta; above 0.
        burst: The most tokens; 0 or more.  With 0 every item waits its full cost; an item
            that costs more than `burst` waits until enough tokens have come.
        cooldown: When an admission leaves less than one token, nothing passes for so many
            seconds (or a timedelta) from that admission; the bucket refills meanwhile.
        cost: The tokens that an item takes, 0 or more; by default 1.
        key: Gives each item a key; every key has a bucket of its own, forgotten when it is
            full and idle.
        strict: Never let more than `rate` through in any window of `per` seconds, counted
            from when the subscriber is done with an item; one exactly `per` after the oldest
            passes.  `burst` has no effect then.
        max_pending: How many items may wait, over all keys together.
        overflow: What to do beyond it.  ``"block"``: the producer waits; where that is
            impossible (virtual time, a running event loop's thread, a subscriber that
            pushes while it is given a value) the stream ends with `WouldBlock`.
            ``"drop_oldest"``: the item that waited longest goes.  ``"drop_newest"``: the
            arriving item goes; with ``max_pending=0`` this polices.  ``"error"``: what
            waits is delivered, then the stream ends with `Overflow`.
        monitor: Takes ``rxpool.throttle.wait`` and ``rxpool.dropped`` events.
        scheduler: The clock; by default the subscriber's, else the shared `TimerScheduler`.

    Raises:
        InvalidArgument: At once, if an option is out of range.

    The bucket is Pekko's ``throttle`` in shaping mode; the cooldown is that of a penalty
    box.  A bucket lets up to ``burst + rate`` items through in some window of `per`.
    """
    tempo = checks.number("rate", rate, above=True)
    window = checks.duration("per", per, above=True)
    depth = checks.number("burst", burst)
    pause = checks.duration("cooldown", cooldown)
    limit = checks.count("max_pending", max_pending)
    policy = checks.one_of("overflow", overflow, checks.OVERFLOWS)
    exact = checks.flag("strict", strict)
    if exact and cost is None and tempo < 1:
        raise InvalidArgument(
            f"strict with a rate below 1 lets nothing pass, got {rate=}; use a longer per"
        )
    cost_of = None if cost is None else checks.call("cost", cost)
    key_of = None if key is None else checks.call("key", key)

    def measure(item: _T) -> tuple[Hashable, float]:
        group = None if key_of is None else key_of(item)
        hash(group)  # an unhashable key is the key function's error
        return group, 1.0 if cost_of is None else cost_of(item)

    def make_state(notes: bool) -> ThrottleState:
        return ThrottleState(
            tempo,
            per=window,
            burst=depth,
            cooldown=pause,
            strict=exact,
            max_pending=limit,
            overflow=policy,
            notes=notes,
        )

    return operator(
        "throttle",
        make_state,
        measure=None if cost_of is None and key_of is None else measure,
        monitor=monitor,
        scheduler=scheduler,
    )
