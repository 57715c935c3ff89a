"""A pool on the loop that runs already never blocks it."""

import asyncio
import contextlib
import gc
import threading

import pytest

from rxpool import TaskCancelled, WorkerPool, WouldBlock
from tests.backends.loop_pools import Oops, increment, on_loop, pause
from tests.waiting import WAIT


@on_loop
async def test_the_loop_has_its_turns():
    """Work that ends at once, without end, leaves others on the loop their turns."""
    turns = 0
    over = False

    async def count():
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    async def work(number):
        for _ in range(200):
            pass
        return number

    counter = asyncio.create_task(count())
    async with WorkerPool(10, on="asyncio") as pool:
        done = asyncio.Event()
        pool.pull(range(20_000)).pipe(pool.map(work)).subscribe(on_completed=done.set)
        await done.wait()
    over = True
    await counter
    assert turns > 20


@on_loop
async def test_futures_can_be_gathered():
    """Without a thread, each with its own result."""
    threads = threading.active_count()
    async with WorkerPool(5, on="asyncio") as pool:
        assert await asyncio.gather(*[pool.submit(pause, n) for n in range(50)]) == list(
            range(50)
        )
        assert [n async for n in pool.imap(pause, range(50), order="input")] == list(range(50))
        assert threading.active_count() == threads


@on_loop
async def test_subscribers_are_called_on_the_loop():
    """With results, failures, and the end."""
    here = threading.current_thread()
    seen = []

    async def work(number):
        await asyncio.sleep(WAIT if number == 2 else 0)
        return number

    async with WorkerPool(2, on="asyncio") as pool:
        done = asyncio.Event()

        def end():
            seen.append(threading.current_thread())
            done.set()

        pool.pull(range(5)).pipe(pool.outcomes(work, timeout=0.02)).subscribe(
            lambda _: seen.append(threading.current_thread()), on_completed=end
        )
        await done.wait()
    assert seen == [here] * 6


@on_loop
async def test_blocking_the_loop_is_refused():
    """Where it would never end, the text says what to do instead."""
    async with WorkerPool(2, on="asyncio") as pool:
        future = pool.submit(pause, 1)
        with pytest.raises(WouldBlock, match="await the future"):
            future.result(WAIT)
        with pytest.raises(WouldBlock, match="async for"):
            next(pool.imap(pause, range(3)))
        assert await future == 1


@on_loop
async def test_leaving_async_with_finishes_what_was_accepted():
    """Chains drain from the top, on the loop."""
    seen = []
    async with WorkerPool(2, on="asyncio") as pool:
        pool.pull(range(100)).pipe(pool.map(pause), pool.map(increment)).subscribe(seen.append)
        futures = [pool.submit(pause, n) for n in range(10)]
        while len(seen) < 3:
            await asyncio.sleep(0)
    assert [future.result() for future in futures] == list(range(10))
    assert sorted(seen) == list(range(1, len(seen) + 1))


@on_loop
async def test_leaving_by_an_exception_cancels():
    """And waits until what was cancelled has cleaned up."""
    cleaned = []

    async def work(number):
        try:
            await asyncio.sleep(WAIT)
        finally:
            await asyncio.sleep(0.005)
            cleaned.append(number)

    with contextlib.suppress(Oops):
        async with WorkerPool(2, on="asyncio") as pool:
            futures = [pool.submit(work, n) for n in range(4)]
            await asyncio.sleep(0.005)
            raise Oops
    assert sorted(cleaned) == [0, 1]
    assert all(isinstance(future.exception(), TaskCancelled) for future in futures)


@on_loop
async def test_a_plain_with_says_that_it_cannot_wait():
    """What is not done is cancelled: nothing goes on after the block."""
    done = []

    async def tell(_):
        await pause(1)
        done.append(1)

    with pytest.raises(WouldBlock, match="async with"), WorkerPool(2, on="asyncio") as pool:
        futures = [pool.submit(tell, 1) for _ in range(3)]
    assert all(isinstance(future.exception(), TaskCancelled) for future in futures)
    await pause(1)
    await pause(1)
    assert done == []
    assert pool.close() is True
    with WorkerPool(2, on="asyncio") as pool:
        assert await pool.submit(pause, 1) == 1
    pool = WorkerPool(2, on="asyncio")
    future = pool.submit(pause, 2)
    assert pool.close() is False
    assert await future == 2
    await asyncio.sleep(0)
    assert pool.close() is True
    await asyncio.sleep(0)


@pytest.mark.parametrize("caller", ["loop", "thread"])
def test_a_loop_that_ends_takes_the_work_along(caller):
    """Nobody closed the pool: everything is cancelled, and nobody waits for ever."""

    async def main():
        pool = WorkerPool(2, on="asyncio")

        def call():
            return [pool.submit(asyncio.sleep, WAIT) for _ in range(5)]

        if caller == "thread":
            futures = await asyncio.to_thread(call)
        else:
            futures = call()
            pool.pull(iter(int, 1)).pipe(pool.map(pause)).subscribe(on_error=lambda _: None)
        await asyncio.sleep(0.005)
        return pool, futures

    pool, futures = asyncio.run(main())
    for future in futures:
        assert isinstance(future.exception(WAIT), (TaskCancelled, asyncio.CancelledError))
    assert pool.close() is True


def test_a_loop_that_was_closed_without_a_word():
    """What waits for its work is told."""
    loop = asyncio.new_event_loop()

    async def main():
        pool = WorkerPool(1, on="asyncio")
        return pool, pool.submit(pause, 1), pool.submit(pause, 2)

    pool, *futures = loop.run_until_complete(main())
    loop.close()
    assert {type(future.exception(WAIT)) for future in futures} == {TaskCancelled}
    pool.close()
    gc.collect()
