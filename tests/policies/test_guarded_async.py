"""``guarded`` around async functions: timeouts, cancelling, calls at once."""

import asyncio

import pytest

from rxpool import AdaptiveConcurrency, Retry, TaskTimeout, guarded
from rxpool.policies._limit import limit_door
from tests.policies.calls import Oops, breaker, half_open, has_its_probe
from tests.waiting import WAIT


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
