"""`pool.submit_async`: calls that wait for room on an event loop."""

import asyncio
import threading

import pytest

from rxpool import InvalidArgument, PoolClosed, WorkerPool, WouldBlock
from tests import jobs
from tests.waiting import WAIT

PLACES = pytest.mark.parametrize("on", ["threads", "processes", "asyncio", "inline"])


def run(main):
    """Run it, but not for ever."""
    return asyncio.run(asyncio.wait_for(main, WAIT))


@PLACES
@pytest.mark.parametrize("most", [1, 300])
def test_more_calls_than_may_wait(on, most):
    """All are made; what is inside stays within its bound."""

    async def main():
        seen = []
        async with WorkerPool(1 if on == "inline" else 2, on=on, max_pending=most) as pool:

            async def call(n):
                future = await pool.submit_async(jobs.same, n)
                seen.append(pool.report().waiting)
                return await future

            results = await asyncio.gather(*(call(n) for n in range(1000)))
        assert results == list(range(1000))
        assert max(seen) <= most

    run(main())


def test_five_thousand_at_once():
    """With the defaults, where `submit` says what to write instead."""

    async def main():
        async with WorkerPool(2, on="asyncio") as pool:
            with pytest.raises(WouldBlock, match=r"'await pool\.submit_async"):
                [pool.submit(jobs.double_later, 1) for _ in range(5000)]
            calls = [pool.submit_async(jobs.double_later, n) for n in range(5000)]
            return await asyncio.gather(*await asyncio.gather(*calls))

    assert run(main()) == list(range(0, 10_000, 2))


def test_they_come_in_in_order():
    """However long they wait."""

    async def main():
        ran = []
        gate = threading.Event()

        def work(n):
            gate.wait(WAIT)
            ran.append(n)

        async with WorkerPool(1, max_pending=2) as pool:
            waiting = [asyncio.create_task(pool.submit_async(work, n)) for n in range(50)]
            await asyncio.sleep(0)
            gate.set()
            await asyncio.gather(*waiting)
        return ran

    assert run(main()) == list(range(50))


def test_nobody_overtakes_those_that_wait():
    """There is room, and whoever is first in line has not been told yet."""

    async def main():
        began, gate, ran, records = threading.Semaphore(0), threading.Semaphore(0), [], []

        def work(n):
            ran.append(n)
            began.release()
            gate.acquire(timeout=WAIT)

        async with WorkerPool(1, max_pending=1) as pool:
            pool.attempts.subscribe(records.append)
            for n in range(2):
                await pool.submit_async(work, n)
            assert began.acquire(timeout=WAIT)
            waiting = [asyncio.create_task(pool.submit_async(work, 2))]
            await asyncio.sleep(0)
            gate.release()
            assert began.acquire(timeout=WAIT)  # the second runs; the loop stands still
            waiting.append(asyncio.create_task(pool.submit_async(work, 3)))
            gate.release(3)
            await asyncio.gather(*waiting)
        return ran, records

    ran, records = run(main())
    assert ran == [0, 1, 2, 3]
    assert records[2].accepted >= records[0].ended  # not while it waited for room


def test_one_that_is_cancelled_makes_no_call():
    """The next in line comes in."""

    async def main():
        gate = threading.Event()
        ran = []
        async with WorkerPool(1, max_pending=1) as pool:
            await pool.submit_async(gate.wait, WAIT)
            await pool.submit_async(ran.append, "a")
            waiting = [asyncio.create_task(pool.submit_async(ran.append, n)) for n in range(3)]
            await asyncio.sleep(0)
            waiting[0].cancel()
            waiting[1].cancel()
            await asyncio.sleep(0)
            gate.set()
            await (await waiting[2])
            assert waiting[0].cancelled()
        assert ran == ["a", 2]
        assert pool.report().accepted == 3

    run(main())


def test_the_pool_is_closed_meanwhile():
    """Whoever waits is told."""

    async def main():
        gate = threading.Event()
        pool = WorkerPool(1, max_pending=1)
        first = [await pool.submit_async(gate.wait, WAIT) for _ in range(2)]
        waiting = [asyncio.create_task(pool.submit_async(gate.wait, WAIT)) for _ in range(3)]
        await asyncio.sleep(0)
        await asyncio.to_thread(pool.terminate)
        gate.set()
        errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(error) for error in errors] == [PoolClosed] * 3
        assert all(call.done() for call in first)
        with pytest.raises(PoolClosed):
            await pool.submit_async(gate.wait)

    run(main())


def test_in_a_task_of_the_same_pool():
    """The task gives its slot up while it waits."""

    async def main():
        async def inside():
            calls = [await pool.submit_async(jobs.double_later, n) for n in range(5)]
            return [await call for call in calls]

        async with WorkerPool(1, on="asyncio", max_pending=1) as pool:
            return await pool.submit(inside)

    assert run(main()) == [0, 2, 4, 6, 8]


def test_no_function():
    """Is refused at the call, not where it is awaited."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgument, match="fn must be"):
        pool.submit_async(5)
