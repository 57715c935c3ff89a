"""`Report`: what a monitor knows of one name; and reports as a table of text."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from types import MappingProxyType
from typing import Any

__all__ = ("Report", "table")


def _no_outcomes() -> Mapping[str, int]:
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Report:
    """What was measured under one name.

    A counter of things (``{item}``) counts the things and has no distribution: its `mean`,
    `min`, `max` and percentiles are 0, as they are while `count` is 0.  An up-and-down
    counter is measured as the level that it reached.
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

    def __reduce__(self) -> tuple[object, ...]:
        values = {each.name: getattr(self, each.name) for each in fields(self)}
        return _rebuild, ({**values, "by_outcome": dict(self.by_outcome)},)


def _rebuild(values: dict[str, Any]) -> Report:
    outcomes: Mapping[str, int] = MappingProxyType(values.pop("by_outcome"))
    return Report(by_outcome=outcomes, **values)


_COLUMNS = ("count", "errors", "rate", "mean", "p50", "p90", "p99", "max")


def table(reports: Iterable[Report]) -> str:
    """Reports as lines of columns, the first one with their names."""
    rows: list[tuple[str, ...]] = [("name", "unit", *_COLUMNS)]
    rows += [
        (each.name, each.unit, *(_cell(getattr(each, column)) for column in _COLUMNS))
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


def _cell(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
