"""Fixtures for all tests."""

import sys
import threading
import time
from collections.abc import Iterator

import pytest

from rxpool.timing import TimerScheduler

SETTLE = 5.0  #: seconds a test's threads and timers are given to end


@pytest.fixture(autouse=True)
def leak_check() -> Iterator[None]:
    """No test leaves a thread or a timer of the shared scheduler behind.

    Threads of timer schedulers end by themselves when they have been idle for a second.
    """
    scheduler = TimerScheduler.singleton()
    threads = set(threading.enumerate())
    timers = scheduler.pending
    yield

    def left() -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread not in threads and thread.name != "rxpool-timer" and thread.is_alive()
        ]

    deadline = time.monotonic() + SETTLE
    while (left() or scheduler.pending > timers) and time.monotonic() < deadline:
        time.sleep(0.005)
    assert not left(), f"threads left behind: {left()}"
    assert scheduler.pending <= timers, f"{scheduler.pending - timers} timers left behind"


@pytest.fixture
def frantic() -> Iterator[None]:
    """Threads take turns every microsecond, which brings races out."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
