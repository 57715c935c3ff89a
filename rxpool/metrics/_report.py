"""`Report`: what a monitor knows of one name; and reports as a table of text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

from rxpool.metrics.names import Kind

__all__ = ("Report", "table")


def _no_outcomes() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured under one name.

    A counter of things (``{item}``) counts the things and has no distribution: its `mean`,
    `min`, `max` and percentiles are 0, as they are while `count` is 0.  An up-and-down
    counter is measured as the level that it reached.  Where the unit is a thing, all figures
    but `rate` and `mean` are whole numbers.
    """

    name: str
    unit: str = ""
    count: int = 0  #: measurements; of a counter of things: the things
    errors: int = 0  #: with the outcome ``failure``, or with none but an ``error.type``
    rate: float = 0.0  #: `count` per second, over the sliding window
    total: float = 0.0  #: the sum of all values
    last: float = 0.0  #: of gauges and up-and-down counters: the present value
    mean: float = 0.0
    min: float = 0.0
    max: float = 0.0
    p50: float = 0.0  #: percentiles are within 1 % of the exact ones
    p90: float = 0.0
    p99: float = 0.0
    by_outcome: Mapping[str, int] = field(default_factory=_no_outcomes)
    kind: Kind = "histogram"

    def __reduce__(self) -> tuple[object, ...]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return _rebuild, ({**values, "by_outcome": dict(self.by_outcome)},)


def _rebuild(values: dict[str, Any]) -> Report:
    outcomes: Mapping[str, int] = MappingProxyType(values.pop("by_outcome"))
    return Report(by_outcome=outcomes, **values)


_COLUMNS = (
    "count",
    "errors",
    "rate",
    "total",
    "now",
    "mean",
    "min",
    "p50",
    "p90",
    "p99",
    "max",
)

#: what makes sense of which kind; of counters of things the count is all there is
_SHOWN: Mapping[Kind, tuple[str, ...]] = {
    "histogram": ("count", "errors", "rate", "mean", "min", "p50", "p90", "p99", "max"),
    "counter": ("count", "errors", "rate", "total"),
    "updowncounter": ("now", "min", "max"),
    "gauge": ("now", "min", "max"),
}


def table(reports: Iterable[Report]) -> str:
    """Reports as lines of columns, the first one with their names.

    What makes no sense of a metric is left empty: a level has no percentiles.
    """
    rows: list[tuple[str, ...]] = [("name", "unit", *_COLUMNS)]
    rows += [
        (each.name, each.unit, *(_cell(each, column) for column in _COLUMNS))
        for each in reports
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if place < 2 else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    )


def _cell(report: Report, column: str) -> str:
    if column not in _SHOWN[report.kind]:
        return ""
    if column == "errors" and not (report.errors or report.by_outcome):
        return ""  # nothing is known of how things went
    if report.kind == "counter" and (column == "total") is report.unit.startswith("{"):
        return (
            ""  # events of a counter of seconds are no things, and a sum of things their count
        )
    value = getattr(report, "last" if column == "now" else column)
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
