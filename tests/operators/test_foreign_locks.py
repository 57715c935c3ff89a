"""Locks of the application that producer and subscriber of an operator share.

Each docstring ends with the change that it catches.
"""

import threading
import time

import pytest
from reactivex.subject import Subject

from rxpool import operators as ops
from tests.operators.crew import Slow, finish, flat, push, start
from tests.waiting import WAIT

LOCKED = {
    "batch": lambda: ops.batch(100, 0.001),
    "throttle": lambda: ops.throttle(1000, burst=0),
    "debounce": lambda: ops.debounce(0.001),
}


@pytest.mark.parametrize("make", LOCKED.values(), ids=LOCKED)
def test_a_lock_that_producer_and_subscriber_share(make):
    """The timer's thread is in the subscriber, which wants the lock that the producer holds
    while it pushes: neither waits for the other.

    Catches: delivering with the operator's own lock held.
    """
    application = threading.Lock()
    source, inside, seen = Subject(), threading.Event(), []

    def on_next(value):
        inside.set()
        assert application.acquire(timeout=WAIT)
        seen.append(value)
        application.release()

    def produce():
        with application:
            source.on_next(1)
            assert inside.wait(WAIT)
            push(source, 2, 3)

    subscription = source.pipe(make()).subscribe(on_next)
    finish(start(produce))
    source.on_completed()
    deadline = time.monotonic() + WAIT
    while flat(seen)[-1:] != [3] and time.monotonic() < deadline:
        time.sleep(0.001)
    assert flat(seen)[0] == 1
    assert flat(seen)[-1] == 3
    subscription.dispose()


@pytest.mark.parametrize("make", LOCKED.values(), ids=LOCKED)
def test_a_busy_subscriber_can_be_left(make):
    """Dispose returns at once also while the subscriber is being given a value.

    Catches: disposing under a lock that is held while delivering.
    """
    source, slow = Subject(), Slow()
    subscription = source.pipe(make()).subscribe(slow.on_next)
    source.on_next(1)
    slow.is_busy()
    source.on_next(2)
    finish(start(subscription.dispose))
    slow.go.release()
