"""`Histogram`: percentiles within 1 % in little memory."""

from collections import Counter
from collections.abc import Iterator, Sequence
from math import ceil, exp, inf, isfinite, log, nan
from sys import float_info
from typing import Any, Final

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument, InvalidArgumentType

__all__ = ("Histogram", "record_all")

# A bucket holds what lies between two powers of GAMMA and is represented by the value
# whose distance to both ends is the same share of them; a little below 1 %, for rounding.
_ERROR: Final = 0.0099
_SCALE: Final = 1 / log((1 + _ERROR) / (1 - _ERROR))
_SHIFT: Final = 40_000  # keeps keys above 0, so that `int` rounds down
_MIDDLE: Final = 2 / (1 + (1 + _ERROR) / (1 - _ERROR))  # of a bucket, to its upper end
_LEAST: Final = float_info.min  # what is smaller counts as 0
_MOST: Final = float_info.max


class Histogram:
    """Counts numbers in buckets whose width is proportional to the number.

    `percentile` is wrong by at most 1 % of the number, whatever the distribution; `count`,
    `min` and `max` are exact, `sum` but for rounding.  Only buckets in use take memory:
    from a microsecond to a day there are 1,300, and there can never be more than 150,000.
    Recording takes constant time.

    A state object: no clock, no lock.  It can be pickled.
    """

    __slots__ = ("_above", "_below", "_zeros", "max", "min", "sum")

    def __init__(self) -> None:
        self._above: Counter[int] = Counter()
        self._below: dict[int, int] = {}  # of numbers below 0, by their size
        self._zeros = 0
        self.sum = 0.0
        self.min = inf  #: inf as long as nothing was recorded
        self.max = -inf

    def record(self, value: float) -> None:
        """Count *value*: any finite number.

        Raises:
            InvalidArgument: If it is not finite.
        """
        if _LEAST <= value <= _MOST:
            self._above[int(log(value) * _SCALE + _SHIFT)] += 1
        else:
            self._record_other(value)
        self.sum += value
        if value < self.min:
            self.min = value
        if value > self.max:
            self.max = value

    def _record_other(self, value: float) -> None:
        if not isfinite(value):
            raise InvalidArgument(
                f"a histogram takes finite numbers, got {checks.shown(value)}"
            )
        if value <= -_LEAST:
            key = int(log(-value) * _SCALE + _SHIFT)
            self._below[key] = self._below.get(key, 0) + 1
        else:
            self._zeros += 1

    @property
    def count(self) -> int:
        """How many numbers were recorded; takes time in proportion to the buckets."""
        return self._zeros + sum(self._above.values()) + sum(self._below.values())

    @property
    def mean(self) -> float:
        """The arithmetic mean; NaN if nothing was recorded."""
        return self.sum / count if (count := self.count) else nan

    def percentile(self, q: float) -> float:
        """The number that *q* per cent of all do not exceed, within 1 %.

        That is the one at rank ``ceil(q / 100 * count)``, counted from 1 in ascending
        order, and the smallest for ``q = 0``.  NaN if nothing was recorded.

        Raises:
            InvalidArgument: If `q` is not from 0 to 100.
        """
        return self.percentiles(q)[0]

    def percentiles(self, *qs: float) -> list[float]:
        """Several percentiles at once, which takes little longer than one."""
        for q in qs:
            if checks.number("q", q) > 100:
                raise InvalidArgument(f"q must be from 0 to 100, got {checks.shown(q)}")
        total = self.count
        if not total:
            return [nan] * len(qs)
        found = [0.0] * len(qs)
        ranks = sorted((max(1, ceil(q * total / 100)), place) for place, q in enumerate(qs))
        buckets = self._ascending()
        passed, middle = 0, 0.0
        for rank, place in ranks:
            while passed < rank:
                middle, times = next(buckets)
                passed += times
            found[place] = min(max(middle, self.min), self.max)
        return found

    def _ascending(self) -> Iterator[tuple[float, int]]:
        """The middle of each bucket and how many it holds."""
        for key in sorted(self._below, reverse=True):
            yield -_middle(key), self._below[key]
        if self._zeros:
            yield 0.0, self._zeros
        for key in sorted(self._above):
            yield _middle(key), self._above[key]

    def merge(self, other: "Histogram") -> None:
        """Count all that *other* has counted here as well.

        Raises:
            InvalidArgumentType: If `other` is not a histogram.
        """
        if not isinstance(other, Histogram):
            raise InvalidArgumentType(f"other must be a Histogram, got {checks.shown(other)}")
        for mine, its in ((self._above, other._above), (self._below, other._below)):
            for key, times in list(its.items()):
                mine[key] = mine.get(key, 0) + times
        self._zeros += other._zeros
        self.sum += other.sum
        self.min = min(self.min, other.min)
        self.max = max(self.max, other.max)

    def copy(self) -> "Histogram":
        """One with the same numbers, for itself."""
        twin = Histogram()
        twin.merge(self)
        return twin

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Histogram):
            return NotImplemented
        return self._parts() == other._parts()

    __hash__ = None  # type: ignore[assignment]  # it changes

    def _parts(self) -> tuple[Any, ...]:
        return self._above, self._below, self._zeros, self.sum, self.min, self.max

    def __repr__(self) -> str:
        if not (count := self.count):
            return "Histogram(count=0)"
        return f"Histogram(count={count}, min={self.min:g}, max={self.max:g})"


def record_all(histogram: Histogram, values: Sequence[float]) -> None:
    """As `Histogram.record` does with each of *values*, of which there is at least one."""
    least, most = min(values), max(values)
    if not _LEAST <= least <= most <= _MOST:
        for value in values:
            histogram.record(value)
        return
    above = histogram._above  # pyright: ignore[reportPrivateUsage]  # of this module
    above.update([int(power * _SCALE + _SHIFT) for power in map(log, values)])
    histogram.sum += sum(values)
    histogram.min = min(histogram.min, least)
    histogram.max = max(histogram.max, most)


def _middle(key: int) -> float:
    power = (key + 1 - _SHIFT) / _SCALE
    # The last bucket ends above the greatest float.
    return exp(power) * _MIDDLE if power < 709.0 else exp(power - 1.0) * _MIDDLE * exp(1.0)
