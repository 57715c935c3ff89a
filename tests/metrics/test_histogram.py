"""The histogram: percentiles within 1 % whatever the numbers, and merging."""

import math
import pickle
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.metrics import Histogram

QS = (0, 1, 50, 90, 99, 99.9, 100)
numbers = st.floats(allow_nan=False, allow_infinity=False).filter(
    lambda x: x == 0 or abs(x) >= 2.3e-308
)


def of(values):
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


def exact(values, q):
    """The number at rank ceil(q % of n), from 1."""
    return sorted(values)[max(1, math.ceil(q * len(values) / 100)) - 1]


def close(found, wanted):
    return abs(found - wanted) <= 0.01 * abs(wanted)


DISTRIBUTIONS = {
    "uniform": lambda r: r.uniform(0.001, 2.0),
    "exponential": lambda r: r.expovariate(20.0),
    "lognormal": lambda r: r.lognormvariate(-3.0, 2.0),
    "pareto": lambda r: r.paretovariate(1.1),
    "bimodal": lambda r: r.gauss(0.001, 0.0001) if r.random() < 0.7 else r.gauss(5.0, 0.5),
}


@pytest.mark.parametrize("draw", DISTRIBUTIONS.values(), ids=DISTRIBUTIONS)
def test_percentiles_of_distributions(draw):
    """Within 1 % of the exact ones by the same convention of ranks."""
    source = random.Random(7)
    values = [draw(source) for _ in range(20_000)]
    found = of(values).percentiles(*QS)
    for q, each in zip(QS, found, strict=True):
        assert close(each, exact(values, q)), q


@settings(max_examples=200, deadline=None)
@given(st.lists(numbers, min_size=1))
def test_percentiles_of_any_numbers(values):
    """Also below 0, at 0 and at the ends of what floats can be."""
    histogram = of(values)
    for q in QS:
        assert close(histogram.percentile(q), exact(values, q)), q
    assert histogram.count == len(values)
    assert (histogram.min, histogram.max) == (min(values), max(values))
    assert histogram.percentile(50) == histogram.percentiles(90, 50)[1]


@settings(max_examples=100, deadline=None)
@given(*[st.lists(st.integers(-1000, 10**6).map(float))] * 3)
def test_merging(a, b, c):
    """Merging is as recording all; the order and the grouping do not matter."""
    left = of(a)
    left.merge(of(b))
    left.merge(of(c))
    inner = of(c)
    inner.merge(of(b))
    inner.merge(of(a))
    assert left == inner == of(a + b + c)
    assert left.count == len(a) + len(b) + len(c)


def test_a_copy_is_for_itself_and_goes_through_pickle():
    """What is recorded in the one is not in the other."""
    first = of([1.0, -2.0, 0.0])
    second, third = first.copy(), pickle.loads(pickle.dumps(first))
    first.record(5.0)
    assert second == third == of([1.0, -2.0, 0.0]) != first


def test_empty():
    """Nothing recorded has no mean and no percentile."""
    empty = Histogram()
    assert math.isnan(empty.mean)
    assert math.isnan(empty.percentile(50))
    assert (empty.count, empty.sum, repr(empty)) == (0, 0.0, "Histogram(count=0)")


def test_sum_and_mean():
    """Both are of the numbers themselves, not of the buckets."""
    histogram = of([1.0, 2.0, 6.0])
    assert (histogram.sum, histogram.mean) == (9.0, 3.0)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_is_not_finite_is_refused(value):
    """And leaves no trace."""
    histogram = of([1.0])
    with pytest.raises(InvalidArgument, match=str(value)):
        histogram.record(value)
    assert histogram == of([1.0])


@pytest.mark.parametrize("q", [-1, 100.5, math.nan, "p50"])
def test_arguments(q):
    """A percentile is from 0 to 100; only a histogram can be merged."""
    with pytest.raises(InvalidArgument, match="q must be"):
        of([1.0]).percentile(q)
    with pytest.raises(InvalidArgumentType, match="must be a Histogram"):
        Histogram().merge([1.0])


def test_memory_follows_the_range_not_the_count():
    """A hundred thousand numbers from a microsecond to a day: at most 1,300 buckets."""
    source = random.Random(1)
    histogram = of(
        math.exp(source.uniform(math.log(1e-6), math.log(86_400))) for _ in range(10**5)
    )
    assert len(histogram._above) <= 1300
