"""The records that operators and pool report about themselves."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

__all__ = ("EventSink", "MetricEvent", "Monitor")


@dataclass(frozen=True, slots=True)
class MetricEvent:
    """One measurement.

    Names, units and attributes follow OpenTelemetry: durations in seconds (``s``), counts
    as ``{item}``.  An attribute never carries a key or an item.
    """

    name: str
    value: float
    unit: str
    at: float  #: seconds on the clock of the operator or pool that measured
    attributes: Mapping[str, str] = field(default_factory=dict[str, str])


class EventSink(Protocol):
    """Anything with ``on_next``: a Subject, an observer, a monitor."""

    def on_next(self, value: MetricEvent, /) -> object:
        """Take one event; must not block."""


Monitor: TypeAlias = EventSink | Callable[[MetricEvent], object]
