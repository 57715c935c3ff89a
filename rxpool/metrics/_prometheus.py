"""`PrometheusSink`: metric events as metrics of prometheus-client."""

import re
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar
from weakref import WeakKeyDictionary

from rxpool import _checks as checks
from rxpool._forks import afresh
from rxpool._log import log
from rxpool.events import MetricEvent
from rxpool.metrics._sink import Sink
from rxpool.metrics.names import Metric, metric_of

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry

__all__ = ("PrometheusSink", "prometheus_name")

_SUFFIX = {"s": "seconds", "By": "bytes"}


def prometheus_name(metric: Metric) -> str:
    """The name by the conventions of Prometheus; a counter's ``_total`` comes on top."""
    name = re.sub(r"[^a-zA-Z0-9_:]", "_", metric.name)
    if name[:1].isdigit():
        name = f"_{name}"
    suffix = _SUFFIX.get(metric.unit)
    if suffix is not None and not name.endswith(f"_{suffix}"):
        name = f"{name}_{suffix}"
    return name


class _Exported:
    """One metric in a registry, with its children by the values of their labels."""

    def __init__(self, metric: Metric, instrument: Any, action: str) -> None:
        self.attributes = metric.attributes
        self.instrument = instrument
        self.action = action
        self.children: dict[tuple[str, ...], Callable[[float], object]] = {}

    def child(self, values: tuple[str, ...]) -> Callable[[float], object]:
        target = self.instrument.labels(*values) if values else self.instrument
        self.children[values] = taker = getattr(target, self.action)
        return taker  # type: ignore[no-any-return]


class _LeftOut(_Exported):
    """One that the registry has refused: its events go nowhere."""

    def child(self, values: tuple[str, ...]) -> Callable[[float], object]:
        return _nowhere


def _nowhere(_: float) -> None:
    """In place of a child."""


class PrometheusSink(Sink):
    """Feeds a registry of prometheus-client: serve it with `start_http_server` or the like.

    ``rxpool.task.duration`` becomes the histogram ``rxpool_task_duration_seconds``,
    ``rxpool.tasks`` the counter ``rxpool_tasks_total``.  Labels are the attributes that
    `METRICS` lists, dots as underscores, empty where an event has none.  Sinks of one registry
    share its metrics.  A metric whose name is taken in the registry by something else is left
    out, and logged once; the others go on.  Can be used from any thread.

    In the multiprocess mode of prometheus-client, levels are sums over the processes that live
    (``livesum``); as there, tell it of dead ones with ``multiprocess.mark_process_dead(pid)``.

    Args:
        registry: None means the default one of prometheus-client.
        max_series: Combinations of name and labels in the registry; those beyond have
            ``other`` for all labels, and metrics of further names are left out.

    Raises:
        ImportError: If prometheus-client is missing; the message says how to install it.
        InvalidArgument: If `max_series` is not a whole number above 0.
    """

    _lock: ClassVar[threading.Lock] = afresh(threading.Lock())
    _registries: ClassVar["WeakKeyDictionary[Any, dict[str, _Exported]]"] = WeakKeyDictionary()

    def __init__(
        self, registry: "CollectorRegistry | None" = None, *, max_series: int = 1000
    ) -> None:
        try:
            import prometheus_client
        except ImportError:
            raise ImportError(
                "PrometheusSink needs prometheus-client: pip install 'rxpool[prometheus]'"
            ) from None
        self._client: Any = prometheus_client
        self._registry = prometheus_client.REGISTRY if registry is None else registry
        self._max_series = checks.count("max_series", max_series, least=1)
        with PrometheusSink._lock:
            self._exported = PrometheusSink._registries.setdefault(self._registry, {})

    def on_next(self, value: MetricEvent, /) -> None:
        """Count one event.

        Raises:
            ValueError: If a counter is to go down.
        """
        exported = self._exported.get(value.name)
        if exported is not None:
            given = value.attributes
            values = tuple([given.get(name, "") for name in exported.attributes])
            take = exported.children.get(values)
            if take is not None:
                take(value.value)
                return
        take = self._child(value)
        if take is not None:
            take(value.value)

    def _child(self, event: MetricEvent) -> Callable[[float], object] | None:
        with PrometheusSink._lock:
            used = sum(len(each.children) for each in self._exported.values())
            exported = self._exported.get(event.name)
            if exported is None:
                if used >= self._max_series:
                    return None
                exported = self._exported[event.name] = self._try_to_export(metric_of(event))
            values = tuple(event.attributes.get(name, "") for name in exported.attributes)
            if used >= self._max_series and values not in exported.children:
                values = ("other",) * len(values)
            return exported.children.get(values) or exported.child(values)

    def _try_to_export(self, metric: Metric) -> _Exported:
        """The metric in the registry; if that refuses it, one that goes nowhere."""
        try:
            return self._export(metric)
        except ValueError as error:
            log.error("metric left out", metric=metric.name, error=str(error))
            return _LeftOut(metric, None, "")

    def _export(self, metric: Metric) -> _Exported:
        labels = [re.sub(r"[^a-zA-Z0-9_]", "_", name) for name in metric.attributes]
        args = (prometheus_name(metric), metric.description or metric.name, labels)
        client, registry = self._client, self._registry
        if metric.kind == "histogram":
            instrument = client.Histogram(*args, registry=registry, buckets=metric.bounds)
            return _Exported(metric, instrument, "observe")
        if metric.kind == "counter":
            return _Exported(metric, client.Counter(*args, registry=registry), "inc")
        action = "set" if metric.kind == "gauge" else "inc"
        gauge = client.Gauge(*args, registry=registry, multiprocess_mode="livesum")
        return _Exported(metric, gauge, action)
