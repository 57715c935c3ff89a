"""`Clock` on any scheduler."""

import asyncio
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    HistoricalScheduler,
    ImmediateScheduler,
    NewThreadScheduler,
    TimeoutScheduler,
    VirtualTimeScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler
from reactivex.testing import TestScheduler

from rxpool import TimerScheduler
from rxpool import operators as ops
from rxpool.timing import Clock
from tests.waiting import WAIT


def test_the_clock_of_the_first_scheduler_given():
    """Argument before subscriber's before the shared one."""
    one, two = TestScheduler(), TestScheduler()
    one.advance_to(5)
    two.advance_to(7)
    assert Clock.of(one, two).now() == 5
    assert Clock.of(None, two).now() == 7
    shared = Clock.of(None, None)
    assert not shared.virtual
    assert abs(shared.now() - time.monotonic()) < 1
    before = TimerScheduler.singleton().pending
    entry = shared.alarm(time.monotonic() + 60, print)
    assert TimerScheduler.singleton().pending == before + 1
    entry.dispose()
    assert TimerScheduler.singleton().pending == before


@pytest.mark.parametrize(
    ("make", "virtual"),
    [
        (TestScheduler, True),
        (VirtualTimeScheduler, True),
        (HistoricalScheduler, True),
        (TimerScheduler, False),
        (TimeoutScheduler, False),
        (NewThreadScheduler, False),
        (CurrentThreadScheduler, False),
    ],
)
def test_virtual_time_is_recognised(make, virtual):
    """Nobody may wait for time that somebody must advance."""
    assert Clock(make()).virtual is virtual


@pytest.mark.parametrize("make", [TimeoutScheduler, NewThreadScheduler, TimerScheduler])
def test_real_schedulers_are_measured_on_the_monotonic_clock(make):
    """A step of the wall clock changes no duration."""
    assert abs(Clock(make()).now() - time.monotonic()) < 1


def test_virtual_schedulers_are_asked_for_their_time():
    """Also those that count in datetimes."""
    start = datetime(2001, 1, 1, tzinfo=UTC)
    scheduler = HistoricalScheduler(start)
    clock = Clock(scheduler)
    before = clock.now()
    scheduler.advance_to(start + timedelta(seconds=3))
    assert clock.now() - before == 3


def test_a_scheduler_with_a_clock_of_its_own_is_asked():
    """Such as that of a game loop, or of a simulation that is not reactivex's."""

    class Own(CurrentThreadScheduler):
        time = datetime(2001, 1, 1, tzinfo=UTC)

        @property
        def now(self):
            return self.time

    scheduler = Own()
    clock = Clock(scheduler)
    before = clock.now()
    scheduler.time += timedelta(seconds=3)
    assert clock.now() - before == 3


def test_an_event_loop_is_asked_for_its_time():
    """An alarm on an event loop rings on it, in its time."""

    async def main():
        loop = asyncio.get_running_loop()
        clock = Clock(AsyncIOThreadSafeScheduler(loop))
        first = clock.now()
        await asyncio.sleep(0.01)
        assert clock.now() - first >= 0.009
        rang = asyncio.Event()
        given = []
        due = clock.now() + 0.01
        clock.alarm(due, lambda now: (given.append(now), rang.set()))
        await asyncio.wait_for(rang.wait(), WAIT)
        assert given[0] >= due

    asyncio.run(main())


def test_an_alarm_is_never_told_a_time_before_its_own():
    """Schedulers may round to microseconds and fire a trifle early."""

    class Hasty(TestScheduler):
        def schedule_relative(self, duetime, action, state=None):
            return super().schedule_relative(duetime * 0.9, action, state)

    scheduler, given = Hasty(), []
    Clock(scheduler).alarm(10.0, given.append)
    scheduler.start()
    assert given == [10.0]
    scheduler = TestScheduler()
    Clock(scheduler).alarm(1 / 3, given.append)
    scheduler.start()
    assert given[1] >= 1 / 3


def test_an_alarm_for_the_past_rings_at_once():
    """With the present, not with the past."""
    scheduler, given = TestScheduler(), []
    scheduler.advance_to(50)
    entry = Clock(scheduler).alarm(10.0, given.append)
    scheduler.start()
    assert given == [50.0]
    entry.dispose()


def test_an_alarm_can_be_cancelled():
    """Disposing it is enough, on virtual and on real time."""
    scheduler, given = TestScheduler(), []
    Clock(scheduler).alarm(10.0, given.append).dispose()
    scheduler.start()
    real, done = EventLoopScheduler(), threading.Event()
    Clock(real).alarm(Clock(real).now() + 0.01, given.append).dispose()
    Clock(real).alarm(Clock(real).now() + 0.03, lambda _: done.set())
    assert done.wait(WAIT)
    real.dispose()
    assert given == []


def test_run_leaves_no_thread_for_a_timer():
    """What `run` brings would keep one for each batch, for a minute here."""
    before = set(threading.enumerate())
    assert rx.of(1, 2, 3).pipe(ops.batch(2, 60), ro.to_list()).run() == [[1, 2], [3]]
    left = set(threading.enumerate()) - before
    for thread in left:
        if thread.name != "rxpool-timer":
            thread.join(WAIT)
            assert not thread.is_alive()


@pytest.mark.parametrize("kind", [ImmediateScheduler, NewThreadScheduler])
def test_an_alarm(kind):
    """It rings in time, on a thread of the shared scheduler; disposed of, it is let go."""
    rung = threading.Event()
    names = []

    def ring(now):
        names.append(threading.current_thread().name)
        rung.set()

    clock = Clock(kind())
    clock.alarm(clock.now() + 60, ring).dispose()
    clock.alarm(clock.now() + 0.01, ring)
    assert rung.wait(WAIT)
    assert names == ["rxpool-timer"]
