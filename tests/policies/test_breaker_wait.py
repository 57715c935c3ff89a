"""How long a `CircuitBreaker` stays open, and the timer that ends it."""

import gc
import logging
import threading
import time
from datetime import timedelta

import pytest
from reactivex.testing import TestScheduler

from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.policies._breaker import breaker_door as door
from rxpool.timing import Clock, TimerScheduler
from tests.policies.tripping import BOOM, seen, trip, tripping

# -- the wait --------------------------------------------------------------------------


def test_the_wait_may_depend_on_the_attempt():
    """The function is asked by publish, with no lock held, once for each opening."""
    asked = []

    def wait(attempt):
        assert not door(breaker)._lock._is_owned()
        asked.append(attempt)
        return timedelta(seconds=5 * attempt)

    breaker = tripping(
        wait_duration_in_open_state=wait, permitted_number_of_calls_in_half_open_state=1
    )
    door(breaker).failed(door(breaker).admit(0.0), 0.0, 0.0, BOOM)
    assert (asked, breaker.retry_after(0.0), door(breaker).admit(50.0)) == (
        [],
        None,
        -1,
    )
    door(breaker).publish()
    assert breaker.retry_after(0.0) == 5.0
    trip(breaker, 5.0)
    assert breaker.retry_after(5.0) == 10.0
    trip(breaker, 15.0)
    assert breaker.retry_after(15.0) == 15.0
    door(breaker).succeeded(door(breaker).admit(30.0), 30.0, 0.0)
    trip(breaker, 31.0)
    assert (asked, breaker.retry_after(31.0)) == ([1, 2, 3, 1], 5.0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), None, "5"])
def test_a_wait_that_is_none_is_a_minute(bad, caplog):
    """The mistake is logged; the breaker works."""
    breaker = tripping(wait_duration_in_open_state=lambda _: bad)
    with caplog.at_level(logging.ERROR, "rxpool"):
        trip(breaker)
    assert breaker.retry_after(0.0) == 60.0
    assert "wait_duration_in_open_state" in caplog.text


def test_a_subscriber_knows_the_wait_already():
    """The function is asked before the change is told."""
    breaker, waits = tripping(wait_duration_in_open_state=lambda _: 7.0), []
    breaker.events.subscribe(lambda e: waits.append(breaker.retry_after(e.at)))
    trip(breaker)
    assert waits == [7.0]


# -- timers ------------------------------------------------------------------------


def test_half_open_by_a_timer():
    """At its tick, with no call; and back, when the probes take too long."""
    scheduler = TestScheduler()
    breaker = tripping(
        wait_duration_in_open_state=lambda attempt: 10.0 * attempt,
        automatic_transition_from_open_to_half_open_enabled=True,
        max_wait_duration_in_half_open_state=5.0,
        permitted_number_of_calls_in_half_open_state=1,
        scheduler=scheduler,
    )
    changes = seen(breaker)
    scheduler.advance_to(100.0)
    trip(breaker, 100.0)
    scheduler.advance_to(134.0)
    assert changes == [
        ("closed", "open", 100.0),
        ("open", "half_open", 110.0),
        ("half_open", "open", 115.0),
    ]
    del changes[:]
    scheduler.advance_to(136.0)
    door(breaker).succeeded(door(breaker).admit(136.0), 136.0, 0.0)
    door(breaker).publish()
    scheduler.advance_to(999.0)
    assert changes == [("open", "half_open", 135.0), ("half_open", "closed", 136.0)]


def test_a_timer_that_is_not_needed_any_more_does_nothing():
    """What was closed by hand is not opened half, nor what opened again too early."""
    scheduler = TestScheduler()
    breaker = tripping(
        wait_duration_in_open_state=10.0,
        automatic_transition_from_open_to_half_open_enabled=True,
        scheduler=scheduler,
    )
    changes = seen(breaker)
    scheduler.advance_to(1.0)
    trip(breaker, 1.0)
    scheduler.advance_to(5.0)
    breaker.close()
    trip(breaker, 5.0)
    scheduler.advance_to(14.0)
    assert changes == [
        ("closed", "open", 1.0),
        ("open", "closed", 5.0),
        ("closed", "open", 5.0),
    ]
    scheduler.advance_to(16.0)
    assert changes[3:] == [("open", "half_open", 15.0)]


def test_half_open_by_a_real_timer():
    """On the shared scheduler, in real time."""
    breaker = tripping(
        wait_duration_in_open_state=0.02,
        automatic_transition_from_open_to_half_open_enabled=True,
    )
    done = threading.Event()
    breaker.events.subscribe(lambda e: e.after == "half_open" and done.set())
    start = time.monotonic()
    trip(breaker, start)
    assert done.wait(10.0)
    assert time.monotonic() - start >= 0.02


def test_a_breaker_that_is_gone_leaves_no_timer():
    """Nor does one that needs none; nobody has to close a breaker."""
    scheduler = TimerScheduler.singleton()
    before = scheduler.pending
    breaker = tripping(
        wait_duration_in_open_state=3600.0,
        automatic_transition_from_open_to_half_open_enabled=True,
    )
    trip(breaker, time.monotonic())
    assert scheduler.pending == before + 1
    breaker.close()
    assert scheduler.pending == before
    trip(breaker, time.monotonic())
    assert scheduler.pending == before + 1
    del breaker
    gc.collect()
    assert scheduler.pending == before


def test_the_clock_is_that_of_the_first_pool():
    """Unless it has a scheduler; real and virtual time are not mixed."""
    first, second = TestScheduler(), TestScheduler()
    breaker, own = tripping(), tripping(scheduler=second)
    for one in (breaker, own):
        door(one).follow(Clock(first))
        door(one).follow(Clock(second))
        with pytest.raises(InvalidArgument, match="'breaker' is used in real and in virtual"):
            door(one).follow(Clock.of())
    first.advance_to(7.0)
    changes, owns = seen(breaker), seen(own)
    breaker.disable()
    own.disable()
    assert (changes, owns) == ([("closed", "disabled", 7.0)], [("closed", "disabled", 0.0)])
    assert issubclass(InvalidArgumentType, InvalidArgument)
