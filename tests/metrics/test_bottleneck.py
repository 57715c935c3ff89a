"""What limits a pipeline: a table of cases, and laws."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpool.errors import InvalidArgument
from rxpool.metrics import bottleneck

PARTS = ("source_waiting", "inbox_full", "workers_busy", "limit_wait", "subscriber_busy")
CASES = [
    ({"source_waiting": 9}, "source", 0.9, "The source limits: it was waited for 90%"),
    ({"workers_busy": 38}, "workers", 0.95, "the 4 workers are busy 95%"),
    ({"workers_busy": 38, "inbox_full": 9.9}, "workers", 0.95, "more workers would help"),
    ({"limit_wait": 8, "workers_busy": 10}, "limit", 0.8, "items waited for it 80%"),
    ({"subscriber_busy": 9, "inbox_full": 9}, "subscriber", 0.9, "it was busy 90%"),
    ({"inbox_full": 7, "workers_busy": 10}, "bounds", 0.7, "raise max_pending"),
    ({}, "nothing", 0.0, "no part was busy more than 0%"),
    ({"workers_busy": 10, "source_waiting": 4}, "nothing", 0.4, "Nothing limits clearly"),
    ({"workers_busy": 40, "subscriber_busy": 10}, "subscriber", 1.0, "The subscriber"),
    ({"workers_busy": 999}, "workers", 1.0, "100%"),
    ({"workers_busy": 38, "interpreter_cpu": 9.8}, "interpreter", 0.98, "on='processes' would"),
    ({"workers_busy": 38, "interpreter_cpu": 11}, "interpreter", 1.0, "computed 100%"),
    ({"workers_busy": 38, "interpreter_cpu": 5}, "workers", 0.95, "more workers would help"),
    ({"workers_busy": 38, "interpreter_cpu": 19}, "workers", 0.95, "more workers would help"),
    ({"source_waiting": 9, "interpreter_cpu": 9}, "source", 0.9, "The source limits"),
    ({"source_waiting": timedelta(seconds=5)}, "source", 0.5, "50%"),
]


@pytest.mark.parametrize(("times", "culprit", "share", "words"), CASES)
def test_cases(times, culprit, share, words):
    """Ten seconds, four workers."""
    found = bottleneck(elapsed=10, workers=4, **times)
    assert (found.culprit, found.share) == (culprit, pytest.approx(share))
    assert words in found.sentence
    assert str(found) == found.sentence
    assert found.sentence.endswith(".")


def test_one_worker():
    """The grammar of one."""
    assert "the worker is busy" in bottleneck(elapsed=1, workers=1, workers_busy=1).sentence


@given(st.fixed_dictionaries({part: st.floats(0, 100) for part in PARTS}), st.floats(0.1, 10))
def test_only_shares_matter(times, factor):
    """In twice the time with twice of everything the same thing limits."""
    first = bottleneck(elapsed=50.0, workers=2, **times)
    scaled = {part: value * factor for part, value in times.items()}
    second = bottleneck(elapsed=50.0 * factor, workers=2, **scaled)
    assert 0 <= first.share <= 1
    assert second.share == pytest.approx(first.share)
    assert (first.culprit == "nothing") == (first.share < 0.5)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"elapsed": 0, "workers": 1}, "elapsed must be .* got 0"),
        ({"elapsed": 1, "workers": 0}, "workers must be 1 or more, got 0"),
        ({"elapsed": 1, "workers": 1, "limit_wait": -1}, "limit_wait must be .* got -1"),
    ],
)
def test_arguments(arguments, match):
    """Checked where they are written."""
    with pytest.raises(InvalidArgument, match=match):
        bottleneck(**arguments)
