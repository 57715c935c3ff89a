"""The state of ``progress``: counts, rates and lines."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpool.operators import _bars as bars
from rxpool.operators._progress_state import ProgressState, Standing

STEPS = st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.booleans()))


@given(STEPS, st.floats(0.01, 50), st.one_of(st.none(), st.integers(0, 20)))
def test_standings_are_exact_and_never_closer_than_every(steps, every, total):
    """Told when due: every item is in a standing, and two of them are `every` apart."""
    now, count, failed, told = 1000.0, 0, 0, 1000.0
    state = ProgressState(total, every, now)
    assert state.due is None
    told_count = 0
    for wait, is_item, is_failed in steps:
        now += wait
        if is_item:
            state.add(is_failed)
            count, failed = count + 1, failed + is_failed
        assert state.due == (None if count == told_count else told + every)
        if state.due is not None and state.due <= now:
            standing = state.tell(now)
            assert now - told >= every or told + every == now
            assert state.due is None
            told, told_count = now, count
            if is_failed:  # and the display took a while
                now += 1.0
                state.shown(now)
                told, standing = now, state.standing(now)
        else:
            standing = state.standing(now)
        assert standing == Standing(count, failed, total, now - 1000.0)


@given(st.integers(0, 10**9), st.one_of(st.none(), st.integers(0, 10**9)), st.floats(0, 1e9))
def test_rates_and_shares_are_always_numbers(count, total, elapsed):
    """No division by zero, and 100 % only when all of it is done."""
    standing = Standing(count, 0, total, elapsed)
    assert standing.rate >= 0
    if total is None:
        assert standing.share is None
    else:
        assert 0 <= standing.share <= 1
        assert (standing.share == 1) == (count >= total)
        assert ("(100 %)" in bars.line(standing)) == (count >= total)


def test_a_clock_that_goes_back_does_no_harm():
    """Elapsed is never negative, and a line is not due earlier."""
    state = ProgressState(None, 5, 100.0)
    state.add(False)
    assert state.tell(90.0) == Standing(1, 0, None, 0.0)
    state.add(False)
    assert state.due == 105.0


LINES = [
    (Standing(0, 0, None, 0.0), "0, 0.0/s, 0.0 s"),
    (Standing(3, 1, None, 2.0), "3, 1 failed, 1.5/s, 2.0 s"),
    (Standing(1200, 0, 5000, 5.0), "1,200 of 5,000 (24 %), 240/s, 5.0 s"),
    (Standing(999, 0, 1000, 1.0), "999 of 1,000 (99 %), 999/s, 1.0 s"),
    (Standing(7, 0, 5, 1.0), "7 of 5 (100 %), 7.0/s, 1.0 s"),
    (Standing(0, 0, 0, 1.0), "0 of 0 (100 %), 0.0/s, 1.0 s"),
]


@pytest.mark.parametrize(("standing", "text"), LINES, ids=[text for _, text in LINES])
def test_lines(standing, text):
    """A standing in words."""
    assert bars.line(standing) == text
    assert bars.line(standing, "files") == f"files: {text}"
