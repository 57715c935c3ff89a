"""`PerformanceMonitor`: turns measurements into reports."""

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from math import floor
from time import perf_counter
from types import MappingProxyType
from typing import Any

from reactivex import Observable, abc

from rxpool import _checks as checks
from rxpool._forks import held
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.events import MetricEvent, Monitor
from rxpool.metrics._every import every
from rxpool.metrics._intake import Counted, Intake
from rxpool.metrics._report import Report, table
from rxpool.metrics._series import SLOTS, Key, Series, Snapshot
from rxpool.metrics._sink import Sink
from rxpool.metrics._timed import Timed
from rxpool.metrics.names import METRICS, Metric
from rxpool.timing import Clock

__all__ = ("OVERFLOW", "PerformanceMonitor", "intake_of")

#: the name under which events are counted that have no room under their own
OVERFLOW = "rxpool.monitor.overflow"
_REST = frozenset({("overflow", "true")})
_NONE: frozenset[tuple[str, str]] = frozenset()


class PerformanceMonitor(Sink):
    """Takes measurements and reports on them, by name.

    It is a `Monitor`: give it to operators as ``monitor=``, subscribe it to `pool.metrics`,
    or call `track` and `timed`.  Can be used from any thread; an event takes about 1.5 µs.
    As the ``monitor=`` of a pool it is not given an event for each task that went well, but
    their numbers in lots, which takes a quarter; `report` and the others have all of them.

    For each name and set of attributes it keeps a `Histogram` and a count of the last
    *window* seconds, nothing else, so memory does not grow with the number of events.  There
    are at most *max_series* of those sets: the rest of a name is counted in one more set of
    that name, names beyond that many under ``rxpool.monitor.overflow``.

    Args:
        window: Seconds or a timedelta over which `Report.rate` is measured.
        clock: Gives the time: a reactivex scheduler, a `Clock`, a function that returns
            seconds, or None for `time.perf_counter`.
        max_series: Sets of attributes, over all names; 1 or more.

    Raises:
        InvalidArgument: If an argument is out of its range or of the wrong type.
    """

    def __init__(
        self,
        *,
        window: checks.Seconds = 60.0,
        clock: abc.SchedulerBase | Clock | Callable[[], float] | None = None,
        max_series: int = 1000,
    ) -> None:
        self._window = checks.duration("window", window, above=True)
        self._max_series = checks.count("max_series", max_series, least=1)
        self._now = _reader(clock)
        self._since = self._now()
        # It guards all below, and the clock, which may be anybody's, is read without it.
        self._lock = held(threading.RLock())
        self._series: dict[Key, Series] = {}
        self._by_name: dict[str, list[Key]] = {}
        self._intakes: list[Intake] = []
        self._counting = False

    # -- what goes in -----------------------------------------------------------------

    def on_next(self, value: MetricEvent, /) -> None:
        """Count one event; its time is when it arrives.

        Raises:
            InvalidArgument: If the value of the event is not finite.
        """
        attributes = value.attributes
        key = (value.name, frozenset(attributes.items()) if attributes else _NONE)
        now = self._now()
        with self._lock:
            series = self._series.get(key)
            if series is not None:
                series.take(value.value, now)
            else:
                if len(self._series) < self._max_series:
                    self._count()  # what came before has its series before
                series, own = self._new(key, value.unit)
                times = series.take(value.value, now)
                if not own:
                    series.note(attributes, times)

    def track(self, name: str, seconds: checks.Seconds, /, **attributes: str) -> None:
        """Count something that took so many *seconds*.

        The attribute ``outcome`` is special: ``failure`` counts as an error.

        Raises:
            InvalidArgument: If `seconds` is negative or not finite, or an attribute is
                not a str.
        """
        if not isinstance(name, str):
            raise InvalidArgumentType(f"name must be a str, got {checks.shown(name)}")
        for each, value in attributes.items():
            if not isinstance(value, str):
                raise InvalidArgumentType(f"{each} must be a str, got {checks.shown(value)}")
        took = checks.duration("seconds", seconds)
        self.on_next(MetricEvent(name, took, "s", self._now(), attributes))

    def timed(self, name: str, /, **attributes: str) -> Timed:
        """Measures a ``with`` block, or as a decorator every call of a function.

        The outcome is ``success``, ``failure`` with the class of the exception as
        ``error.type``, or ``cancelled`` for asyncio's `CancelledError`.  Exceptions pass.
        Of an async function the call counts until it is done.
        """
        return Timed(self.on_next, self._now, name, attributes)

    def _new(self, key: Key, unit: str) -> tuple[Series, bool]:
        """A series for *key*, or the one of what has no room; and which of them it is.

        The lock is held.
        """
        name, attributes = key
        own = key in self._series or len(self._series) < self._max_series
        if not own:
            name = name if name in self._by_name else OVERFLOW
            key, attributes = (name, _REST), _NONE
        series = self._series.get(key)
        if series is None:
            metric = METRICS.get(name) or Metric(name, "histogram", unit, (), "")
            series = Series(self._window, metric, dict(attributes))
            self._series[key] = series
            self._by_name.setdefault(name, []).append(key)
        return series, own

    # -- what comes in by lots --------------------------------------------------------

    def _open(self, measured: Sequence[Counted], counter: Counted | None) -> Intake:
        intake = Intake(measured, counter, self._now, self._make_room, self._end)
        with self._lock:
            self._intakes.append(intake)
        return intake

    def _end(self, intake: Intake) -> None:
        with self._lock:
            self._count()
            self._intakes = [each for each in self._intakes if each is not intake]

    def _make_room(self, intake: Intake, wait: bool) -> None:
        """Count what *intake* has, unless others have the lock; with *wait* even then."""
        if self._lock.acquire(wait):
            try:
                self._count(intake)
            finally:
                self._lock.release()

    def _count(self, *intakes: Intake) -> None:
        """Count all that came in by lots until now, or by these.  The lock is held."""
        if self._counting:
            return  # a signal handler reads while this thread is just counting
        self._counting = True
        try:
            for intake in intakes or self._intakes:
                intake.count(self._series_of, self._window / SLOTS)
        finally:
            self._counting = False

    def _series_of(
        self, name: str, unit: str, attributes: Mapping[str, str], times: int
    ) -> Series:
        key = (name, frozenset(attributes.items()))
        series = self._series.get(key)
        if series is None:
            series, own = self._new(key, unit)
            if not own:
                series.note(attributes, times)
        return series

    # -- what comes out ---------------------------------------------------------------

    def report(self, name: str, /, **attributes: str) -> Report:
        """What was measured under *name*, as far as it has these *attributes*.

        A name of which nothing is known gives a report whose `count` is 0.
        """
        wanted = set(attributes.items())
        now = self._now()
        with self._lock:
            self._count()
            keys = self._by_name.get(name, ())
            series = [self._series[key].copy() for key in keys if wanted <= key[1]]
        return self._sum_up(name, series, now)

    def reports(self) -> dict[str, Report]:
        """A report for each name, in the order of names; all of the same instant."""
        now = self._now()
        with self._lock:
            self._count()
            found = {
                name: [self._series[key].copy() for key in keys]
                for name, keys in self._by_name.items()
            }
        return {name: self._sum_up(name, found[name], now) for name in sorted(found)}

    def _sum_up(self, name: str, series: list[Series], now: float) -> Report:
        if not series:
            return Report(name)
        whole = Series(self._window, series[0].metric)
        for each in series:
            whole.merge(each)
        seconds = max(min(self._window, now - self._since), whole.window.step)
        numbers = whole.histogram
        known = numbers.count > 0
        p50, p90, p99 = numbers.percentiles(50, 90, 99) if known else (0.0, 0.0, 0.0)
        whole_numbers = whole.metric.unit.startswith("{")
        shown = _whole if whole_numbers else float
        return Report(
            name,
            whole.metric.unit,
            count=whole.count,
            errors=whole.errors,
            rate=whole.window.total(now) / seconds,
            total=shown(whole.total),
            last=shown(whole.last),
            mean=numbers.mean if known else 0.0,
            min=shown(numbers.min) if known else 0.0,
            max=shown(numbers.max) if known else 0.0,
            p50=round(p50) if whole_numbers else p50,
            p90=round(p90) if whole_numbers else p90,
            p99=round(p99) if whole_numbers else p99,
            by_outcome=MappingProxyType(whole.outcomes),
            kind=whole.metric.kind,
        )

    def every(
        self, seconds: checks.Seconds, scheduler: abc.SchedulerBase | None = None
    ) -> Observable[Mapping[str, Report]]:
        """`reports`, every so many *seconds*, from the subscription on until it is disposed.

        The first comes after *seconds*; instants are counted from the subscription, so
        they do not drift, and those that a slow subscriber misses are left out.  It never
        completes.  No thread is started per subscription.

        Args:
            seconds: A number or a timedelta, above 0.
            scheduler: Where the timers run; None means the subscriber's, or else the
                shared `TimerScheduler`.

        Raises:
            InvalidArgument: If an argument is out of its range or of the wrong type.
        """
        return every(checks.duration("seconds", seconds, above=True), self.reports, scheduler)

    def snapshot(self) -> Snapshot:
        """All that is known now: to be pickled, and merged into another monitor."""
        now = self._now()
        back = -floor(now / (self._window / SLOTS))
        with self._lock:
            self._count()
            series = {key: each.copy(back) for key, each in self._series.items()}
            elapsed = max(0.0, now - self._since)
        return Snapshot(self._window, elapsed, series)

    def merge(self, other: "PerformanceMonitor | Snapshot") -> None:
        """Count all that *other* has counted here as well, as if it came from there.

        The windows must have the same length.  How old the counts of a snapshot are is
        reckoned from when it was taken to now, as if no time had passed since.

        Raises:
            InvalidArgument: If `other` is of the wrong type or its window is another.
        """
        if isinstance(other, PerformanceMonitor):
            other = other.snapshot()  # under its own lock, never under two
        if not isinstance(other, Snapshot):
            raise InvalidArgumentType(
                f"other must be a monitor or a snapshot, got {checks.shown(other)}"
            )
        if other.window != self._window:
            raise InvalidArgument(
                f"windows must be equal, got {other.window:g} s and {self._window:g} s"
            )
        now = self._now()
        with self._lock:
            self._count()
            self._since = min(self._since, now - other.elapsed)
            shift = floor(now / (self._window / SLOTS))
            for key, series in other.series.items():
                mine = self._series.get(key) or self._new(key, series.metric.unit)[0]
                mine.merge(series, shift)

    def __iter__(self) -> Iterator[Report]:
        return iter(self.reports().values())

    def __str__(self) -> str:
        """A table with a line for each name."""
        return table(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickled as its snapshot; the copy has the clock of its own process."""
        return _restore, (self._window, self._max_series, self.snapshot())


def intake_of(
    monitor: Monitor, measured: Sequence[Counted], counter: Counted | None = None
) -> Intake | None:
    """A way for lots into *monitor*, if that is a `PerformanceMonitor` as it comes.

    One whose `on_next` is another's own is to be given each event.
    """
    taker = getattr(monitor, "on_next", monitor)
    if getattr(taker, "__func__", None) is not PerformanceMonitor.on_next:
        return None
    return taker.__self__._open(measured, counter)  # type: ignore[no-any-return,union-attr]  # noqa: SLF001 - a part of it


def _restore(window: float, max_series: int, snapshot: Snapshot) -> PerformanceMonitor:
    monitor = PerformanceMonitor(window=window, max_series=max_series)
    monitor.merge(snapshot)
    return monitor


def _whole(value: float) -> float:
    """As an int, if it is one."""
    return int(value) if value == int(value) else value


def _reader(clock: Any) -> Callable[[], float]:
    if clock is None:
        return perf_counter
    if isinstance(clock, Clock):
        return clock.now
    if isinstance(clock, abc.SchedulerBase):
        return Clock(clock).now
    if callable(clock):
        return clock  # type: ignore[no-any-return]
    raise InvalidArgumentType(
        f"clock must be a scheduler or a function, got {checks.shown(clock)}"
    )
