"""`Sink`: what takes metric events; `fan_out`: several of them as one."""

import threading
from collections.abc import Callable

from rxpool import _checks as checks
from rxpool._forks import afresh
from rxpool._log import log
from rxpool.errors import InvalidArgumentType
from rxpool.events import MetricEvent, Monitor

__all__ = ("FanOut", "Sink", "fan_out")


class Sink:
    """An observer of metric events, as the ``monitor=`` of operators and of `subscribe`."""

    def on_next(self, value: MetricEvent, /) -> None:
        """Take one event."""
        raise NotImplementedError

    def on_error(self, error: Exception) -> None:
        """The stream of events failed: logged, and nothing else."""
        log.error("the metrics failed", sink=type(self).__name__, exc_info=error)

    def on_completed(self) -> None:
        """The stream of events ended: nothing to do."""


class FanOut(Sink):
    """See `fan_out`."""

    def __init__(self, monitors: tuple[Monitor, ...]) -> None:
        self._lock = afresh(threading.Lock())
        self._takers = tuple((each, _taker(each)) for each in monitors)

    @property
    def monitors(self) -> tuple[Monitor, ...]:
        """Those that still take events."""
        return tuple(monitor for monitor, _ in self._takers)

    def on_next(self, value: MetricEvent, /) -> None:
        """Give *value* to each, on this thread."""
        for entry in self._takers:
            try:
                entry[1](value)
            except Exception as error:
                with self._lock:
                    before = self._takers
                    self._takers = tuple(each for each in before if each is not entry)
                if len(self._takers) < len(before):  # of several threads, one says so
                    log.error(
                        "a monitor raised and gets no more events",
                        monitor=repr(entry[0]),
                        exc_info=error,
                    )


def fan_out(*monitors: Monitor) -> FanOut:
    """One monitor that gives each event to all of *monitors*, in their order.

    One that raises is logged, let go, and keeps neither the others nor the sender from
    going on.  Can be used from any thread.

    Raises:
        InvalidArgument: If one can neither be called nor has ``on_next``.
    """
    for monitor in monitors:
        if monitor is None:  # pyright: ignore[reportUnnecessaryComparison]
            raise InvalidArgumentType("a monitor must be callable or have on_next, got None")
        checks.sink("a monitor", monitor)
    return FanOut(monitors)


def _taker(monitor: Monitor) -> Callable[[MetricEvent], object]:
    taker: Callable[[MetricEvent], object] = getattr(monitor, "on_next", monitor)  # type: ignore[arg-type]
    return taker
