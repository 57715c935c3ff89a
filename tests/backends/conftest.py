"""Fixtures for tests of backends."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from rxpool import WorkerPool
from rxpool.timing import TimerScheduler
from tests.backends import process_jobs as jobs
from tests.backends.process_pools import pids_of_both
from tests.waiting import WAIT


@pytest.fixture(scope="module")
def shared():
    """A pool of two, for tests that leave it as it was."""
    with WorkerPool(2, on="processes", name="shared") as pool:
        # Threads that are there before a test are not left behind by it.
        pids_of_both(pool)
        assert TimerScheduler.singleton() is not None
        yield pool


@pytest.fixture(params=["own", "running"])
def run(request):
    """Runs ``use(pool)``, a function that may wait, with a pool on either kind of loop."""

    def on_own(use, workers, **options):
        with WorkerPool(workers, on="asyncio", **options) as pool:
            return use(pool)

    def on_running(use, workers, **options):
        async def main():
            async with WorkerPool(workers, on="asyncio", **options) as pool:
                return await asyncio.to_thread(use, pool)

        return asyncio.run(main())

    return on_own if request.param == "own" else on_running


@pytest.fixture(scope="module")
def fork_server():
    """Started before the tests: it is no part of what they measure."""
    with WorkerPool(1, on="processes") as pool:
        pool.submit(jobs.double, 1).result(WAIT)


@pytest.fixture(scope="module")
def threads():
    """Three threads."""
    with ThreadPoolExecutor(3, thread_name_prefix="users") as executor:
        meet = threading.Barrier(3)
        list(executor.map(lambda _: meet.wait(WAIT), range(3)))
        yield executor
