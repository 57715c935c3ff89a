"""Fallbacks for items of a pool that failed."""

import pytest

from rxpool import Retry
from tests.pool.marbles import Oops
from tests.pool.plans import EXACT, Plan, run


@pytest.mark.parametrize(
    ("fallback", "expected"),
    [
        ("z", "z@228 |@228"),
        (None, "None@228 |@228"),
        (lambda item, error: f"{item}{type(error).__name__}", "aOops@228 |@228"),
    ],
)
def test_a_fallback_stands_in_when_all_attempts_failed(fallback, expected):
    """It is outermost."""
    found = run(Plan(a="5! 3!"), "a@210 |@211", retry=Retry(2, **EXACT), fallback=fallback)
    assert found.text == expected
    assert found.counts == {"accepted": 1, "succeeded": 1}


def test_a_fallback_that_raises():
    """Its error is the failure, the one before is the cause."""

    def fallback(item, error):
        raise KeyError(item)

    found = run(Plan(a="5!"), "a@210 |@211", fallback=fallback)
    error = found.messages[0].value.exception
    assert isinstance(error, KeyError)
    assert isinstance(error.__cause__, Oops)


@pytest.mark.parametrize("broken", ["on", "backoff"])
def test_a_function_of_a_retry_that_raises(broken):
    """Its error is the failure, the one before is the cause."""

    def bad(_):
        raise KeyError("bad")

    found = run(Plan(a="5!"), "a@210 |@211", retry=Retry(3, **{broken: bad}))
    error = found.messages[0].value.exception
    assert isinstance(error, KeyError)
    assert isinstance(error.__cause__, Oops)


def test_a_fallback_for_an_item_that_never_ran():
    """Its deadline is over."""
    found = run(Plan(), "a@210 b@210 |@212", deadline=7, fallback="late")
    assert found.text == "a@215 late@217 |@217"
