"""Fixtures for all tests."""

import multiprocessing
import signal
import sys
import threading
import time
from collections.abc import Iterator

import pytest
from hypothesis import settings

from rxpool.timing import TimerScheduler

# A run in the background of a shell ignores Ctrl-C, and so would programs that tests start.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# How long an example takes says more of what else the machine does.
settings.register_profile("any machine", deadline=None)
settings.load_profile("any machine")

SETTLE = 20.0  #: seconds a test's threads and timers are given to end


@pytest.fixture(autouse=True)
def leak_check() -> Iterator[None]:
    """No test leaves a thread, a process or a timer of the shared scheduler behind.

    Threads of timer schedulers end by themselves when they have been idle for a second.
    """
    scheduler = TimerScheduler.singleton()
    threads = set(threading.enumerate())
    processes = set(multiprocessing.active_children())
    timers = scheduler.pending
    yield

    def left() -> list[threading.Thread]:
        return [
            thread
            for thread in threading.enumerate()
            if thread not in threads and thread.name != "rxpool-timer" and thread.is_alive()
        ]

    def children() -> set[object]:
        return set(multiprocessing.active_children()) - processes

    deadline = time.monotonic() + SETTLE
    while time.monotonic() < deadline:
        if not left() and not children() and scheduler.pending <= timers:
            break
        time.sleep(0.005)
    assert not left(), f"threads left behind: {left()}"
    assert not children(), f"processes left behind: {children()}"
    assert scheduler.pending <= timers, f"{scheduler.pending - timers} timers left behind"


@pytest.fixture
def frantic() -> Iterator[None]:
    """Threads take turns every microsecond, which brings races out."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    yield
    sys.setswitchinterval(before)
