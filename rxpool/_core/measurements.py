"""`Measurements`: what a stage measured, on its way to a monitor."""

from collections.abc import Callable, Iterable
from typing import Any

from rxpool._core.state import Measurement
from rxpool._log import log
from rxpool.events import MetricEvent, Monitor

__all__ = ("Measurements",)


class Measurements:
    """Tells a monitor, without any lock; one that raises does not fail the stream."""

    __slots__ = ("_monitor", "_name", "_now")

    def __init__(self, name: str, now: Callable[[], float], monitor: Monitor | None) -> None:
        self._name = name
        self._now = now
        sink: Any = getattr(monitor, "on_next", monitor)
        self._monitor: Callable[[MetricEvent], object] | None = sink

    def tell(self, measured: Iterable[Measurement]) -> None:
        """Hand them on, in order."""
        if self._monitor is None:
            return
        for name, value, unit, attributes in measured:
            try:
                self._monitor(MetricEvent(name, value, unit, self._now(), attributes))
            except Exception as error:
                log.error("the monitor raised", stage=self._name, exc_info=error)

    def tell_dropped(self, count: int) -> None:
        """So many items, if any, were dropped at the end."""
        if count:
            self.tell([("rxpool.dropped", count, "{item}", {"policy": "dispose"})])
