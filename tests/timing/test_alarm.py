"""``Alarm``: one timer, which is set again and again."""

import gc
import sys
import threading
import time
import weakref

import pytest
from hypothesis import given
from hypothesis import strategies as st
from reactivex.testing import TestScheduler

from rxpool.timing import Clock, TimerScheduler
from rxpool.timing._alarm import Alarm
from tests.waiting import WAIT, eventually


class Owner:
    """Has an alarm, and notes when it rings."""

    def __init__(self, clock):
        self.rings = []
        self.alarm = Alarm(clock, self.ring)

    def ring(self, now):
        """What the alarm calls."""
        assert self.alarm.due is None
        self.rings.append(now)


CASES = [
    # what is done, each at its second                      when it rings
    ([("set", 5)], [5]),
    ([("set", None)], []),
    ([("set", 5), ("set", 5)], [5]),
    ([("set", 5), ("set", 8)], [5]),  # at the latest
    ([("set", 8), ("set", 5)], [5]),
    ([("set", 5), ("set", None)], [5]),
    ([("move", 5), ("move", 8)], [8]),  # and not before
    ([("move", 8), ("move", 5)], [5]),
    ([("move", 5), ("move", None)], []),
    ([("move", None), ("set", 5)], [5]),
    ([("move", 5), ("set", 8)], [5]),
    ([("set", 5), ("move", 8), ("move", 9)], [9]),
    ([("move", 5), ("move", None), ("set", 7)], [7]),
    ([("set", 0)], [0]),  # it is late
    ([("set", 0), ("wait",), ("set", 5)], [0, 5]),  # it rings once
    ([("set", 5), ("cancel",)], []),
    ([("cancel",), ("set", 5), ("move", 6)], []),
    ([("set", 5), ("cancel",), ("cancel",)], []),
    ([("set", 5), ("forked",), ("set", 7)], [7]),  # the timer is the parent's
]


@pytest.mark.parametrize(("steps", "rings"), CASES)
def test_when_it_rings(steps, rings):
    """In virtual time."""
    virtual = TestScheduler()
    owner = Owner(Clock(virtual))
    for name, *due in steps:
        if name == "wait":
            virtual.advance_by(1)
        else:
            getattr(owner.alarm, name)(*due)
    virtual.advance_to(20)
    assert owner.rings == rings
    assert owner.alarm.due is None


def test_it_keeps_nobody():
    """Whoever has it may go, and it rings for nobody."""
    virtual = TestScheduler()
    owner = Owner(Clock(virtual))
    owner.alarm.set(5)
    gone, rings = weakref.ref(owner), owner.rings
    del owner
    gc.collect()
    assert gone() is None
    virtual.advance_to(20)
    assert rings == []


def test_it_is_set_again_where_it_could_not_be():
    """Caught: it took itself to be set when there was no thread for timers."""
    virtual = TestScheduler()
    clock = Clock(virtual)
    owner = Owner(clock)

    class Refusing:
        """Has no thread."""

        def alarm(self, due, ring):
            raise RuntimeError

    owner.alarm.clock = Refusing()
    with pytest.raises(RuntimeError):
        owner.alarm.set(3)
    owner.alarm.clock = clock
    owner.alarm.set(5)
    virtual.advance_to(20)
    assert owner.rings == [5]


@given(
    st.lists(
        st.tuples(st.sampled_from(["set", "move", "pass"]), st.none() | st.integers(0, 20)),
        max_size=30,
    )
)
def test_it_rings_when_a_model_says(steps):
    """The model is a number: when it rings next."""
    virtual = TestScheduler()
    owner = Owner(Clock(virtual))
    due, rings = None, []
    for name, number in steps:
        if name == "pass":
            virtual.advance_by((number or 0) + 1)
        elif name == "move":
            owner.alarm.move(number)
            due = number
        else:
            owner.alarm.set(number)
            due = min((x for x in (due, number) if x is not None), default=None)
        now = virtual.to_seconds(virtual.clock)
        if due is not None and name == "pass" and due <= now:
            rings.append(due)
            due = None
    assert len(owner.rings) == len(rings)
    assert owner.alarm.due == due


def giving_way(function):
    """A trace function: whoever runs this lets others run before each line."""

    def line(*_):
        time.sleep(0)
        return line

    return lambda frame, *_: line if frame.f_code is function.__code__ else None


def test_an_alarm_that_is_set_and_cancelled_at_once_does_not_ring():
    """Caught: looking whether it is over, and setting the timer, in two steps."""
    scheduler = TimerScheduler.singleton()
    before, far = scheduler.pending, time.monotonic() + 1000
    owners = [Owner(Clock(scheduler)) for _ in range(300)]
    together = threading.Barrier(2)

    def move():
        sys.settrace(giving_way(Alarm._change))
        for owner in owners:
            together.wait(WAIT)
            owner.alarm.move(far)

    thread = threading.Thread(target=move)
    thread.start()
    for owner in owners:
        together.wait(WAIT)
        time.sleep(0)
        owner.alarm.cancel()
    thread.join(WAIT)
    eventually(lambda: scheduler.pending <= before)
    assert all(owner.alarm.due is None for owner in owners)
