"""`TimerScheduler` on real threads, and `Clock` on any scheduler."""

import asyncio
import os
import subprocess
import sys
import textwrap
import threading
import time
from datetime import UTC, datetime, timedelta

import pytest
import reactivex as rx
from reactivex import abc
from reactivex.disposable import Disposable
from reactivex.scheduler import (
    CurrentThreadScheduler,
    EventLoopScheduler,
    HistoricalScheduler,
    NewThreadScheduler,
    TimeoutScheduler,
    VirtualTimeScheduler,
)
from reactivex.scheduler.eventloop import AsyncIOThreadSafeScheduler
from reactivex.testing import TestScheduler

from rxpool import TimerScheduler
from rxpool.timing import Clock, _scheduler
from tests.waiting import WAIT, eventually

BOOM = RuntimeError("boom")


@pytest.fixture
def scheduler():
    """A scheduler of its own: nothing else runs on it, nothing may stay on it."""
    scheduler = TimerScheduler()
    yield scheduler
    eventually(lambda: scheduler.pending == 0)


# -- an ordinary scheduler ----------------------------------------------------------------


def test_it_is_an_ordinary_scheduler():
    """It can be given wherever reactivex wants a scheduler."""
    assert isinstance(TimerScheduler(), abc.SchedulerBase)
    assert isinstance(TimerScheduler(), abc.PeriodicSchedulerBase)
    assert TimerScheduler.singleton() is TimerScheduler.singleton()


WAYS = {
    "schedule": (0.0, lambda s, action, state: s.schedule(action, state)),
    "relative, float": (0.02, lambda s, a, state: s.schedule_relative(0.02, a, state)),
    "relative, timedelta": (
        0.02,
        lambda s, a, state: s.schedule_relative(timedelta(milliseconds=20), a, state),
    ),
    "relative, past": (0.0, lambda s, a, state: s.schedule_relative(-5, a, state)),
    "absolute, of now": (
        0.02,
        lambda s, a, state: s.schedule_absolute(s.now + timedelta(milliseconds=20), a, state),
    ),
    "absolute, wall clock": (
        0.01,
        lambda s, a, state: s.schedule_absolute(
            datetime.now(UTC) + timedelta(milliseconds=20), a, state
        ),
    ),
    "absolute, past": (
        0.0,
        lambda s, a, state: s.schedule_absolute(s.now - timedelta(days=1), a, state),
    ),
}


@pytest.mark.parametrize(("delay", "way"), WAYS.values(), ids=WAYS)
def test_actions_run_with_scheduler_and_state_not_before_their_time(scheduler, delay, way):
    """An action runs once, on a thread of the scheduler, with what it was scheduled with."""
    ran, done, begun = [], threading.Event(), time.monotonic()

    def action(given, state):
        ran.append((given, state, threading.current_thread()))
        done.set()

    way(scheduler, action, "state")
    assert done.wait(WAIT)
    assert time.monotonic() - begun >= delay
    ((given, state, thread),) = ran
    assert (given, state) == (scheduler, "state")
    assert (thread.name, thread.daemon) == ("rxpool-timer", True)


@pytest.mark.parametrize("way", ["schedule", "schedule_relative", "schedule_absolute"])
def test_dispose_before_an_action_cancels_it(scheduler, way):
    """A cancelled action never runs, and is no longer pending."""
    ran, done = [], threading.Event()
    hold = threading.Event()
    started = threading.Event()
    scheduler.schedule(lambda *_: (started.set(), hold.wait(WAIT)))
    assert started.wait(WAIT)
    due = {
        "schedule": (),
        "schedule_relative": (0.01,),
        "schedule_absolute": (scheduler.now + timedelta(milliseconds=10),),
    }[way]
    with scheduler._lock:  # nobody takes it meanwhile
        cancelled = getattr(scheduler, way)(*due, lambda *_: ran.append("cancelled"))
        cancelled.dispose()
        assert scheduler.pending == 0
    cancelled.dispose()  # again: nothing
    scheduler.schedule_relative(0.02, lambda *_: done.set())
    assert done.wait(WAIT)
    hold.set()
    assert ran == []


def test_dispose_within_an_action_disposes_what_it_returns(scheduler):
    """What an action returns after its own disposal is disposed at once."""
    inner, done, ready = Disposable(lambda: done.set()), threading.Event(), threading.Event()
    held = []

    def action(*_):
        assert ready.wait(WAIT)
        held[0].dispose()
        return inner

    held.append(scheduler.schedule(action))
    ready.set()
    assert done.wait(WAIT)


def test_dispose_after_an_action_disposes_what_it_returned(scheduler):
    """The disposable that an action returned belongs to its own."""
    disposed, done = threading.Event(), threading.Event()

    def action(*_):
        done.set()
        return Disposable(disposed.set)

    subscription = scheduler.schedule(action)
    assert done.wait(WAIT)
    assert not disposed.is_set()
    subscription.dispose()
    assert disposed.wait(WAIT)


def test_periodic(scheduler):
    """Each round gets what the one before returned, until disposed."""
    rounds, enough, begun = [], threading.Event(), time.monotonic()

    def action(state):
        rounds.append(state)
        if state == 4:
            enough.set()
        return state + 1

    subscription = scheduler.schedule_periodic(0.005, action, 0)
    assert enough.wait(WAIT)
    subscription.dispose()
    assert time.monotonic() - begun >= 5 * 0.005 - 0.001
    assert rounds[:5] == [0, 1, 2, 3, 4]
    eventually(lambda: scheduler.pending == 0)


def test_reactivex_operators_run_on_it(scheduler):
    """`timer` and `interval` of reactivex work with it."""
    seen, done = [], threading.Event()

    def on_next(i):
        seen.append(i)
        if i == 3:
            done.set()

    subscription = rx.interval(0.002, scheduler=scheduler).subscribe(on_next)
    assert done.wait(WAIT)
    subscription.dispose()
    assert seen[:4] == [0, 1, 2, 3]


def test_actions_can_schedule(scheduler):
    """An action may set further timers and wait for none of them."""
    left, done = [200], threading.Event()

    def action(given, state=None):
        left[0] -= 1
        if left[0]:
            return given.schedule(action)
        done.set()
        return None

    scheduler.schedule(action)
    assert done.wait(WAIT)


# -- the clock ------------------------------------------------------------------------------


def test_now_is_aware_and_follows_the_monotonic_clock(scheduler, monkeypatch):
    """A step of the wall clock moves neither `now` nor a timer."""

    class Stepped(datetime):
        @classmethod
        def now(cls, tz=None):
            return datetime.now(tz) + timedelta(hours=5)

    assert scheduler.now.tzinfo is UTC
    assert abs(scheduler.now - datetime.now(UTC)) < timedelta(seconds=5)
    begun, before = time.monotonic(), scheduler.now
    monkeypatch.setattr(_scheduler, "datetime", Stepped)
    time.sleep(0.01)
    passed = (scheduler.now - before).total_seconds()
    assert 0.009 <= passed <= time.monotonic() - begun + 0.001


def test_equal_times_run_in_the_order_of_scheduling(scheduler):
    """As in every reactivex scheduler; a hundred cancelled ones between change nothing.

    The actions note their order under the lock of the heap, as two threads may overtake.
    """
    order, started, hold = [], threading.Event(), threading.Event()
    scheduler.schedule(lambda *_: (started.set(), hold.wait(WAIT)))
    assert started.wait(WAIT)
    due = time.monotonic() - 1
    with scheduler._lock:
        for i in range(300):
            entry = scheduler.at(due, lambda i=i: order.append(i))
            if i % 3 == 0:
                entry.dispose()
        taken = []
        while scheduler._heap:
            timer = _scheduler.heappop(scheduler._heap)
            if timer.action is not None:
                taken.append(timer.action)
        scheduler._dead = 0
    for action in taken:
        action()
    hold.set()
    assert order == [i for i in range(300) if i % 3]


def test_earlier_timers_run_first(scheduler, monkeypatch):
    """A timer that is set later for an earlier time is not slept over."""
    monkeypatch.setattr(_scheduler, "_LONGEST_WAIT", 3600)
    order, done = [], threading.Event()
    late = scheduler.schedule_relative(60, lambda *_: order.append("late"))
    scheduler.schedule_relative(0.05, lambda *_: (order.append("second"), done.set()))
    scheduler.schedule_relative(0.01, lambda *_: order.append("first"))
    assert done.wait(WAIT)
    assert order == ["first", "second"]
    late.dispose()


# -- threads --------------------------------------------------------------------------------


def test_many_timers_use_few_threads(scheduler):
    """10,000 timers of many times, all of which run, on a handful of threads."""
    names, done, count = set(), threading.Event(), []

    def action(*_):
        names.add(threading.get_ident())
        count.append(1)
        if len(count) == 10_000:
            done.set()

    for i in range(10_000):
        scheduler.schedule_relative((i % 100) / 1000, action)
    assert done.wait(WAIT)
    assert len(names) <= 20  # two to four; hundreds if each hand-over made a thread
    assert len(count) == 10_000


def test_a_blocked_action_delays_no_other_timer(scheduler):
    """Ten actions that block leave the eleventh on time, and each other too."""
    hold, inside, done = threading.Event(), threading.Semaphore(0), threading.Event()
    for _ in range(10):
        scheduler.schedule(lambda *_: (inside.release(), hold.wait(WAIT)))
    for _ in range(10):
        assert inside.acquire(timeout=WAIT)
    scheduler.schedule_relative(0.01, lambda *_: done.set())
    assert done.wait(WAIT)
    hold.set()
    assert scheduler._threads >= 11


def test_timers_that_were_set_before_one_that_blocks_run_too(scheduler):
    """The watch is handed over before the action runs."""
    hold, done = threading.Event(), threading.Event()
    with scheduler._lock:
        scheduler.schedule(lambda *_: hold.wait(WAIT))
        scheduler.schedule_relative(0.01, lambda *_: done.set())
    assert done.wait(WAIT)
    hold.set()


def test_a_spare_thread_takes_the_watch_at_once(scheduler, monkeypatch):
    """A thread that waits for work is called when another goes into an action."""
    monkeypatch.setattr(_scheduler, "_LINGER", 3600)
    for _ in range(3):  # the first rounds make the threads
        hold, inside, done = threading.Event(), threading.Event(), threading.Event()
        with scheduler._lock:
            scheduler.schedule(lambda *_, i=inside, h=hold: (i.set(), h.wait(WAIT)))
            scheduler.schedule_relative(0.01, lambda *_, d=done: d.set())
        assert inside.wait(WAIT)
        assert done.wait(WAIT)
        hold.set()
        eventually(lambda: scheduler._spare == 1)
    monkeypatch.undo()
    with scheduler._lock:  # let the threads go
        scheduler._standby.notify_all()
        scheduler._changed.notify_all()


def test_threads_are_used_again(scheduler):
    """A hand-over takes a thread that is there."""
    names = set()
    for _ in range(50):
        done = threading.Semaphore(0)

        def action(*_, done=done):
            names.add(threading.get_ident())
            done.release()

        with scheduler._lock:
            scheduler.schedule(action)
            scheduler.schedule(action)
        for _ in range(2):
            assert done.acquire(timeout=WAIT)
    assert len(names) <= 5


def test_a_spare_thread_that_is_called_as_it_gives_up(scheduler, monkeypatch):
    """A call that comes when its wait is just over is not lost."""
    monkeypatch.setattr(_scheduler, "_LINGER", 0.2)
    holds, inside = [threading.Event() for _ in range(3)], threading.Semaphore(0)

    def block(number):
        scheduler.schedule(lambda *_: (inside.release(), holds[number].wait(WAIT)))
        assert inside.acquire(timeout=WAIT)

    block(0)
    block(1)
    scheduler.schedule_relative(0.05, lambda *_: None).dispose()  # a third thread watches
    holds[1].set()
    eventually(lambda: scheduler._spare == 1)
    block(2)  # the third one is busy too: only the spare one could watch
    done = threading.Event()
    with scheduler._lock:
        time.sleep(0.3)  # its wait is over, but it cannot go on
        scheduler.schedule_relative(0.01, lambda *_: done.set())
    assert done.wait(WAIT / 2)
    for hold in holds:
        hold.set()


def test_threads_end_when_they_are_idle(scheduler, monkeypatch):
    """Unused threads end, and the next timer starts one again."""
    monkeypatch.setattr(_scheduler, "_LINGER", 0.02)
    hold, inside = threading.Event(), threading.Semaphore(0)
    for _ in range(5):
        scheduler.schedule(lambda *_: (inside.release(), hold.wait(WAIT)))
    for _ in range(5):
        assert inside.acquire(timeout=WAIT)
    hold.set()
    eventually(lambda: scheduler._threads == 0)
    done = threading.Event()
    scheduler.schedule_relative(0.01, lambda *_: done.set())
    assert done.wait(WAIT)
    eventually(lambda: scheduler._threads == 0)


def test_a_spare_thread_ends_while_another_watches(scheduler, monkeypatch):
    """Timers far ahead need one thread, not as many as were once needed."""
    monkeypatch.setattr(_scheduler, "_LINGER", 0.02)
    far = scheduler.schedule_relative(60, lambda *_: None)
    hold, inside = threading.Event(), threading.Semaphore(0)
    for _ in range(4):
        scheduler.schedule(lambda *_: (inside.release(), hold.wait(WAIT)))
    for _ in range(4):
        assert inside.acquire(timeout=WAIT)
    hold.set()
    eventually(lambda: scheduler._threads == 1)
    far.dispose()


def test_a_thread_does_not_wait_for_a_cancelled_timer(scheduler, monkeypatch):
    """A timer far ahead that was cancelled keeps no thread until its time."""
    monkeypatch.setattr(_scheduler, "_LINGER", 0.02)
    monkeypatch.setattr(_scheduler, "_LONGEST_WAIT", 0.05)
    scheduler.schedule_relative(3600, lambda *_: None).dispose()
    eventually(lambda: scheduler._threads == 0)
    assert scheduler._heap == []


def test_cancelled_timers_leave_the_heap(scheduler):
    """Timers that are set and cancelled over and over use no memory."""
    kept = scheduler.schedule_relative(60, lambda *_: None)
    for _ in range(10_000):
        scheduler.schedule_relative(30, lambda *_: None).dispose()
        assert len(scheduler._heap) <= 100
    assert scheduler.pending == 1
    kept.dispose()


def test_the_order_outlives_cancelled_timers(scheduler):
    """When cancelled timers are cleared away the others still come in their order."""
    with scheduler._lock:
        due = time.monotonic() + 60
        entries = [scheduler.at(due + (i * 37 % 100), print) for i in range(100)]
        for i, entry in enumerate(entries):
            if i % 4:
                entry.dispose()
        assert len(scheduler._heap) < 100
        heap = scheduler._heap[:]
        left = [_scheduler.heappop(heap) for _ in range(len(heap))]
        assert left == sorted(left)
        for entry in entries:
            entry.dispose()


def test_timers_set_and_cancelled_by_many_threads(scheduler, frantic):
    """Every timer runs or was cancelled; none does both, none is forgotten."""
    ran, cancelled, together = [], [], threading.Barrier(4)

    def work(number):
        together.wait(WAIT)
        for i in range(250):
            entry = scheduler.at(
                time.monotonic() + (i % 7) / 1000, lambda i=i: ran.append((number, i))
            )
            if i % 2:
                entry.dispose()
                if entry.action is None and (number, i) not in ran:
                    cancelled.append((number, i))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    eventually(lambda: scheduler.pending == 0)
    even = {(number, i) for number in range(4) for i in range(0, 250, 2)}
    eventually(lambda: even <= set(ran))
    assert len(set(ran)) == len(ran)
    assert scheduler._dead == len(scheduler._heap)


# -- failures ---------------------------------------------------------------------------------


def test_an_exception_goes_to_log_and_hook_and_later_timers_run(scheduler, monkeypatch, caplog):
    """It is reported as that of a thread is, and ends nothing."""
    hooked, done = [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", hooked.append)

    def action(*_):
        raise BOOM

    scheduler.schedule(action)
    scheduler.schedule_relative(0.02, lambda *_: done.set())
    assert done.wait(WAIT)
    eventually(lambda: len(hooked) == 1)
    assert hooked[0].exc_value is BOOM
    assert hooked[0].thread.name == "rxpool-timer"
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("rxpool", "ERROR")
    assert record.exc_info[1] is BOOM


def test_even_system_exit_ends_no_thread(scheduler, monkeypatch, caplog):
    """Whatever an action raises, the threads go on."""
    hooked, done = [], threading.Event()
    monkeypatch.setattr(threading, "excepthook", hooked.append)
    scheduler.schedule(lambda *_: sys.exit(3))
    scheduler.schedule_relative(0.02, lambda *_: done.set())
    assert done.wait(WAIT)
    eventually(lambda: [type(args.exc_value) for args in hooked] == [SystemExit])
    assert [record.exc_info[0] for record in caplog.records] == [SystemExit]


def test_a_thread_that_cannot_start_is_the_callers_error(scheduler, monkeypatch):
    """Who sets a timer that nobody could run is told so, and the timer is not set."""

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", refuse)
        with pytest.raises(RuntimeError, match="can't start"):
            scheduler.schedule_relative(0.01, lambda *_: None)
        assert (scheduler.pending, scheduler._threads) == (0, 0)
    done = threading.Event()
    scheduler.schedule_relative(0.01, lambda *_: done.set())
    assert done.wait(WAIT)


def test_a_watch_that_cannot_be_handed_over_loses_no_action(scheduler, monkeypatch):
    """Without a second thread the first does all the work, one after the other."""
    ran, done, inside, go = [], threading.Event(), threading.Event(), threading.Event()
    scheduler.schedule(lambda *_: (inside.set(), go.wait(WAIT)))
    assert inside.wait(WAIT)

    def refuse(self):
        raise RuntimeError("can't start new thread")

    with scheduler._lock:
        for i in range(3):
            timer = _scheduler._Timer(scheduler, 0.0, i, lambda i=i: ran.append(i))
            _scheduler.heappush(scheduler._heap, timer)
        last = _scheduler._Timer(scheduler, 0.0, 9, done.set)
        _scheduler.heappush(scheduler._heap, last)
        monkeypatch.setattr(threading.Thread, "start", refuse)
    go.set()
    assert done.wait(WAIT)
    assert ran == [0, 1, 2]


# -- processes --------------------------------------------------------------------------------


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
def test_it_works_after_a_fork():
    """A child starts with no timers and threads of its own; the parent's go on."""
    script = """
        import os, threading, warnings
        from rxpool import TimerScheduler
        warnings.simplefilter("ignore", DeprecationWarning)  # of a fork while threads run
        scheduler = TimerScheduler.singleton()
        rang = threading.Event()
        far = scheduler.schedule_relative(60, lambda *_: None)
        near = scheduler.schedule_relative(0.3, lambda *_: rang.set())
        held, over = threading.Event(), threading.Event()

        def work():
            with scheduler._lock:
                held.set()
                over.wait()

        threading.Thread(target=work).start()
        held.wait()
        child = os.fork()
        if child == 0:
            assert TimerScheduler.singleton() is scheduler
            assert scheduler.pending == 0, scheduler.pending
            far.dispose()
            assert scheduler.pending == 0, scheduler.pending
            own = threading.Event()
            scheduler.schedule_relative(0.01, lambda *_: own.set())
            assert own.wait(10)
            assert not rang.wait(0.5)
            os._exit(7)
        over.set()
        _, status = os.waitpid(child, 0)
        assert os.waitstatus_to_exitcode(status) == 7, status
        assert rang.wait(10)
        far.dispose()
        print("good")
    """
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.stdout, result.stderr) == ("good\n", "")


def test_timers_keep_no_process_alive():
    """A program that ends while timers are set ends at once, and quietly."""
    script = """
        from rxpool import TimerScheduler
        TimerScheduler.singleton().schedule_relative(60, lambda *_: None)
        TimerScheduler.singleton().schedule_relative(0.001, lambda *_: None)
    """
    begun = time.monotonic()
    result = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "", "")
    assert time.monotonic() - begun < 20


# -- Clock ------------------------------------------------------------------------------------


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
