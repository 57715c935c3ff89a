"""``fallback`` in virtual time, alone and behind the other policies."""

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from rxpool import Retry
from rxpool import operators as ops
from tests.operators.attempts import BAD, BUSY, EXACT, GOOD, Attempts, Oops, breaker
from tests.operators.sources import on_completed, on_error, on_next, subscribe


def later(scheduler, *messages):
    """A cold source, made when it is known what its time is."""
    return scheduler.create_cold_observable(*messages)


FALLBACKS = {
    "no error, no fallback": (lambda s: 0, GOOD, [on_next(205, "b"), on_completed(207)]),
    "a value": (lambda s: 0, BAD, [on_next(205, "a"), on_next(210, 0), on_completed(210)]),
    "None is a value": (
        lambda s: None,
        BAD,
        [on_next(205, "a"), on_next(210, None), on_completed(210)],
    ),
    "a function of the error": (
        lambda s: str,
        BAD,
        [on_next(205, "a"), on_next(210, "boom"), on_completed(210)],
    ),
    "an Observable": (
        lambda s: later(s, *GOOD),
        BAD,
        [on_next(205, "a"), on_next(215, "b"), on_completed(217)],
    ),
    "a function that returns one": (
        lambda s: lambda error: later(s, *GOOD),
        BAD,
        [on_next(205, "a"), on_next(215, "b"), on_completed(217)],
    ),
    "an Observable that fails": (
        lambda s: later(s, on_error(3, BUSY)),
        BAD,
        [on_next(205, "a"), on_error(213, BUSY)],
    ),
}


@pytest.mark.parametrize(("make", "plan", "expected"), FALLBACKS.values(), ids=FALLBACKS)
def test_fallbacks_at_their_ticks(make, plan, expected):
    """The value at the instant of the error; the source is let go there."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(*plan)
    result = scheduler.start(lambda: source.pipe(ops.fallback(make(scheduler))))
    assert result.messages == expected
    assert source.subscriptions == [subscribe(200, 200 + plan[-1].time)]


def test_the_replacement_is_let_go_with_the_subscription():
    """Nothing of it is left."""
    scheduler = TestScheduler()
    other = scheduler.create_cold_observable(on_next(5, "b"), on_next(50, "c"))
    source = scheduler.create_cold_observable(*BAD)
    result = scheduler.start(lambda: source.pipe(ops.fallback(lambda _: other)), disposed=230)
    assert result.messages == [on_next(205, "a"), on_next(215, "b")]
    assert other.subscriptions == [subscribe(210, 230)]


@pytest.mark.parametrize("kind", ["function", "Observable"])
def test_a_fallback_that_fails_says_what_for(kind):
    """The error of the source is the cause of the fallback's."""
    mine, first, seen = LookupError("mine"), Oops(), []

    def broken(_):
        raise mine

    replacement = broken if kind == "function" else rx.throw(mine)
    rx.throw(first).pipe(ops.fallback(replacement)).subscribe(on_error=seen.append)
    assert seen == [mine]
    assert mine.__cause__ is first


def test_the_order_of_a_pool():
    """fallback(retry(breaker(source))): a stream written the way the pool does it."""
    scheduler = TestScheduler()
    attempts = Attempts(scheduler, BAD, BAD)
    guard = breaker()
    result = scheduler.start(
        lambda: attempts.source.pipe(
            ops.circuit_breaker(guard),
            ops.retry(Retry(5, **EXACT)),
            ops.fallback(lambda error: type(error).__name__),
        )
    )
    # The third attempt is refused, and that is not tried again.
    assert result.messages == [
        on_next(205, "a"),
        on_next(225, "a"),
        on_next(250, "CircuitOpen"),
        on_completed(250),
    ]
