"""Every metric of rxpool: name, instrument, unit and attributes.

The conventions are OpenTelemetry's: dotted names without units, durations in seconds
(``s``), memory in bytes (``By``), counts of things as ``{thing}``.  An attribute is never a
key or an item.  What the value of an event is depends on the instrument:

- ``histogram``: one measurement;
- ``counter``: by how much it grew, 0 or more;
- ``updowncounter``: by how much it changed;
- ``gauge``: what it is now.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, Literal, TypeAlias

from rxpool.events import MetricEvent

__all__ = ("BOUNDS", "ITEM_BOUNDS", "METRICS", "Kind", "Metric", "error_type", "metric_of")

Kind: TypeAlias = Literal["histogram", "counter", "updowncounter", "gauge"]

#: upper bounds of buckets in seconds, for sinks whose histograms have fixed buckets
BOUNDS: Final = (
    *(0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0),
)
#: the same for numbers of items
ITEM_BOUNDS: Final = tuple(float(n * ten) for ten in (1, 10, 100, 1000) for n in (1, 2, 5))


@dataclass(frozen=True, slots=True)
class Metric:
    """What one name stands for."""

    name: str
    kind: Kind
    unit: str
    attributes: tuple[str, ...]  #: those that its events may carry
    description: str
    #: whether its values are whole numbers of things that happened
    counts_things: bool = field(init=False)

    def __post_init__(self) -> None:
        things = self.kind == "counter" and self.unit.startswith("{")
        object.__setattr__(self, "counts_things", things)

    @property
    def bounds(self) -> tuple[float, ...]:
        """Upper bounds of buckets that suit the unit."""
        return BOUNDS if self.unit == "s" else ITEM_BOUNDS


def _table(*rows: tuple[str, Kind, str, tuple[str, ...], str]) -> Mapping[str, Metric]:
    return MappingProxyType({row[0]: Metric(*row) for row in rows})


#: outcome: success, failure, dropped or cancelled; error.type: the class of the exception
METRICS: Final = _table(
    (
        "rxpool.task.duration",
        "histogram",
        "s",
        ("pool", "outcome", "error.type"),
        "How long attempts ran",
    ),
    (
        "rxpool.task.wait",
        "histogram",
        "s",
        ("pool",),
        "From the acceptance of an item to the start of its first attempt",
    ),
    (
        "rxpool.tasks",
        "counter",
        "{task}",
        ("pool", "outcome", "error.type"),
        "Items that are settled",
    ),
    (
        "rxpool.task.active",
        "updowncounter",
        "{task}",
        ("pool",),
        "Attempts that run, or whose result is being delivered",
    ),
    ("rxpool.queue.size", "gauge", "{task}", ("pool",), "Items that wait for a worker"),
    (
        "rxpool.worker.restarts",
        "counter",
        "{restart}",
        ("pool", "reason"),
        "Workers that were replaced",
    ),
    (
        "rxpool.worker.cpu",
        "counter",
        "s",
        ("pool", "worker"),
        "CPU time that worker processes used",
    ),
    (
        "rxpool.worker.memory",
        "gauge",
        "By",
        ("pool", "worker"),
        "Resident memory of worker processes",
    ),
    ("rxpool.batch.size", "histogram", "{item}", ("pool", "reason"), "Items in a batch"),
    ("rxpool.batch.flushes", "counter", "{batch}", ("pool", "reason"), "Batches that came out"),
    ("rxpool.throttle.wait", "histogram", "s", (), "How long a throttle held items"),
    (
        "rxpool.debounce.wait",
        "histogram",
        "s",
        ("edge",),
        "From the first item of a burst, or a forced emission, to the next emission",
    ),
    (
        "rxpool.debounce.emissions",
        "counter",
        "{item}",
        ("edge",),
        "Items that came out of a debounce",
    ),
    ("rxpool.dropped", "counter", "{item}", ("pool", "policy"), "Items that were dropped"),
    (
        "rxpool.breaker.transitions",
        "counter",
        "{transition}",
        ("breaker", "from", "to"),
        "Changes of state of circuit breakers",
    ),
    (
        "rxpool.breaker.rejected",
        "counter",
        "{call}",
        ("breaker", "state"),
        "Calls that circuit breakers refused",
    ),
    (
        "rxpool.retry.attempts",
        "counter",
        "{attempt}",
        ("pool", "error.type"),
        "Attempts beyond the first",
    ),
    (
        "rxpool.retry.wait",
        "histogram",
        "s",
        ("pool",),
        "How long items waited before another attempt",
    ),
    (
        "rxpool.limit.wait",
        "histogram",
        "s",
        ("pool", "limit"),
        "How long items waited for a limit",
    ),
    (
        "rxpool.reorder.wait",
        "histogram",
        "s",
        ("pool",),
        "How long results waited for those before them",
    ),
)


def metric_of(event: MetricEvent) -> Metric:
    """What *event* measures; one of an unknown name is taken for a histogram.

    Sinks export the attributes that are listed; of an unknown name those of the event.
    """
    known = METRICS.get(event.name)
    if known is not None:
        return known
    return Metric(event.name, "histogram", event.unit, tuple(sorted(event.attributes)), "")


def error_type(kind: type[BaseException]) -> str:
    """What the attribute ``error.type`` calls a class of exceptions."""
    if kind.__module__ == "builtins":
        return kind.__qualname__
    return f"{kind.__module__}.{kind.__qualname__}"
