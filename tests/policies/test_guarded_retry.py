"""``guarded`` with a retry."""

import asyncio
import gc
import weakref

import pytest

from rxpool import CircuitOpen, Limit, Retry, guarded
from tests.policies.calls import EXACT, Async, Busy, Oops, Work, breaker

# -- retry ---------------------------------------------------------------------------------

# policy, plan, waits, what comes out
RETRIES = {
    "a good call": (Retry(3, **EXACT), [1], [], 1),
    "exponential": (Retry(3, **EXACT), [Oops(), Oops(), 1], [10, 20], 1),
    "the last error, with no wait after it": (Retry(2, **EXACT), [Oops(), Busy()], [10], Busy),
    "a number is that of attempts": (1, [Oops()], [], Oops),
    "no policy": (None, [Oops()], [], Oops),
    "no wait": (Retry(3, delay=0), [Oops(), Oops(), 1], [], 1),
    "the error sets the wait": (Retry(2, **EXACT), [Busy(), 1], [50], 1),
    "other errors come out": (Retry(3, on=KeyError, **EXACT), [Oops()], [], Oops),
    "what is not an Exception comes out": (
        Retry(3, on=BaseException, **EXACT),
        [SystemExit(3)],
        [],
        SystemExit,
    ),
    "a budget grants its floor and no more": (
        Retry(9, backoff="constant", jitter=0, delay=1, budget=0.0),
        [Oops()],
        [1, 1, 1],
        Oops,
    ),
}


@pytest.mark.parametrize(("policy", "plan", "waits", "expected"), RETRIES.values(), ids=RETRIES)
def test_retries_and_their_waits(way, policy, plan, waits, expected):
    """As many attempts as there are waits, and one."""
    work = Work(*plan)
    if isinstance(expected, type):
        with pytest.raises(expected):
            way.run(work, retry=policy)
    else:
        assert way.run(work, retry=policy) == expected
    assert way.waits == waits
    if policy is None or not (isinstance(policy, Retry) and policy.delay == 0):
        assert work.calls == len(waits) + 1


def test_a_wait_of_nothing_still_is_an_attempt(way):
    """Three calls, no sleep."""
    work = Work(Oops())
    with pytest.raises(Oops):
        way.run(work, retry=Retry(3, delay=0))
    assert (work.calls, way.waits) == (3, [])


def test_a_budget_is_of_all_calls_of_the_function(way):
    """Half of ten first attempts are five retries."""
    work = Work(Oops())
    waits = []
    options = {"retry": Retry(2, delay=0, budget=0.5)}
    if isinstance(way, Async):

        async def fn():
            return work()

        call = guarded(fn, **options)

        def run():
            return asyncio.run(call())
    else:
        run = guarded(work, **options)
    for _ in range(10):
        with pytest.raises(Oops):
            run()
    assert waits == []
    # The first three are the floor; with the eighth call there are four for half of eight.
    assert work.calls == 10 + 5


def test_the_error_is_the_one_of_the_last_attempt_with_no_others_behind_it(way):
    """Its traceback tells of the function; earlier errors are not its context."""
    first, last = Oops("first"), Oops("last")
    with pytest.raises(Oops) as caught:
        way.run(Work(first, last), retry=Retry(2, delay=0))
    assert caught.value is last
    assert last.__context__ is None
    assert "__call__" in [entry.name for entry in caught.traceback]


def test_errors_are_not_kept_alive_by_who_raised_them():
    """Without the garbage collector, they go when nobody looks at them any more."""
    errors = []

    def fn(good_at):
        if len(errors) == good_at:
            return
        error = Oops()
        errors.append(weakref.ref(error))
        try:
            raise error
        finally:
            del error

    gc.collect()
    gc.disable()
    try:
        for options in ({}, {"breaker": breaker()}, {"limit": Limit(1000)}):
            for attempts in (1, 2):
                with pytest.raises((Oops, CircuitOpen)):
                    guarded(fn, retry=Retry(attempts, delay=0), **options)(-1)
        assert len(errors) == 8
        for options in ({}, {"breaker": breaker()}, {"limit": Limit(1000)}):
            guarded(fn, retry=Retry(2, delay=0), **options)(len(errors) + 1)
        assert [error() for error in errors] == [None] * 11
        del errors[:]

        async def later(good_at):
            fn(good_at)

        call = guarded(later, retry=Retry(2, delay=0))
        with pytest.raises(StopIteration):
            call(1).send(None)  # without a loop, which keeps errors itself
        with pytest.raises(Oops):
            call(-1).send(None)
        assert [error() for error in errors] == [None] * 3
    finally:
        gc.enable()


def test_what_a_function_of_the_policy_raises_comes_out(way):
    """With the error as its cause; and no attempt follows."""

    def broken(_):
        raise LookupError("mine")

    work = Work(Oops())
    with pytest.raises(LookupError) as caught:
        way.run(work, retry=Retry(3, on=broken))
    assert isinstance(caught.value.__cause__, Oops)
    assert work.calls == 1


# -- threads -------------------------------------------------------------------------------


@pytest.mark.parametrize(("wait", "calls"), [(0.0, 10), (None, 4)])
def test_retries_that_were_asked_for_use_no_budget(wait, calls):
    """The other side has said when to come: as in a pool."""
    made = []

    def call(_):
        made.append(1)
        error = Oops()
        if wait is not None:
            error.retry_after = wait
        raise error

    guarded_call = guarded(call, retry=Retry(10, delay=0, budget=0.01))
    with pytest.raises(Oops):
        guarded_call(1)
    assert len(made) == calls
