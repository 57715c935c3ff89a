"""`Retry` and `RetryBudget`: tables of waits, tenacity's objects, and laws."""

import random
import subprocess
import sys
from collections import deque
from dataclasses import FrozenInstanceError
from datetime import timedelta
from fractions import Fraction
from itertools import accumulate

import pytest
import tenacity
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rxpool import WorkerPool, guarded
from rxpool.errors import (
    CircuitOpen,
    DeadlineExceeded,
    InvalidArgument,
    InvalidArgumentType,
    ItemDropped,
    NotPicklable,
    PoisonItem,
    PoolClosed,
    RxPoolError,
    TaskCancelled,
    TaskTimeout,
    WorkerCrashed,
)
from rxpool.faces import BatchProcessor
from rxpool.policies import Retry, RetryBudget

BOOM = ValueError("boom")


class Busy(Exception):
    """A service that says when to come back."""

    def __init__(self, retry_after):
        super().__init__("busy")
        self.retry_after = retry_after


def waits(retry, error=BOOM, draw=0.0):
    """All the waits of an item that always fails, until it is given up."""
    found, elapsed = [], 0.0
    for attempts in range(1, 100):
        wait = retry.wait_before_next(attempts, error, elapsed, draw)
        if wait is None:
            return found
        found.append(wait)
        elapsed += wait
    return found


# -- options ---------------------------------------------------------------------

BAD = [
    ({"max_attempts": 0}, "max_attempts must be 1 or more, got 0"),
    ({"max_attempts": 2.0}, "max_attempts must be a whole number, got 2.0"),
    ({"max_attempts": True}, "max_attempts must be a whole number, got True"),
    ({"delay": -1}, "delay must be finite and 0 or more, got -1"),
    ({"delay": float("nan")}, "delay must be finite and 0 or more, got nan"),
    ({"backoff": "fibonacci"}, "must be one of exponential, linear, constant, got 'fib"),
    ({"backoff": 2}, "backoff must be a str or a function of seconds, got 2"),
    ({"max_delay": -1}, "max_delay must be finite and 0 or more, got -1"),
    ({"jitter": 1.1}, "jitter must be 1 or less, got 1.1"),
    ({"jitter": -0.1}, "jitter must be finite and 0 or more, got -0.1"),
    ({"on": "ValueError"}, "on must be an exception type, a tuple of them or a predicate"),
    ({"on": int}, "on must be an exception type, .* got <class 'int'>"),
    ({"on": (ValueError, 3)}, "on must be an exception type, .* got .*3"),
    ({"budget": -0.1}, "budget must be finite and 0 or more, got -0.1"),
    ({"budget": "0.2"}, "budget must be a number, got '0.2'"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[str(o) for o, _ in BAD])
def test_options_are_checked_where_they_are_written(options, message):
    """The message has the name and the value."""
    with pytest.raises(InvalidArgument, match=message):
        Retry(**options)


def test_it_is_frozen():
    """And comparable, with durations as seconds."""
    retry = Retry(delay=timedelta(milliseconds=100), max_delay=timedelta(minutes=1))
    assert retry == Retry(max_delay=60)
    assert (retry.delay, retry.max_delay) == (0.1, 60.0)
    with pytest.raises(FrozenInstanceError):
        retry.delay = 2.0
    assert not hasattr(retry, "__dict__")


# -- waits ------------------------------------------------------------------------

WAITS = {
    "three attempts have two waits": (Retry(delay=1), [1, 2]),
    "one attempt has none": (Retry(max_attempts=1), []),
    "doubling": (Retry(6, 1), [1, 2, 4, 8, 16]),
    "doubling, cut": (Retry(6, 1, max_delay=5), [1, 2, 4, 5, 5]),
    "linear": (Retry(5, 2, "linear"), [2, 4, 6, 8]),
    "linear, cut": (Retry(5, 2, "linear", max_delay=5), [2, 4, 5, 5]),
    "linear from nothing": (Retry(3, 0, "linear"), [0, 0]),
    "constant": (Retry(4, 2, "constant"), [2, 2, 2]),
    "constant, cut": (Retry(3, 2, "constant", max_delay=1.5), [1.5, 1.5]),
    "a function of the attempts": (Retry(4, backoff=lambda n: n * n), [1, 4, 9]),
    "that may give a timedelta": (Retry(2, backoff=lambda n: timedelta(0, n)), [1]),
    "a function, cut": (Retry(4, backoff=lambda n: n * n, max_delay=3), [1, 3, 3]),
    "no wait": (Retry(3, 0), [0, 0]),
}


@pytest.mark.parametrize(("retry", "expected"), WAITS.values(), ids=WAITS)
def test_waits(retry, expected):
    """All of them, where the draw is 0; and with no jitter, whatever the draw."""
    assert waits(retry) == expected
    exact = Retry(retry.max_attempts, retry.delay, retry.backoff, retry.max_delay, jitter=0.0)
    assert waits(exact, draw=0.999) == expected


@pytest.mark.parametrize("backoff", ["exponential", "linear"])
@pytest.mark.parametrize("delay", [1e-9, 0.1, 1e300])
def test_waits_do_not_overflow(backoff, delay):
    """They stay where every scheduler can count them."""
    retry = Retry(10**400, delay, backoff, jitter=0.0)
    for attempts in (1, 2, 63, 1023, 1024, 1025, 10**6, 10**399):
        assert 0 <= retry.wait_before_next(attempts, BOOM, 0.0, 0.0) <= 1e9
    assert retry.wait_before_next(10**399, BOOM, 0.0, 0.0) == 1e9
    more = Retry(10**400, delay, backoff, max_delay=1e12, jitter=0.0)
    assert more.wait_before_next(10**399, BOOM, 0.0, 0.0) == 1e9


@given(
    st.floats(0, 1),
    st.floats(0, 1, exclude_max=True),
    st.integers(1, 40),
    st.sampled_from(["exponential", "linear", "constant"]),
    st.floats(0, 1e6),
    st.none() | st.floats(0, 100),
)
def test_jitter_only_shortens(jitter, draw, attempts, backoff, delay, longest):
    """Each wait is in [(1 - jitter) * wait, wait]; both ends can be reached."""
    exact = Retry(99, delay, backoff, longest, 0.0).wait_before_next(attempts, BOOM, 0, draw)
    retry = Retry(99, delay, backoff, longest, jitter)
    wait = retry.wait_before_next(attempts, BOOM, 0, draw)
    assert exact * (1 - jitter) <= wait <= exact
    assert retry.wait_before_next(attempts, BOOM, 0, 0.0) == exact
    if longest is not None:
        assert wait <= longest


def test_jitter_spreads_evenly():
    """Half of it by default."""
    retry = Retry(2, 8.0)
    assert [retry.wait_before_next(1, BOOM, 0, n / 4) for n in range(4)] == [8, 7, 6, 5]


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (0, 0.0),
        (0.25, 0.25),
        (7, 7.0),
        (Fraction(1, 2), 0.5),
        (1e12, 1e9),
        (-1, 2.0),
        (float("nan"), 2.0),
        (float("inf"), 2.0),
        (10**400, 2.0),
        (True, 2.0),
        (None, 2.0),
        ("7", 2.0),
    ],
)
def test_an_error_may_ask_for_its_wait(asked, expected):
    """Exactly that, above max_delay too; what is no number of seconds is not asked."""
    retry = Retry(delay=2, max_delay=3, jitter=0.0)
    assert retry.wait_before_next(1, Busy(asked), 0.0, 0.0) == expected
    if expected != 2.0:
        jittery = Retry(delay=2, max_delay=3, jitter=1.0)
        assert jittery.wait_before_next(1, Busy(asked), 0.0, 0.9) == expected
        assert jittery.wait_before_next(3, Busy(asked), 0.0, 0.9) is None


# -- which errors -------------------------------------------------------------------

FINAL = [
    TaskCancelled("x"),
    ItemDropped("x"),
    PoisonItem("x"),
    DeadlineExceeded("x"),
    PoolClosed("x"),
    NotPicklable("x"),
]
OPEN = CircuitOpen("x", 4.0)
ON = {
    "any exception": (Exception, BOOM, True),
    "an exit is not one": (Exception, SystemExit(), False),
    "unless it is named": (BaseException, SystemExit(), True),
    "its type": (ValueError, BOOM, True),
    "another type": (KeyError, BOOM, False),
    "in a tuple": ((KeyError, ValueError), BOOM, True),
    "not in a tuple": ((KeyError, OSError), BOOM, False),
    "in an empty one": ((), BOOM, False),
    "a predicate": (lambda e: e is BOOM, BOOM, True),
    "that says no": (lambda e: None, BOOM, False),
    "a crash": (Exception, WorkerCrashed("x"), True),
    "a timeout": (TimeoutError, TaskTimeout("x"), True),
    "an open circuit": (Exception, OPEN, False),
    "as one of ours": (RxPoolError, OPEN, False),
    "by name": (CircuitOpen, OPEN, True),
    "by name in a tuple": ((OSError, CircuitOpen), OPEN, True),
    "a base of it in a tuple": ((OSError, RxPoolError), OPEN, False),
    "by a predicate": (lambda e: True, OPEN, True),
    "not by that predicate": (lambda e: False, OPEN, False),
}


@pytest.mark.parametrize(("on", "error", "again"), ON.values(), ids=ON)
def test_what_is_tried_again(on, error, again):
    """Types, tuples, predicates; an open circuit only if that is meant."""
    wait = Retry(on=on, jitter=0.0).wait_before_next(1, error, 0.0, 0.0)
    assert wait == ((4.0 if error is OPEN else 0.1) if again else None)


@pytest.mark.parametrize("error", FINAL, ids=[type(e).__name__ for e in FINAL])
def test_some_errors_are_final(error):
    """Whatever `on` says; a predicate is not even asked."""
    for on in (Exception, BaseException, type(error), (type(error),), lambda e: 1 / 0):
        assert Retry(on=on).wait_before_next(1, error, 0.0, 0.0) is None


def test_what_functions_raise_comes_out():
    """It is for the caller to make it the item's failure."""
    for retry in (Retry(on=lambda e: 1 / 0), Retry(backoff=lambda n: 1 / 0)):
        with pytest.raises(ZeroDivisionError):
            retry.wait_before_next(1, BOOM, 0.0, 0.0)
        assert retry.wait_before_next(3, BOOM, 0.0, 0.0) is None


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), None, "1", True])
def test_a_backoff_must_give_seconds(bad):
    """Anything else is an error that names it."""
    with pytest.raises(InvalidArgument, match=f"backoff must be .* got {bad!r}"):
        Retry(backoff=lambda n: bad).wait_before_next(1, BOOM, 0.0, 0.0)
    assert issubclass(InvalidArgumentType, InvalidArgument)


@given(
    st.integers(1, 12),
    st.sampled_from(["exponential", "linear", "constant"]),
    st.lists(st.sampled_from([BOOM, Busy(0), Busy(3.0), KeyError("x"), OPEN]), min_size=12),
    st.sampled_from([Exception, ValueError, (Busy, KeyError), CircuitOpen]),
)
def test_attempts_never_exceed_the_policy(most, backoff, errors, on):
    """Whatever fails, however: at least one attempt, at most `max_attempts`."""
    retry, attempts = Retry(most, backoff=backoff, on=on), 0
    for error in errors:
        attempts += 1
        if retry.wait_before_next(attempts, error, 0.0, random.random()) is None:
            break
    assert 1 <= attempts <= most


# -- tenacity --------------------------------------------------------------------------

TENACITY = {
    "fixed": (tenacity.wait_fixed(3), [3, 3]),
    "none": (tenacity.wait_none(), [0, 0]),
    "exponential": (tenacity.wait_exponential(multiplier=3), [3, 6]),
    "incrementing": (tenacity.wait_incrementing(5, 4), [5, 9]),
    "chain": (tenacity.wait_chain(tenacity.wait_fixed(1), tenacity.wait_fixed(9)), [1, 9]),
    "sum": (tenacity.wait_fixed(1) + tenacity.wait_incrementing(0, 1), [1, 2]),
    "of the error": (tenacity.wait_exception(lambda e: len(str(e))), [4, 4]),
}


@pytest.mark.parametrize(("backoff", "expected"), TENACITY.values(), ids=TENACITY)
def test_waits_of_tenacity(backoff, expected):
    """They get what they need to know."""
    assert waits(Retry(backoff=backoff, jitter=0.0)) == expected
    cut = [min(wait, 2) for wait in expected]
    assert waits(Retry(backoff=backoff, jitter=0.5, max_delay=2)) == cut
    half = [wait / 2 for wait in expected]
    assert waits(Retry(backoff=backoff, jitter=0.5), draw=1.0) == half


@pytest.mark.parametrize(
    "backoff",
    [
        tenacity.wait_random(1, 2),
        tenacity.wait_random_exponential(max=2),
        tenacity.wait_exponential_jitter(max=2),
    ],
)
def test_random_waits_of_tenacity(backoff):
    """They draw themselves."""
    found = waits(Retry(20, backoff=backoff, jitter=0.0))
    assert len(set(found)) > 1
    assert all(0 <= wait <= 2 for wait in found)


STOPS = {
    "attempts": (tenacity.stop_after_attempt(3), 2),
    "one attempt": (tenacity.stop_after_attempt(1), 0),
    "seconds": (tenacity.stop_after_delay(4), 4),  # tried after 4 seconds, not after 5
    "seconds, the next included": (tenacity.stop_before_delay(4), 3),
    "any": (tenacity.stop_after_attempt(9) | tenacity.stop_after_delay(2), 2),
    "all": (tenacity.stop_after_attempt(6) & tenacity.stop_after_delay(2), 5),
    "never": (tenacity.stop_never, 99),
}


@pytest.mark.parametrize(("stop", "expected"), STOPS.values(), ids=STOPS)
def test_stops_of_tenacity(stop, expected):
    """With one second between attempts, so many are made again."""
    assert waits(Retry(stop, 1.0, "constant")) == [1.0] * expected


def test_a_stop_of_tenacity_is_not_asked_for_nothing():
    """The error decides first."""
    assert waits(Retry(tenacity.stop_never, on=KeyError)) == []
    assert waits(Retry(tenacity.stop_never), TaskCancelled("x")) == []


@pytest.mark.parametrize("option", ["max_attempts", "backoff"])
def test_tenacity_objects_have_their_place(option):
    """A wait is not a number of attempts, nor a stop a wait."""
    wrong = {"max_attempts": tenacity.wait_fixed(1), "backoff": tenacity.stop_never}
    with pytest.raises(InvalidArgument, match=option):
        Retry(**{option: wrong[option]})


def test_tenacity_is_not_imported():
    """Who has none of its objects does not need it."""
    code = (
        "import sys; from rxpool.policies import Retry; "
        "r = Retry(backoff=lambda n: 1.0); r.wait_before_next(1, OSError(), 0.0, 0.0); "
        "sys.exit('tenacity' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], timeout=50).returncode == 0


# -- budget ----------------------------------------------------------------------------

BAD_BUDGETS = [
    ((-1,), {}, "share must be finite and 0 or more, got -1"),
    (("x",), {}, "share must be a number, got 'x'"),
    ((0.1,), {"floor": -1}, "floor must be 0 or more, got -1"),
    ((0.1,), {"floor": 0.5}, "floor must be a whole number, got 0.5"),
    ((0.1,), {"window": 0}, "window must be finite and greater than 0, got 0"),
]


@pytest.mark.parametrize(("share", "options", "message"), BAD_BUDGETS)
def test_budgets_are_checked(share, options, message):
    """The message has the name and the value."""
    with pytest.raises(InvalidArgument, match=message):
        RetryBudget(*share, **options)


def granted(budget, now, asked=1000):
    """How many retries there are at *now*."""
    return sum(budget.withdraw(now) for _ in range(asked))


@pytest.mark.parametrize(
    ("share", "firsts", "expected"),
    [(0.2, 0, 3), (0.2, 15, 3), (0.2, 100, 20), (0.29, 100, 29), (0.07, 100, 7), (0, 99, 3)],
)
def test_a_budget_is_a_share_of_the_traffic(share, firsts, expected):
    """Or the floor, if that is more."""
    budget = RetryBudget(share)
    budget.deposit(5.0, firsts)
    assert granted(budget, 5.0) == expected


def test_a_budget_slides():
    """Traffic counts for a minute, and so do retries, to the second."""
    budget = RetryBudget(0.5, floor=0)
    budget.deposit(0.0, 10)
    assert granted(budget, 30.9, 2) == 2
    assert granted(budget, 59.9, 2) == 2
    assert granted(budget, 60.0) == 0  # the traffic has gone, its retries have not
    budget.deposit(60.5, 8)
    assert granted(budget, 90.9) == 0
    assert granted(budget, 91.0) == 2
    assert granted(budget, 119.9) == 0


def test_the_window_may_be_another():
    """As a timedelta too; it has sixty parts."""
    budget = RetryBudget(0.0, floor=1, window=timedelta(hours=1))
    assert [granted(budget, now) for now in (59.0, 3600.0, 3659.0, 3660.0)] == [1, 0, 0, 1]


def test_a_retry_has_its_budgets():
    """A new one each time, or none."""
    retry = Retry(budget=0.2)
    one, other = retry.open_budget(), retry.open_budget()
    assert (granted(one, 0.0), granted(other, 0.0)) == (3, 3)
    assert Retry().open_budget() is None


@settings(deadline=None)
@given(
    st.sampled_from([0.0, 0.1, 0.2, 0.5, 1.0]),
    st.integers(0, 4),
    st.sampled_from([60.0, 6.0]),
    st.lists(
        st.tuples(
            st.sampled_from([0.0, 0.0, 0.25, 1.0, 3.5, 20.0, 59.5, 60.0, 200.0]),
            st.integers(0, 12),
            st.integers(0, 4),
        ),
        max_size=60,
    ),
)
@example(1.0, 0, 60.0, [(0.75, 3, 3), (59.5, 0, 3), (0.5, 1, 3)])
def test_the_bound_of_a_budget(share, floor, window, moves):
    """In the window that ends at a retry: no more than the floor or the share.

    And no stingier than a budget whose window is a sixtieth longer for retries and shorter
    for traffic.
    """
    budget, firsts, retries = RetryBudget(share, floor=floor, window=window), [], []
    part = window / 60
    nows = accumulate(step for step, _, _ in moves)
    for now, (_, traffic, asked) in zip(nows, moves, strict=True):
        budget.deposit(now, traffic)
        firsts.append((now, traffic))
        for _ in range(asked):
            spent = sum(at > now - window - part for at in retries)
            sure = sum(n for at, n in firsts if at > now - window + part)
            got = budget.withdraw(now)
            if got:
                retries.append(now)
                used = sum(at > now - window for at in retries)
                earned = sum(n for at, n in firsts if at > now - window)
                assert used <= max(floor, share * earned + 1e-6)
            else:
                assert spent + 1 > max(floor, share * sure - 1e-6)


def test_a_budget_is_bounded_and_keeps_its_sums():
    """After any time it holds a window's parts, and its sums are those of a list."""
    budget, kept, draw = RetryBudget(0.5, floor=1), deque(), random.Random(5)
    for second in range(3000):
        traffic = draw.randrange(4)
        budget.deposit(float(second), traffic)
        kept.append((second, traffic, granted(budget, float(second), 3)))
        while kept[0][0] < second - 60:
            kept.popleft()
        assert len(budget._buckets) <= 61
        assert budget._retries == sum(got for _, _, got in kept)
        assert budget._firsts == sum(n for at, n, _ in kept if at > second - 60)


def test_a_clock_that_goes_back_stands_still():
    """Nothing is granted twice for that, and nothing piles up."""
    budget = RetryBudget(0.0, floor=2)
    nows = (100.0, 30.0, 99.0, 100.0, 30.0, 100.0)
    assert [budget.withdraw(now) for now in nows] == [True, True, False, False, False, False]
    assert len(budget._buckets) == 1
    assert [budget.withdraw(now) for now in (160.0, 161.0)] == [False, True]


# -- as long as there is time -----------------------------------------------------


def test_any_number_of_attempts():
    """The waits stay those of the policy, however many there are."""
    endless = Retry(max_attempts=None, delay=1, max_delay=60, jitter=0)
    assert waits(endless) == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, *[60.0] * 93]
    assert endless.wait_before_next(10**6, BOOM, 0.0, 0.0) == 60.0
    assert endless.wait_before_next(1, PoolClosed("x"), 0.0, 0.0) is None


@pytest.mark.parametrize(
    "use",
    [
        lambda pool, retry: pool.map(abs, retry=retry),
        lambda pool, retry: pool.outcomes(abs, retry=retry),
        lambda pool, retry: pool.map_batches(abs, retry=retry),
        lambda pool, retry: pool.imap(abs, [1], retry=retry),
        lambda pool, retry: pool.worker(abs, retry=retry),
        lambda pool, retry: guarded(abs, retry=retry),
        lambda pool, retry: BatchProcessor(abs, max_size=1, retry=retry),
    ],
)
def test_attempts_without_an_end_are_refused(use):
    """Where nothing would end them."""
    with WorkerPool(1) as pool:
        with pytest.raises(InvalidArgument, match=r"max_attempts=None needs .*deadline"):
            use(pool, Retry(max_attempts=None))
        pool.map(abs, retry=Retry(max_attempts=None), deadline=1)
