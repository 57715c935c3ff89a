"""Fixtures for tests of timers."""

import pytest

from rxpool import TimerScheduler
from tests.waiting import eventually


@pytest.fixture
def scheduler():
    """A scheduler of its own: nothing else runs on it, nothing may stay on it."""
    scheduler = TimerScheduler()
    yield scheduler
    eventually(lambda: scheduler.pending == 0)
