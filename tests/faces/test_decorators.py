"""``@batched``, ``@throttled``, ``@debounced``."""

import asyncio
import inspect

import pytest
from reactivex.testing import TestScheduler

from rxpool.errors import InvalidArgument, PoolClosed
from rxpool.faces import batched, debounced, throttled


def test_batched_plain():
    """A call gives the future of its own result."""

    @batched(max_size=3, max_delay=0.001)
    def double(items):
        """Doubles."""
        return [item * 2 for item in items]

    futures = [double(i) for i in range(7)]
    assert [future.result(10) for future in futures] == [i * 2 for i in range(7)]
    assert double.__name__ == "double"
    assert double.__doc__ == "Doubles."
    assert double.processor.metrics().accepted == 7
    assert double.close()
    with pytest.raises(PoolClosed):
        double(1)


def test_batched_async():
    """A coroutine function stays one, and waits for room."""

    async def main():
        @batched(max_size=4, max_delay=0.001, max_pending=2)
        async def double(items):
            return [item * 2 for item in items]

        assert inspect.iscoroutinefunction(double)
        assert await asyncio.gather(*map(double, range(20))) == [i * 2 for i in range(20)]
        await double.processor.aclose()

    asyncio.run(main())


def test_throttled_plain_and_in_order():
    """At the rate; also as a method, with keywords."""
    scheduler, calls = TestScheduler(), []

    class Client:
        @throttled(1, scheduler=scheduler)
        def get(self, name, *, times=1):
            calls.append((scheduler.to_seconds(scheduler.clock), name * times))
            return name * times

    client = Client()
    futures = [client.get("a"), client.get("b", times=2)]
    scheduler.advance_to(9)
    assert calls == [(0, "a"), (1, "bb")]
    assert [future.result() for future in futures] == ["a", "bb"]
    assert Client.get.manager.metrics().succeeded == 2
    assert Client.get.close()


def test_throttled_async():
    """Waits for room in the line, then for its turn."""

    async def main():
        @throttled(1e6, max_concurrent=1, max_pending=2)
        async def get(number):
            await asyncio.sleep(0)
            return number

        assert inspect.iscoroutinefunction(get)
        assert await asyncio.gather(*map(get, range(20))) == list(range(20))
        await get.manager.aclose()

    asyncio.run(main())


def test_debounced_plain():
    """The newest call of a burst; the others share its result."""
    scheduler = TestScheduler()

    @debounced(3, scheduler=scheduler)
    def save(text):
        return text.upper()

    futures = [save("a"), save("ab")]
    assert save.manager.pending == 2
    scheduler.advance_to(9)
    assert [future.result() for future in futures] == ["AB", "AB"]
    assert save.close()


def test_debounced_async():
    """The same on an event loop."""

    async def main():
        @debounced(60)
        async def search(text):
            return text.upper()

        assert inspect.iscoroutinefunction(search)
        tasks = [asyncio.create_task(search(text)) for text in ("a", "ab")]
        while search.manager.pending < 2:
            await asyncio.sleep(0)
        search.manager.flush()
        assert await asyncio.gather(*tasks) == ["AB", "AB"]
        await search.manager.aclose()

    asyncio.run(main())


@pytest.mark.parametrize(
    "decorator", [lambda: batched(max_size=0), lambda: throttled(0), lambda: debounced(-1)]
)
def test_bad_options(decorator):
    """Refused when the function is decorated."""
    with pytest.raises(InvalidArgument, match="must be"):
        decorator()(list)


@pytest.mark.parametrize("decorator", [batched(), throttled(1), debounced(1)])
def test_what_is_no_function(decorator):
    """Refused too."""
    with pytest.raises(InvalidArgument, match="fn must be callable, got 3"):
        decorator(3)
