"""``guarded``: the function that it makes, its options, and all policies at once."""

import asyncio
import functools
import inspect
import pickle
import threading
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpool import AdaptiveConcurrency, CircuitBreaker, InvalidArgument, Retry, guarded
from rxpool.policies import _guard
from rxpool.timing import TimerScheduler
from tests.policies.calls import Async, Oops, Plain, Work, breaker


@guarded(retry=2)
def decorated(a, *, b=1):
    """What it does."""
    return a + b


class Shop:
    """Has a method."""

    @guarded(retry=2, breaker=CircuitBreaker())
    def price(self, article):
        """What it costs."""
        return (self, article)


def test_the_function_keeps_its_name_signature_and_arguments():
    """As decorator and as function, for methods, partials and callables."""
    assert decorated(1, b=2) == 3
    assert decorated.__name__ == "decorated"
    assert decorated.__doc__ == "What it does."
    assert str(inspect.signature(decorated)) == "(a, *, b=1)"
    assert pickle.loads(pickle.dumps(decorated)) is decorated
    shop = Shop()
    assert shop.price("x") == (shop, "x")
    assert guarded(functools.partial(divmod, 7), retry=2)(2) == (3, 1)
    assert guarded()(len)("abc") == 3

    async def fn():
        return 1

    class Callable:
        async def __call__(self):
            return 2

    assert inspect.iscoroutinefunction(guarded(fn, retry=2))
    assert asyncio.run(guarded(Callable(), retry=2)()) == 2


async def coroutine():
    """An async function."""


def generator():
    """A generator."""
    yield 1


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"retry": 0}, "max_attempts must be 1 or more, got 0"),
        ({"retry": "3"}, "retry must be a Retry, got '3'"),
        ({"breaker": 1}, "breaker must be a CircuitBreaker, got 1"),
        ({"limit": 1}, "limit must be a Limit, got 1"),
        ({"timeout": 0}, "timeout must be finite and greater than 0, got 0"),
        ({"timeout": 5}, "timeout=5 needs an async function.*WorkerPool"),
        ({"fallback": coroutine}, "fallback must not be async for a plain function"),
        ({"sleep": 1}, "sleep must be callable, got 1"),
    ],
)
def test_bad_options_are_refused_where_they_are_written(options, text):
    """With the value in the message."""
    with pytest.raises(InvalidArgument, match=text):
        guarded(len, **options)


@pytest.mark.parametrize(
    ("fn", "text"),
    [(5, "fn must be callable, got 5"), (generator, "fn must not be a generator")],
)
def test_what_is_no_function_is_refused(fn, text):
    """With the value in the message."""
    with pytest.raises(InvalidArgument, match=text):
        guarded(fn, retry=3)


def test_a_breaker_of_virtual_time_is_refused():
    """Nothing would ever open again."""
    from reactivex.testing import TestScheduler

    with pytest.raises(InvalidArgument, match="virtual"):
        guarded(len, breaker=CircuitBreaker(scheduler=TestScheduler()))


def test_it_sets_no_timer_and_starts_no_thread():
    """Not even for waits."""
    threads, timers = threading.active_count(), TimerScheduler.singleton().pending
    call = guarded(Work(Oops(), 1), retry=Retry(2, delay=0.001), breaker=breaker())
    assert call() == 1
    assert threading.active_count() <= threads
    assert TimerScheduler.singleton().pending == timers


def test_elapsed_counts_from_the_first_attempt(way, monkeypatch):
    """What a policy is told of the time."""
    seen = []

    class Spy(Retry):
        def wait_before_next(self, attempts, error, elapsed, random):
            seen.append((attempts, round(elapsed)))
            return super().wait_before_next(attempts, error, elapsed, random)

    real, steps = time.monotonic, [0.0]
    monkeypatch.setattr(_guard, "monotonic", lambda: real() + steps[0])

    def fn(_):
        steps[0] += 100
        raise Oops

    with pytest.raises(Oops):
        way.run(fn, retry=Spy(3, delay=0))
    assert seen == [(1, 100), (2, 200), (3, 300)]


@given(
    st.lists(st.booleans(), min_size=6, max_size=6),
    st.integers(1, 6),
    st.booleans(),
    st.booleans(),
)
def test_as_many_attempts_as_needed_and_all_are_reported(plan, most, limited, later):
    """A model: attempts up to the first good one, the last one of which says what comes."""
    way, guard = (Async if later else Plain)(), breaker(sliding_window_size=100)
    guard.transition_to_metrics_only()
    limit = AdaptiveConcurrency(initial=1, most=1) if limited else None
    tried = plan[: (plan.index(True) + 1 if True in plan[:most] else most)]
    work = Work(*[number if good else Oops() for number, good in enumerate(plan)])
    policy = Retry(most, backoff=lambda attempts: attempts, jitter=0)
    result = way.run(work, retry=policy, breaker=guard, limit=limit, fallback="none")
    assert result == (len(tried) - 1 if tried[-1] else "none")
    assert work.calls == len(tried)
    assert way.waits == list(range(1, len(tried)))
    metrics = guard.metrics()
    assert (metrics.calls, metrics.failed) == (len(tried), tried.count(False))
    assert limit is None or limit.acquire(timeout=0)
