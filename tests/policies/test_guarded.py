"""``guarded``: the policies of a pool around plain and async functions."""

import asyncio
import functools
import gc
import inspect
import pickle
import threading
import time
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rxpool import (
    AdaptiveConcurrency,
    CircuitBreaker,
    CircuitOpen,
    InvalidArgument,
    Limit,
    Retry,
    TaskTimeout,
    guarded,
)
from rxpool.policies import _guard
from rxpool.policies._breaker import breaker_door as door
from rxpool.policies._limit import limit_door
from rxpool.timing import TimerScheduler
from tests.waiting import WAIT


class Oops(Exception):
    """What functions fail with."""


class Busy(Oops):
    """Comes with the time that the other side asks to wait."""

    retry_after = 50.0


def breaker(**options):
    """Opens with the second of two bad calls; a probe may follow at once."""
    rules = {
        "minimum_number_of_calls": 2,
        "sliding_window_size": 2,
        "failure_rate_threshold": 1.0,
        "wait_duration_in_open_state": 600,
        "permitted_number_of_calls_in_half_open_state": 1,
    }
    return CircuitBreaker(name="shop", **rules | options)


class Work:
    """A function that goes as planned: results, and errors, one a call."""

    def __init__(self, *plan):
        self.plan = list(plan)
        self.calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        step = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        if isinstance(step, BaseException | type):
            raise step
        return step


class Plain:
    """Calls guarded plain functions, and notes the waits."""

    def __init__(self):
        self.waits = []

    def run(self, work, **options):
        return guarded(work, sleep=self.waits.append, **options)("item")


class Async(Plain):
    """Calls guarded async functions, and notes the waits."""

    def run(self, work, **options):
        async def fn(*args, **kwargs):
            await asyncio.sleep(0)
            return work(*args, **kwargs)

        async def sleep(seconds):
            self.waits.append(seconds)

        return asyncio.run(guarded(fn, sleep=sleep, **options)("item"))


@pytest.fixture(params=[Plain, Async])
def way(request):
    """Both kinds of functions."""
    return request.param()


def half_open():
    """A breaker that takes one probe now."""
    guard = breaker(wait_duration_in_open_state=0)
    for _ in range(2):
        door(guard).failed(door(guard).admit(time.monotonic()), time.monotonic(), 0.0, Oops())
    return guard


def has_its_probe(guard):
    """Whether a half-open breaker has a probe to give; it is put back."""
    permit = door(guard).admit(time.monotonic())
    if permit >= 0:
        door(guard).release(permit)
    return permit >= 0


# -- retry ---------------------------------------------------------------------------------

EXACT = {"jitter": 0, "delay": 10}

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


# -- breaker -------------------------------------------------------------------------------


def test_a_breaker_refuses_after_bad_calls(way):
    """Each attempt is a call; what is refused is neither made nor tried again."""
    guard, work = breaker(), Work(Oops())
    with pytest.raises(CircuitOpen, match="'shop' is open for another") as caught:
        way.run(work, breaker=guard, retry=Retry(9, **EXACT))
    assert caught.value.retry_after == pytest.approx(600, abs=WAIT)
    assert work.calls == 2
    assert way.waits == [10, 20]
    with pytest.raises(CircuitOpen):
        way.run(work, breaker=guard)
    assert work.calls == 2
    assert guard.metrics().not_permitted == 2


def test_predicates_of_the_breaker_see_no_refusals(way):
    """They are asked about errors of the function alone."""
    seen = []
    guard = breaker(record_exceptions=lambda error: seen.append(type(error)) or True)
    work = Work(Oops())
    with pytest.raises(CircuitOpen):
        way.run(work, breaker=guard, retry=Retry(9, **EXACT))
    with pytest.raises(CircuitOpen):
        way.run(work, breaker=guard)
    assert seen == [Oops, Oops]


def test_refusals_are_tried_again_if_retry_asks_for_them(way):
    """After the time that the breaker says; they count as attempts."""
    guard, work = breaker(), Work(Oops(), Oops(), 1)
    with pytest.raises(CircuitOpen):
        way.run(work, breaker=guard, retry=Retry(4, on=(Oops, CircuitOpen), **EXACT))
    assert way.waits[:2] == [10, 20]
    assert way.waits[2:] == [pytest.approx(600, abs=WAIT)]
    assert work.calls == 2


def test_a_good_probe_closes_the_breaker(way):
    """The probe's permit is reported once."""
    guard = half_open()
    assert way.run(Work(1), breaker=guard) == 1
    assert guard.state == "closed"


def test_good_and_slow_calls_are_counted(way):
    """The duration is that of the function."""
    guard = breaker(slow_call_duration_threshold=0.005, sliding_window_size=10)

    def slow(_):
        time.sleep(0.006)

    way.run(slow, breaker=guard)
    way.run(Work(1), breaker=breaker(), retry=3)
    metrics = guard.metrics()
    assert (metrics.calls, metrics.slow, metrics.failed) == (1, 1, 0)


def test_a_slow_bad_call_is_both(way):
    """The time of a call that failed counts too."""
    guard = breaker(slow_call_duration_threshold=0.005, sliding_window_size=10)

    def slow(_):
        time.sleep(0.006)
        raise Oops

    with pytest.raises(Oops):
        way.run(slow, breaker=guard)
    metrics = guard.metrics()
    assert (metrics.calls, metrics.slow, metrics.failed) == (1, 1, 1)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_not_an_exception_counts_as_nothing(error):
    """A probe's permit is given back."""
    for limit in (None, Limit(1000)):
        guard = half_open()
        with pytest.raises(error):
            guarded(Work(error), breaker=guard, limit=limit, retry=3, fallback=0)()
        assert has_its_probe(guard)


def test_what_a_predicate_of_the_breaker_raises_comes_out(way):
    """With the error as its cause; no attempt follows, and the call counts as bad."""

    def broken(_):
        raise LookupError("mine")

    guard, work = breaker(record_exceptions=broken), Work(Oops())
    with pytest.raises(LookupError) as caught:
        way.run(work, breaker=guard, retry=3)
    assert isinstance(caught.value.__cause__, Oops)
    assert (work.calls, guard.metrics().failed) == (1, 1)


def test_changes_of_state_are_told_when_they_happen(way):
    """Not with the next call."""
    guard = breaker()
    seen = []
    guard.events.subscribe(lambda event: seen.append(event.after))
    with pytest.raises(Oops):
        way.run(Work(Oops()), breaker=guard, retry=Retry(2, delay=0))
    assert seen == ["open"]


# -- limit ---------------------------------------------------------------------------------


def test_calls_wait_for_the_limit(way):
    """Ten calls a burst of one: nine intervals at least."""
    limit = Limit(500, burst=1)
    began = time.monotonic()
    for _ in range(10):
        way.run(Work(1), limit=limit)
    assert time.monotonic() - began >= 9 / 500 - 1e-3


def test_functions_of_the_limit_see_the_first_argument():
    """None if there is none."""
    seen = []

    def cost(item):
        seen.append(item)
        return 0

    def fn(item=None, *, other=None):
        return item

    async def afn(item=None, *, other=None):
        return item

    limit = Limit(1000, cost=cost)
    call, acall = guarded(fn, limit=limit), guarded(afn, limit=limit)
    assert [call("a"), call(other=1), call(item="b")] == ["a", None, "b"]
    assert asyncio.run(acall("c")) == "c"
    assert seen == ["a", None, None, "c"]


def test_what_a_function_of_the_limit_raises_is_the_failure(way):
    """The function is not called, and a probe's permit is given back."""

    def cost(_):
        raise LookupError("mine")

    guard, work = half_open(), Work(1)
    with pytest.raises(LookupError, match="mine"):
        way.run(work, limit=Limit(1000, cost=cost), breaker=guard)
    assert work.calls == 0
    assert has_its_probe(guard)


def test_an_error_with_retry_after_pauses_the_limit(way):
    """For all who share it, from the attempt that failed."""
    limit = Limit(1000, burst=100, jitter=0)
    with pytest.raises(Busy):
        way.run(Work(Busy()), limit=limit)
    assert limit.acquire(timeout=0) is False


def test_a_refused_call_takes_nothing_from_the_limit(way):
    """Nor does its `retry_after` pause it."""
    guard = breaker()
    guard.force_open()
    limit = Limit(0.001, burst=1)
    for _ in range(3):
        with pytest.raises(CircuitOpen):
            way.run(Work(1), breaker=guard, limit=limit)
    assert limit.acquire(timeout=0) is True


def test_places_are_given_back(way):
    """However the call ends."""
    limit = AdaptiveConcurrency(initial=1, most=1)
    for plan in ([1], [Oops()], [SystemExit()]):
        for _ in range(3):
            with pytest.raises((Oops, SystemExit)) if plan != [1] else nothing():
                way.run(Work(*plan), limit=limit, breaker=breaker())
    assert limit.acquire(timeout=0) is True


class nothing:
    """A context in which nothing is expected."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def waiting(limit):
    """Wait until somebody stands in the line of *limit*."""
    end = time.monotonic() + WAIT
    while not limit_door(limit).state.lines:
        assert time.monotonic() < end, "nobody waits"
        time.sleep(0.001)


def test_whoever_waits_for_the_limit_holds_no_permit(way):
    """The probe is there for others meanwhile."""
    limit, guard = AdaptiveConcurrency(initial=1, most=1), half_open()
    assert limit.acquire(timeout=0)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(way.run(Work(1), limit=limit, breaker=guard))
    )
    thread.start()
    waiting(limit)
    assert has_its_probe(guard)
    assert results == []
    limit_door(limit).give_back()
    limit_door(limit).arm()
    thread.join(WAIT)
    assert results == [1]
    assert guard.state == "closed"


def test_a_breaker_that_opens_meanwhile_refuses_who_waits_for_the_limit(way):
    """And that one leaves the line."""
    limit, guard = AdaptiveConcurrency(initial=1, most=1), breaker()
    assert limit.acquire(timeout=0)
    errors = []

    def run():
        try:
            way.run(Work(1), limit=limit, breaker=guard)
        except CircuitOpen as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    waiting(limit)
    guard.force_open()
    limit_door(limit).give_back()
    limit_door(limit).arm()
    thread.join(WAIT)
    assert len(errors) == 1
    assert not limit_door(limit).state.lines
    assert limit.acquire(timeout=0) is True


# -- fallback ------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("fallback", "expected"), [(0, 0), (None, None), (str, "bad"), (lambda _: None, None)]
)
def test_a_fallback_stands_in_for_the_last_error(way, fallback, expected):
    """After all attempts."""
    work = Work(Oops("bad"))
    assert way.run(work, retry=Retry(3, **EXACT), fallback=fallback) == expected
    assert work.calls == 3


def test_a_fallback_is_not_asked_after_a_good_call(way):
    """Nor returned."""
    assert way.run(Work(None), fallback=5) is None


def test_a_fallback_stands_in_for_a_refusal(way):
    """It sees `CircuitOpen`."""
    guard = breaker()
    guard.force_open()
    assert way.run(Work(1), breaker=guard, fallback=type) is CircuitOpen


def test_a_fallback_that_raises_says_what_for(way):
    """The error of the call is the cause."""

    def broken(_):
        raise LookupError("mine")

    with pytest.raises(LookupError) as caught:
        way.run(Work(Oops()), fallback=broken)
    assert isinstance(caught.value.__cause__, Oops)


def test_a_fallback_may_be_async():
    """Its result is waited for; what it raises has a cause too."""

    async def fn():
        raise Oops

    async def good(error):
        await asyncio.sleep(0)
        return type(error)

    async def bad(error):
        await asyncio.sleep(0)
        raise LookupError

    assert asyncio.run(guarded(fn, fallback=good)()) is Oops
    with pytest.raises(LookupError) as caught:
        asyncio.run(guarded(fn, fallback=bad)())
    assert isinstance(caught.value.__cause__, Oops)


# -- async functions -----------------------------------------------------------------------


def test_an_attempt_that_takes_too_long_is_cancelled():
    """And tried again."""
    ended = []

    async def fn():
        try:
            await asyncio.sleep(WAIT)
        finally:
            ended.append(True)

    guard = breaker(sliding_window_size=10)
    with pytest.raises(TaskTimeout, match=r"0\.01 s") as caught:
        asyncio.run(guarded(fn, timeout=0.01, retry=Retry(2, delay=0), breaker=guard)())
    assert isinstance(caught.value, TimeoutError)
    assert ended == [True, True]
    assert guard.metrics().failed == 2


def test_a_timeout_of_the_function_itself_is_its_error():
    """Not a `TaskTimeout`."""

    async def fn():
        raise TimeoutError("mine")

    with pytest.raises(TimeoutError, match="mine") as caught:
        asyncio.run(guarded(fn, timeout=5)())
    assert not isinstance(caught.value, TaskTimeout)


def test_a_cancelled_call_gives_all_back_and_counts_as_nothing():
    """Be it that it runs, that it waits for the limit, or between two attempts."""

    async def main():
        started = asyncio.Event()

        async def fn(fails):
            started.set()
            if fails:
                raise Oops
            await asyncio.sleep(WAIT)

        guard = half_open()
        limit = AdaptiveConcurrency(initial=1, most=1)
        call = guarded(fn, breaker=guard, limit=limit, retry=3, fallback=0)
        running = asyncio.create_task(call(False))
        await started.wait()
        assert not has_its_probe(guard)
        other = guarded(fn, limit=limit)
        in_line = asyncio.create_task(other(False))
        while not limit_door(limit).state.lines:
            await asyncio.sleep(0)
        in_line.cancel()
        with pytest.raises(asyncio.CancelledError):
            await in_line
        assert not limit_door(limit).state.lines
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running
        assert has_its_probe(guard)
        assert limit.acquire(timeout=0)
        limit_door(limit).give_back()
        started.clear()
        between = asyncio.create_task(guarded(fn, retry=Retry(2, delay=WAIT))(True))
        await started.wait()
        await asyncio.sleep(0)
        between.cancel()
        with pytest.raises(asyncio.CancelledError):
            await between

    asyncio.run(main())


def test_async_calls_at_once_share_a_limit():
    """No more than its places; all get their turn."""
    most = now = 0

    async def fn(number):
        nonlocal most, now
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.001)
        now -= 1
        return number

    limit = AdaptiveConcurrency(initial=3, most=3)
    call = guarded(fn, limit=limit)

    async def main():
        return await asyncio.gather(*map(call, range(30)))

    assert asyncio.run(main()) == list(range(30))
    assert most == 3


# -- the function --------------------------------------------------------------------------


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


# -- threads -------------------------------------------------------------------------------


def at_once(count, work):
    """Do *work* in so many threads, begun together."""
    together = threading.Barrier(count)

    def run(number):
        together.wait(WAIT)
        work(number)

    threads = [threading.Thread(target=run, args=(n,), daemon=True) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive(), "a thread hangs"


@pytest.mark.usefixtures("frantic")
def test_threads_that_share_a_breaker_get_its_probes_and_no_more():
    """Caught: asking the breaker without its lock."""
    for _ in range(30):
        guard = breaker(
            wait_duration_in_open_state=0, permitted_number_of_calls_in_half_open_state=3
        )
        for _ in range(2):
            door(guard).failed(
                door(guard).admit(time.monotonic()), time.monotonic(), 0.0, Oops()
            )
        inside, refused = [], []
        go_on = threading.Event()

        def fn(inside=inside, go_on=go_on):
            inside.append(1)
            assert go_on.wait(WAIT)

        call = guarded(fn, breaker=guard, retry=2)

        def work(_, call=call, refused=refused, go_on=go_on):
            try:
                call()
            except CircuitOpen:
                refused.append(1)
                if len(refused) >= 5:
                    go_on.set()

        at_once(8, work)
        assert (len(inside), len(refused)) == (3, 5)
        assert guard.state == "closed"


@pytest.mark.usefixtures("frantic")
def test_all_calls_of_threads_are_counted_once():
    """Caught: recording without the lock, or twice."""
    guard = breaker(
        sliding_window_size=100_000, minimum_number_of_calls=100_000, record_exceptions=Oops
    )

    @guarded(breaker=guard, retry=Retry(2, delay=0), fallback=None)
    def fn(number):
        if number % 3 == 0:
            raise Oops
        return number

    at_once(4, lambda _: [fn(number) for number in range(600)])
    metrics = guard.metrics()
    assert (metrics.calls, metrics.failed) == (4 * (600 + 200), 4 * 400)


@pytest.mark.usefixtures("frantic")
def test_threads_share_a_budget_one_at_a_time():
    """Caught: asking the budget without the lock of the guard."""
    busy, overlaps, asked = threading.Lock(), [], []

    class Budget:
        def deposit(self, now):
            self.withdraw(now)

        def withdraw(self, now):
            free = busy.acquire(blocking=False)
            overlaps.extend([1] * (not free))
            time.sleep(0)
            asked.append(now)
            if free:
                busy.release()
            return True

    class Spied(Retry):
        def open_budget(self):
            return Budget()

    call = guarded(Work(Oops()), retry=Spied(2, delay=0), fallback=None)
    at_once(4, lambda _: [call() for _ in range(200)])
    assert len(asked) == 4 * 200 * 2
    assert overlaps == []


@pytest.mark.usefixtures("frantic")
def test_threads_share_places():
    """No more at once than there are; all get their turn."""
    limit = AdaptiveConcurrency(initial=2, most=2)
    lock, most, now, done = threading.Lock(), 0, 0, []

    @guarded(limit=limit, breaker=CircuitBreaker())
    def fn(number):
        nonlocal most, now
        with lock:
            now += 1
            most = max(most, now)
        time.sleep(0)
        with lock:
            now -= 1
        return number

    at_once(8, lambda n: done.extend(fn(n) for _ in range(50)))
    assert most == 2
    assert sorted(done) == sorted(list(range(8)) * 50)


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
