"""`TimerScheduler` on real threads: when actions run, their failures, forks and the exit."""

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

from rxpool import TimerScheduler
from rxpool.timing import _scheduler
from tests.waiting import WAIT, eventually

BOOM = RuntimeError("boom")


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
