"""What is measured, and where it goes."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.metrics._attempt_record import AttemptRecord
    from rxpool.metrics._bottleneck import Bottleneck, bottleneck
    from rxpool.metrics._histogram import Histogram
    from rxpool.metrics._json_lines import JsonLinesSink
    from rxpool.metrics._monitor import PerformanceMonitor
    from rxpool.metrics._opentelemetry import OpenTelemetrySink
    from rxpool.metrics._prometheus import PrometheusSink
    from rxpool.metrics._report import Report
    from rxpool.metrics._resources import Resources, resources
    from rxpool.metrics._series import Snapshot
    from rxpool.metrics._sink import Sink, fan_out
    from rxpool.metrics._structlog import StructlogSink
    from rxpool.metrics._trace import TraceWriter
    from rxpool.metrics.names import METRICS, Metric
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.metrics._attempt_record": "AttemptRecord",
            "rxpool.metrics._bottleneck": "Bottleneck bottleneck",
            "rxpool.metrics._histogram": "Histogram",
            "rxpool.metrics._json_lines": "JsonLinesSink",
            "rxpool.metrics._monitor": "PerformanceMonitor",
            "rxpool.metrics._opentelemetry": "OpenTelemetrySink",
            "rxpool.metrics._prometheus": "PrometheusSink",
            "rxpool.metrics._report": "Report",
            "rxpool.metrics._resources": "Resources resources",
            "rxpool.metrics._series": "Snapshot",
            "rxpool.metrics._sink": "Sink fan_out",
            "rxpool.metrics._structlog": "StructlogSink",
            "rxpool.metrics._trace": "TraceWriter",
            "rxpool.metrics.names": "METRICS Metric",
        },
        "names",
    )

__all__ = (
    "METRICS",
    "AttemptRecord",
    "Bottleneck",
    "Histogram",
    "JsonLinesSink",
    "Metric",
    "OpenTelemetrySink",
    "PerformanceMonitor",
    "PrometheusSink",
    "Report",
    "Resources",
    "Sink",
    "Snapshot",
    "StructlogSink",
    "TraceWriter",
    "bottleneck",
    "fan_out",
    "resources",
)
