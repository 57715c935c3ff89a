"""`OpenTelemetrySink`: metric events as instruments of OpenTelemetry."""

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from rxpool._forks import afresh
from rxpool.events import MetricEvent
from rxpool.metrics._sink import Sink
from rxpool.metrics.names import Metric, metric_of

if TYPE_CHECKING:
    from opentelemetry.metrics import Meter

__all__ = ("OpenTelemetrySink",)

_NAMES = 1000  #: metrics of more names than that are left out


class OpenTelemetrySink(Sink):
    """Feeds a meter of OpenTelemetry, with names, units and attributes as they are.

    Only the API is used: what becomes of the measurements is up to the SDK that the program
    configures, the limit of attribute sets included; without one they go nowhere.  Can be
    used from any thread.

    Args:
        meter: None means the meter ``rxpool`` of the global provider.

    Raises:
        ImportError: If opentelemetry-api is missing; the message says how to install it.
    """

    def __init__(self, meter: "Meter | None" = None) -> None:
        try:
            from opentelemetry import metrics
        except ImportError:
            raise ImportError(
                "OpenTelemetrySink needs opentelemetry-api: pip install 'rxpool[opentelemetry]'"
            ) from None
        self._meter: Any = metrics.get_meter("rxpool") if meter is None else meter
        self._lock = afresh(threading.Lock())
        self._takers: dict[str, tuple[Callable[..., object], frozenset[str]]] = {}

    def on_next(self, value: MetricEvent, /) -> None:
        """Record one event."""
        found = self._takers.get(value.name) or self._taker(value)
        if found is None:
            return
        take, listed = found
        given = value.attributes
        take(value.value, {name: given[name] for name in given if name in listed})

    def _taker(self, event: MetricEvent) -> tuple[Callable[..., object], frozenset[str]] | None:
        with self._lock:
            found = self._takers.get(event.name)
            if found is None and len(self._takers) < _NAMES:
                metric = metric_of(event)
                found = self._instrument(metric), frozenset(metric.attributes)
                self._takers[event.name] = found
            return found

    def _instrument(self, metric: Metric) -> Callable[..., object]:
        meter, args = self._meter, (metric.name, metric.unit, metric.description)
        if metric.kind == "histogram":
            histogram = meter.create_histogram(
                *args, explicit_bucket_boundaries_advisory=metric.bounds
            )
            return histogram.record  # type: ignore[no-any-return]
        if metric.kind == "counter":
            return meter.create_counter(*args).add  # type: ignore[no-any-return]
        if metric.kind == "updowncounter":
            return meter.create_up_down_counter(*args).add  # type: ignore[no-any-return]
        return meter.create_gauge(*args).set  # type: ignore[no-any-return]
