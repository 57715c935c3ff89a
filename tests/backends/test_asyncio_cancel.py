"""Cancelling on an event loop: by timeouts, by who leaves, by the work itself."""

import asyncio
import contextlib
import gc
import threading

import pytest
from reactivex.subject import Subject

from rxpool import Failure, Success, TaskTimeout, WorkerPool, current_task
from tests.backends.loop_pools import Oops, on_loop, pause
from tests.waiting import WAIT


async def fail(number):
    """Fails after a turn."""
    await asyncio.sleep(0)
    raise Oops(number)


@on_loop
async def test_a_timeout_cancels_the_coroutine():
    """It sees the cancellation as any task does; others go on."""
    cleaned = []

    async def work(number):
        try:
            await asyncio.sleep(WAIT if number == 1 else 0.001)
        except asyncio.CancelledError:
            assert current_task().cancelled
            cleaned.append(number)
            raise
        return number

    async with WorkerPool(2, on="asyncio") as pool:
        seen = []
        done = asyncio.Event()
        pool.pull(range(4)).pipe(pool.outcomes(work, timeout=0.05)).subscribe(
            seen.append, on_completed=done.set
        )
        await done.wait()
    errors = [outcome for outcome in seen if isinstance(outcome, Failure)]
    assert [type(outcome.error) for outcome in errors] == [TaskTimeout]
    assert sorted(o.value for o in seen if isinstance(o, Success)) == [0, 2, 3]
    assert cleaned == [1]


@on_loop
async def test_a_coroutine_that_ignores_its_cancellation_holds_no_slot():
    """Others run beside it; it may end when it likes."""
    gate = asyncio.Event()
    ended = []

    async def stubborn(number):
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()
        ended.append(number)

    async with WorkerPool(1, on="asyncio") as pool:
        stream = pool.pull([1]).pipe(pool.outcomes(stubborn, timeout=0.02))
        seen = []
        stream.subscribe(seen.append)
        assert await pool.submit(pause, 1) == 1
        while not seen:
            await asyncio.sleep(0.001)
        assert await pool.submit(pause, 2) == 2
        assert not ended
        gate.set()
        while not ended:
            await asyncio.sleep(0)
        assert await pool.submit(pause, 3) == 3
        assert pool.report().in_flight == 0
    assert isinstance(seen[0].error, TaskTimeout)


@on_loop
async def test_cancelling_itself_is_a_failure_and_hurts_nobody_else():
    """Neither the item behind it nor one that waits later is told."""

    async def work(number):
        if number % 3 == 0:
            asyncio.current_task().cancel()
        if number % 2 == 0:
            await asyncio.sleep(0)
        return number

    async def own(number):
        raise asyncio.CancelledError(number)

    async with WorkerPool(2, on="asyncio") as pool:
        for _ in range(20):
            seen = []
            done = asyncio.Event()
            pool.pull(range(30)).pipe(pool.outcomes(work)).subscribe(
                seen.append, on_completed=done.set
            )
            await done.wait()
            failed = {o.item for o in seen if isinstance(o, Failure)}
            assert failed == {n for n in range(30) if n % 6 == 0}
        with pytest.raises(asyncio.CancelledError, match="7"):
            await pool.submit(own, 7)
        assert await pool.submit(pause, 1) == 1


@on_loop
async def test_what_cancels_itself_leaves_a_clean_task():
    """The next item can have a group that fails, and is not cancelled by the one before."""

    async def work(number):
        if number == 0:  # ends before it sees its cancellation
            await asyncio.sleep(0)
            asyncio.current_task().cancel()
        elif number == 1:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        else:
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail(number))
                    await asyncio.sleep(WAIT)
            await asyncio.sleep(0)
        return number

    async with WorkerPool(1, on="asyncio") as pool:
        for numbers in ([0, 2], [1, 2], [0, 0, 2], [1, 0, 2, 1, 2]):
            found = pool.imap(work, numbers, on_failure="skip", order="input")
            assert [n async for n in found] == [n for n in numbers if n != 1]


@on_loop
async def test_timeouts_and_groups_of_asyncio_work_inside():
    """They cancel the task that runs the coroutine, and take it back."""

    async def limited(number):
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(WAIT)
        except TimeoutError:
            return number

    async def grouped(number):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(WAIT))
                group.create_task(fail(number))
        except* Oops:
            pass
        await asyncio.sleep(0)
        return number

    async with WorkerPool(3, on="asyncio") as pool:
        for work in (limited, grouped):
            assert sorted([n async for n in pool.imap(work, range(20))]) == list(range(20))


@on_loop
async def test_a_plain_function_is_abandoned():
    """Its thread goes on alone; another takes its place."""
    gate = threading.Event()

    async with WorkerPool(1, on="asyncio") as pool:
        seen = []
        pool.pull([1]).pipe(pool.outcomes(lambda n: gate.wait(WAIT), timeout=0.02)).subscribe(
            seen.append
        )
        while not seen:
            await asyncio.sleep(0.001)
        assert isinstance(seen[0].error, TaskTimeout)
        assert await pool.submit(lambda: 5) == 5
        gate.set()


@on_loop
async def test_switch_map_cancels_what_runs():
    """Only the newest has a result."""
    cancelled = []

    async def work(number):
        try:
            await asyncio.sleep(WAIT if number < 5 else 0)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    source, seen = Subject(), []
    async with WorkerPool(2, on="asyncio") as pool:
        source.pipe(pool.switch_map(work)).subscribe(seen.append)
        for number in range(6):
            source.on_next(number)
            await asyncio.sleep(0.002)
        while not seen:
            await asyncio.sleep(0)
    assert (seen, cancelled) == ([5], [0, 1, 2, 3, 4])


@on_loop
async def test_leaving_async_for_cancels_the_rest():
    """What runs is cancelled, nothing goes on in the background."""
    started, cancelled = [], []

    async def work(number):
        started.append(number)
        try:
            await asyncio.sleep(0 if number == 0 else WAIT)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    async with WorkerPool(3, on="asyncio") as pool:
        async for _ in pool.imap(work, range(100)):
            break
        gc.collect()
        while len(cancelled) < len(started) - 1:
            await asyncio.sleep(0)
        assert pool.report().in_flight == 0
    assert sorted(cancelled) == started[1:]
