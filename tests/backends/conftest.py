"""Fixtures for tests of backends."""

import pytest

from rxpool import WorkerPool
from rxpool.timing import TimerScheduler
from tests.backends.process_pools import pids_of_both


@pytest.fixture(scope="module")
def shared():
    """A pool of two, for tests that leave it as it was."""
    with WorkerPool(2, on="processes", name="shared") as pool:
        # Threads that are there before a test are not left behind by it.
        pids_of_both(pool)
        assert TimerScheduler.singleton() is not None
        yield pool
