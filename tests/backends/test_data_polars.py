"""Frames and series of polars stay out of the pickle, and arrive as they are."""

import datetime

import pytest
from hypothesis import HealthCheck, given, settings

from tests.backends import process_jobs as jobs
from tests.backends.process_pools import outcome
from tests.backends.travels import pickled, sent

pl = pytest.importorskip("polars")
parametric = pytest.importorskip("polars.testing.parametric")
N = 20_000


def frame():
    """Of the types that have more than numbers in them."""
    return pl.DataFrame(
        {
            "number": range(N),
            "text": [str(n) for n in range(N)],
            "day": [datetime.date(2020, 1, 1)] * N,
            "list": [[1, 2], None] * (N // 2),
            "kind": pl.Series(["x", "y"] * (N // 2), dtype=pl.Categorical),
            "one of": pl.Series(["x", "y"] * (N // 2), dtype=pl.Enum(["y", "x"])),
            "parts": [{"a": 1, "b": "c"}] * N,
        }
    )


def same(found, value):
    """Whether they are equal, names and types too."""
    assert type(found) is type(value)
    if isinstance(value, pl.Series):
        assert (found.name, found.dtype) == (value.name, value.dtype)
        assert found.flags == pickled(value).flags
    else:
        assert found.schema == value.schema
        assert found.flags == pickled(value).flags
    return found.equals(value, null_equal=True)


@pytest.mark.parametrize("lent", [True, False])
def test_frames(lent):
    """Those with several columns, and a part of one."""
    whole = frame()
    for part in (whole, whole[5:-5], whole[::2], whole.sort("number", descending=True)):
        found, inside, beside = sent({"a": [part]}, lent)
        assert same(found["a"][0], part)
        assert beside > 20 * inside
    few, inside, beside = sent(whole[7:9])
    assert same(few, whole[7:9])
    assert (inside < 8000, beside) == (True, 0)


@pytest.mark.parametrize("name", frame().columns)
def test_series(name):
    """Each with its name."""
    series = frame()[name]
    found, inside, beside = sent([series])
    assert same(found[0], series)
    assert beside > 20 * inside


def test_a_sorted_series_is_known_to_be():
    """As with pickle alone."""
    series = pl.Series("a", range(N)).sort()
    found, _, _ = sent([series])
    assert found[0].flags["SORTED_ASC"] == pickled(series).flags["SORTED_ASC"]


@given(parametric.dataframes(max_cols=3, max_size=4))
@settings(deadline=None, max_examples=50, suppress_health_check=list(HealthCheck))
def test_any_frame(any_frame):
    """And its series."""
    found, _, _ = sent([any_frame, *any_frame.get_columns()])
    assert same(found[0], any_frame)
    for ours, theirs in zip(found[1:], any_frame.get_columns(), strict=True):
        assert same(ours, theirs)


def test_lazy_frames():
    """The data that they begin with."""
    lazy = frame().lazy().filter(pl.col("number") > 3)
    found, inside, beside = sent(lazy)
    assert found.collect().equals(lazy.collect())
    assert beside > 20 * inside


def test_what_polars_does_not_write_is_refused_as_ever():
    """A column of objects of Python."""
    series = pl.Series("a", [object()], dtype=pl.Object)
    with pytest.raises(Exception, match="cannot be pickled"):
        sent([series])
    with pytest.raises(Exception, match="cannot be pickled"):
        sent([series.to_frame()])


def test_there_and_back(shared):
    """Through processes."""
    assert same(outcome(shared, jobs.same, frame()).value, frame())
