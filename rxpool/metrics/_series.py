"""What a monitor keeps of one name with one set of attributes."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import floor
from typing import Final, TypeAlias

from rxpool.metrics._histogram import Histogram, record_all
from rxpool.metrics.names import Metric

__all__ = ("SLOTS", "Key", "Series", "Snapshot", "Window", "slots_of")

#: a name and a set of attributes
Key: TypeAlias = tuple[str, frozenset[tuple[str, str]]]

SLOTS: Final = 60  #: the window moves in this many steps; what it leaves, it leaves evenly


class Window:
    """How many things happened in the last while: counts in slots of equal length."""

    __slots__ = ("slots", "step")

    def __init__(self, length: float) -> None:
        self.step = length / SLOTS
        self.slots: dict[int, int] = {}  # by the number of the slot, ascending

    def add(self, times: int, now: float) -> None:
        """So many things happened just now."""
        self.put(floor(now / self.step), times)

    def put(self, number: int, times: int) -> None:
        """So many things happened in the slot of this number."""
        slots = self.slots
        if number in slots:
            slots[number] += times
        else:
            slots[number] = times
            while next(iter(slots)) < number - SLOTS:
                del slots[next(iter(slots))]

    def total(self, now: float) -> float:
        """How many there were; of the slot that is just leaving, the share that is left."""
        exact = now / self.step
        number = floor(exact)
        total = 0.0
        for slot, times in self.slots.items():
            if slot > number - SLOTS:
                total += times
            elif slot == number - SLOTS:
                total += times * (1 - (exact - number))
        return total

    def merge(self, other: "Window", shift: int) -> None:
        """Add the counts of *other*, whose slots have numbers lower by *shift*."""
        for number, times in other.slots.items():
            self.slots[number + shift] = self.slots.get(number + shift, 0) + times
        kept = sorted(self.slots.items())[-SLOTS - 1 :]
        self.slots.clear()
        self.slots.update(kept)


def slots_of(times: Sequence[float], step: float) -> Mapping[int, int]:
    """How many of *times* are in which slot."""
    first, last = floor(min(times) / step), floor(max(times) / step)
    if first == last:
        return {first: len(times)}
    return Counter(floor(each / step) for each in sorted(times))


class Series:
    """Measurements with one name and one set of attributes, or with several of them.

    Of one set, all have the same outcome: it is kept once, not counted.
    """

    __slots__ = (
        "count",
        "failed",
        "histogram",
        "last",
        "metric",
        "mixed",
        "mixed_errors",
        "outcome",
        "total",
        "window",
    )

    def __init__(
        self, length: float, metric: Metric, attributes: Mapping[str, str] | None = None
    ) -> None:
        self.metric = metric
        self.outcome, self.failed = _outcome(attributes or {})
        self.window = Window(length)
        self.histogram = Histogram()
        self.count = 0
        self.total: float = 0.0
        self.last: float = 0.0
        self.mixed: dict[str, int] = {}  # of several sets: how many of which outcome
        self.mixed_errors = 0

    def take(self, value: float, now: float) -> int:
        """One event; gives how many things that were."""
        kind = self.metric.kind
        if kind == "histogram":
            self.histogram.record(value)
        elif self.metric.counts_things:
            self.count += (times := int(value))
            self.total += value
            self.window.add(times, now)
            return times
        else:
            if kind == "updowncounter":
                value += self.last
            self.histogram.record(value)
            if kind != "counter":
                self.last = value
        self.count += 1
        self.total += value
        self.window.add(1, now)
        return 1

    def take_all(self, values: Sequence[float], slots: Mapping[int, int]) -> None:
        """Measurements of a histogram, which came in these slots of the window."""
        record_all(self.histogram, values)
        self.count += len(values)
        self.total += sum(values)
        for number, times in slots.items():
            self.window.put(number, times)

    def take_things(self, count: int, slots: Mapping[int, int]) -> None:
        """So many things of a counter of things, which came in these slots of the window."""
        self.count += count
        self.total += count
        for number, times in slots.items():
            self.window.put(number, times)

    def note(self, attributes: Mapping[str, str], times: int) -> None:
        """What was taken had these attributes, of several sets."""
        self._mix(*_outcome(attributes), times)

    def _mix(self, outcome: str | None, failed: bool, times: int) -> None:
        if outcome is not None:
            self.mixed[outcome] = self.mixed.get(outcome, 0) + times
        if failed:
            self.mixed_errors += times

    @property
    def errors(self) -> int:
        """How many failed."""
        return self.mixed_errors + (self.count if self.failed else 0)

    @property
    def outcomes(self) -> dict[str, int]:
        """How many had which outcome."""
        found = dict(self.mixed)
        if self.outcome is not None:
            found[self.outcome] = found.get(self.outcome, 0) + self.count
        return found

    def merge(self, other: "Series", shift: int = 0) -> None:
        """Take in what *other* has measured; levels of several sources add up.

        Either both are of the same set of attributes, or this one is of several.
        """
        self.window.merge(other.window, shift)
        self.histogram.merge(other.histogram)
        if (self.outcome, self.failed) != (other.outcome, other.failed):
            self._mix(other.outcome, other.failed, other.count)
        self.count += other.count
        self.total += other.total
        self.last += other.last
        self.mixed_errors += other.mixed_errors
        for outcome, times in other.mixed.items():
            self.mixed[outcome] = self.mixed.get(outcome, 0) + times

    def copy(self, shift: int = 0) -> "Series":
        """One with the same numbers, for itself."""
        twin = Series(self.window.step * SLOTS, self.metric)
        twin.outcome, twin.failed = self.outcome, self.failed
        twin.merge(self, shift)
        return twin


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All that a monitor knew at one instant; can be pickled, and merged into a monitor."""

    window: float
    elapsed: float  #: seconds for which the monitor has measured
    series: Mapping[Key, Series]  # the slots of their windows are numbered from now back


def _outcome(attributes: Mapping[str, str]) -> tuple[str | None, bool]:
    outcome = attributes.get("outcome")
    failed = outcome == "failure" or (outcome is None and "error.type" in attributes)
    return outcome, failed
