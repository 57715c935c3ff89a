"""``throttle``: pace items by a token bucket with cooldown, or by a strict window."""

from collections.abc import Callable, Hashable
from typing import TypeVar, overload

from reactivex import Observable, abc

from rxpool import _checks as checks
from rxpool._core.operator import operator
from rxpool.errors import InvalidArgument
from rxpool.events import Monitor
from rxpool.operators._throttle_state import ThrottleState

__all__ = ("throttle",)

_T = TypeVar("_T")


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
