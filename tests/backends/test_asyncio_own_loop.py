"""A pool's own event loop: its thread, its start and its end."""

import asyncio
import threading

from rxpool import TaskCancelled, WorkerPool
from tests.backends.loop_pools import pause
from tests.waiting import WAIT


def test_the_own_thread_starts_late_and_ends_with_the_pool():
    """No job, no thread; its name says whose it is."""
    threads = set(threading.enumerate())
    with WorkerPool(2, on="asyncio", name="mine") as pool:
        assert set(threading.enumerate()) == threads
        pool.submit(pause, 1).result(WAIT)
        assert [t.name for t in set(threading.enumerate()) - threads] == ["mine-loop"]
    assert set(threading.enumerate()) == threads


def test_what_coroutines_left_on_an_own_loop_is_cancelled():
    """Also background tasks; their clean-up runs."""
    ended = []

    async def background():
        try:
            await asyncio.sleep(WAIT)
        finally:
            ended.append(1)

    async def work(number):
        tasks.append(asyncio.get_running_loop().create_task(background()))
        await asyncio.sleep(0)

    tasks = []
    with WorkerPool(2, on="asyncio") as pool:
        pool.submit(work, 1).result(WAIT)
    assert ended == [1]


def test_terminate_from_outside():
    """What runs is cancelled, what waits never starts."""
    started, cancelled = threading.Event(), []

    async def work(number):
        started.set()
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    pool = WorkerPool(1, on="asyncio")
    futures = [pool.submit(work, n) for n in range(3)]
    assert started.wait(WAIT)
    pool.terminate()
    assert [type(f.exception(WAIT)) for f in futures] == [TaskCancelled] * 3
    assert cancelled == [0]


def test_closing_from_inside():
    """A coroutine of the pool closes it: it ends when the work does."""
    pool = WorkerPool(2, on="asyncio")

    async def work(number):
        pool.close()
        await asyncio.sleep(0)
        return number

    assert pool.submit(work, 4).result(WAIT) == 4
    assert pool.close() is True
