"""``debounce``: one item per burst; wait, maximum wait, leading and trailing edge."""

from collections import deque
from collections.abc import Callable, Hashable
from heapq import heappop, heappush, heapreplace
from itertools import count
from typing import Any, TypeVar, overload

from reactivex import Observable, abc

from rxpool import _checks as checks
from rxpool._core.operator import operator
from rxpool._core.state import FULL, NOTHING, Measurement
from rxpool.errors import InvalidArgument
from rxpool.events import Monitor

__all__ = ("DebounceState", "debounce")

_T = TypeVar("_T")

_INSTANT = 1e-6  #: seconds; less is rounding, as datetimes count in microseconds
_ROOM = 1024  #: so many emissions may wait for a busy subscriber before a producer waits


class _Burst:
    """The burst of one key."""

    __slots__ = ("base", "last", "pending")

    def __init__(self) -> None:
        self.last = self.base = 0.0  #: when the last item came; what max_wait counts from
        self.pending: Any = NOTHING  #: the item that the trailing edge would emit


class DebounceState:
    """Decides which items of a burst come out, and when.

    Every burst has one entry in a heap, at a time that is never after its next edge: an
    item only moves the edge, and the entry follows when its old time has come.
    """

    __slots__ = (
        "_bursts",
        "_heap",
        "_late",
        "_leading",
        "_lost",
        "_max_wait",
        "_order",
        "_plain",
        "_trailing",
        "_wait",
        "notes",
        "ready",
    )

    def __init__(
        self,
        wait: float,
        max_wait: float | None = None,
        leading: bool = False,
        trailing: bool = True,
        notes: bool = False,
    ) -> None:
        self._wait = wait
        self._late = wait + _INSTANT
        self._max_wait = None if max_wait is None else max(wait, max_wait)
        self._leading = leading
        self._trailing = trailing
        self._bursts: dict[Hashable, _Burst] = {}
        self._plain: _Burst | None = None  # the burst of the key None
        self._heap: list[tuple[float, int, Hashable]] = []
        self._order = count()
        self._lost = 0  # superseded items that no note tells of yet
        self.ready: deque[Any] = deque()
        self.notes: list[Measurement] | None = [] if notes else None

    @property
    def due(self) -> float | None:
        """The earliest time at which an edge may be."""
        return self._heap[0][0] if self._heap else None

    @property
    def held(self) -> int:
        """Items that will come out if nothing more happens."""
        waiting = sum(burst.pending is not NOTHING for burst in self._bursts.values())
        return len(self.ready) + waiting

    def offer(self, item: Any, now: float, extra: Any, force: bool = False) -> int:
        """Take an item of the key *extra*."""
        if len(self.ready) >= _ROOM and not force:
            return FULL
        burst = self._bursts.get(extra)
        if burst is None:
            burst = self._bursts[extra] = _Burst()
            if extra is None:
                self._plain = burst
            heappush(self._heap, (now + self._wait, next(self._order), extra))
            return self._begin(burst, item, now)
        longest = self._max_wait
        if not self._trailing and longest and now >= burst.base + longest - _INSTANT:
            return self._begin(burst, item, now)
        edge = self._edge(burst)
        if now > edge + _INSTANT:
            # Its timer is late, or the subscriber busy: what was due comes before this.
            act = self._emit(burst, now)
            if now > burst.last + self._late:
                return self._begin(burst, item, now)
            burst.base = edge
        else:
            act = 0
        burst.last = now
        if not self._trailing or burst.pending is not NOTHING:
            self._lost += 1
        if self._trailing:
            burst.pending = item
        return act

    def absorb(self, item: Any, now: float) -> bool:
        """Take an item that only goes on with the burst that has no key."""
        burst = self._plain
        if burst is None or burst.pending is NOTHING or now > burst.last + self._late:
            return False
        if self._max_wait is not None and now > burst.base + self._max_wait + _INSTANT:
            return False
        burst.last = now
        burst.pending = item
        if self.notes is not None:
            self._lost += 1
        return True

    def retry_at(self, extra: Any) -> float | None:
        """Room comes with the subscriber, not with time."""
        return None

    def expire(self, now: float) -> None:
        """Emit at the edges that are due, and forget the bursts that are over."""
        heap = self._heap
        while heap and heap[0][0] <= now:
            _, order, key = heap[0]
            burst = self._bursts[key]
            edge = self._edge(burst)
            end = burst.last + self._wait
            if edge > now:
                heapreplace(heap, (edge, order, key))
                continue
            self._emit(burst, now)
            self._tell()
            if end <= now:
                heappop(heap)
                del self._bursts[key]
                self._plain = None
            else:
                burst.base = edge
                heapreplace(heap, (end, order, key))

    def finish(self, now: float) -> None:
        """The source ended: pending items come out, the longest waiting first."""
        for burst in sorted(self._bursts.values(), key=lambda burst: burst.last):
            self._emit(burst, now)
        self._tell()
        self._bursts.clear()
        self._plain = None
        self._heap.clear()

    def clear(self) -> int:
        """Drop everything."""
        held = self.held
        self._tell()
        self._bursts.clear()
        self._plain = None
        self._heap.clear()
        self.ready.clear()
        return held

    def _edge(self, burst: _Burst) -> float:
        """When the burst ends or, if something waits, `max_wait` forces it out."""
        end = burst.last + self._wait
        if self._max_wait is None or burst.pending is NOTHING:
            return end
        return min(end, burst.base + self._max_wait)

    def _begin(self, burst: _Burst, item: Any, now: float) -> int:
        burst.last = burst.base = now
        self._tell()
        if self._leading:
            self.ready.append(item)
            if self.notes is not None:
                self._note("leading", 0.0)
        else:
            burst.pending = item
        return 1

    def _emit(self, burst: _Burst, now: float) -> int:
        if burst.pending is NOTHING:
            return 0
        self.ready.append(burst.pending)
        burst.pending = NOTHING
        if self.notes is not None:
            self._note("trailing", now - burst.base)
        return 1

    def _note(self, edge: str, wait: float) -> None:
        assert self.notes is not None
        attributes = {"edge": edge}
        self.notes.append(("rxpool.debounce.emissions", 1, "{item}", attributes))
        self.notes.append(("rxpool.debounce.wait", wait, "s", attributes))

    def _tell(self) -> None:
        """Measurement the superseded items since the last time, all in one."""
        lost, self._lost = self._lost, 0
        if lost and self.notes is not None:
            self.notes.append(("rxpool.dropped", lost, "{item}", {"policy": "superseded"}))


# Without functions of items, so that type checkers can leave the type of items open.
@overload
def debounce(
    wait: checks.Seconds,
    *,
    max_wait: checks.Seconds | None = None,
    leading: bool = False,
    trailing: bool = True,
    key: None = None,
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[_T]]: ...


@overload
def debounce(
    wait: checks.Seconds,
    *,
    max_wait: checks.Seconds | None = None,
    leading: bool = False,
    trailing: bool = True,
    key: Callable[[_T], Hashable] | None = None,
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[_T]]: ...


def debounce(
    wait: checks.Seconds,
    *,
    max_wait: checks.Seconds | None = None,
    leading: bool = False,
    trailing: bool = True,
    key: Callable[[_T], Hashable] | None = None,
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[_T]]:
    """Let one item of each burst through.

    A burst goes on while each item arrives within `wait` of the one before.

    - **Emits** the last item of a burst `wait` after it arrived (`trailing`), the first one
      at once (`leading`), or both, the trailing one only if the burst had a second item.
      With `max_wait` a burst that goes on emits its newest item that long after its first,
      and then again that long after each such emission; without `trailing`, the next item
      after that is a leading one.
    - **Completes** when the source does, after the pending trailing item.
    - **Fails** when the source or `key` does, after the pending trailing item.
    - **Holds back** nothing, unless over a thousand emissions wait for a busy subscriber.

    ::

        --1-2-3--------4-----|
        [   debounce(3)      ]
        ---------3--------4--|

    Args:
        wait: Seconds or a timedelta; 0 means the next turn of the scheduler.
        max_wait: The longest that an item waits, seconds or a timedelta; below `wait` it
            counts as `wait`, None means no limit.
        leading: Emit the first item of a burst.
        trailing: Emit the last item of a burst.
        key: Gives each item a key; every key has bursts of its own.
        monitor: Takes ``rxpool.debounce.emissions`` and ``rxpool.debounce.wait`` events by
            edge, and ``rxpool.dropped`` ones, policy ``superseded`` or ``dispose``; one of
            these for all the superseded items since the last edge.
        scheduler: The clock; by default the subscriber's, else the shared `TimerScheduler`.

    Raises:
        InvalidArgument: At once, if a duration is out of range or no edge is wanted.

    The semantics are lodash's.  One timer serves all keys; an item arms none.
    """
    pause = checks.duration("wait", wait)
    longest = None if max_wait is None else checks.duration("max_wait", max_wait)
    first, last = checks.flag("leading", leading), checks.flag("trailing", trailing)
    if not (first or last):
        raise InvalidArgument(f"debounce would emit nothing with {leading=}, {trailing=}")
    key_of = None if key is None else checks.call("key", key)

    def measure(item: _T) -> Hashable:
        assert key_of is not None
        group: Hashable = key_of(item)
        hash(group)  # an unhashable key is the key function's error
        return group

    return operator(
        "debounce",
        lambda notes: DebounceState(pause, longest, first, last, notes),
        measure=None if key_of is None else measure,
        monitor=monitor,
        scheduler=scheduler,
    )
