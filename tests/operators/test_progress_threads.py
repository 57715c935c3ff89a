"""``progress`` among threads."""

import threading
import time

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import operators as ops
from rxpool.operators._progress_state import ProgressState
from rxpool.operators._shown import Shown
from rxpool.timing import Clock, TimerScheduler
from tests.operators.displays import BAD, Spy, Terminal
from tests.waiting import WAIT


class Exclusive(Spy):
    """Sees whether two threads are in it at once, or one after its end."""

    def __init__(self):
        super().__init__()
        self.busy, self.wrong = threading.Lock(), 0

    def _call(self, name, *rest):
        free = self.busy.acquire(blocking=False)
        self.wrong += not free or any(call[0] == "close" for call in self.calls)
        time.sleep(0)
        self.calls.append((name, *rest))
        if free:
            self.busy.release()


@pytest.mark.usefixtures("frantic")
def test_producers_timers_and_a_dispose_at_once(spied):
    """Caught: counting without the lock, drawing without a drawer, closing twice."""
    for _ in range(20):
        display = Exclusive()
        spied(display)
        source, seen = Subject(), []
        subscription = source.pipe(ops.progress(every=1e-5)).subscribe(seen.append)
        together = threading.Barrier(5)

        def produce(together=together, source=source):
            together.wait(WAIT)
            for i in range(50):
                source.on_next(i)

        def leave(together=together, subscription=subscription):
            together.wait(WAIT)
            subscription.dispose()

        threads = [threading.Thread(target=produce) for _ in range(3)]
        threads += [threading.Thread(target=leave) for _ in range(1)]
        for thread in threads:
            thread.start()
        together.wait(WAIT)
        for thread in threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        closes = [call for call in display.calls if call[0] == "close"]
        assert [call[2] for call in closes] == ["disposed"]
        assert display.wrong == 0


@pytest.mark.usefixtures("frantic")
def test_no_count_is_lost_among_threads():
    """Caught: `add` without the lock."""
    display, clock = Spy(), Clock(TimerScheduler.singleton())
    shown = Shown(ProgressState(None, 3600, clock.now()), lambda _: display, clock, bool)
    together = threading.Barrier(4)

    def count():
        together.wait(WAIT)
        for _ in range(5000):
            if shown.count(BAD):
                shown.look()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    shown.close("done")
    assert display.calls == [("close", 20_000, "done")]


def test_the_end_waits_for_the_line_that_is_being_written():
    """So what the program prints after the end stands below the last line."""
    writing, go_on, told = threading.Event(), threading.Event(), []

    class Slow(Spy):
        def show(self, standing):
            writing.set()
            go_on.wait(WAIT)
            super().show(standing)

    display, clock = Slow(), Clock(TimerScheduler.singleton())
    shown = Shown(ProgressState(None, 1e-6, clock.now()), lambda _: display, clock, bool)
    assert shown.count(1)
    drawing = threading.Thread(target=shown.look)
    drawing.start()
    assert writing.wait(WAIT)
    ending = threading.Thread(target=lambda: (shown.close("done"), told.extend(display.calls)))
    ending.start()
    assert not told
    go_on.set()
    ending.join(WAIT)
    drawing.join(WAIT)
    assert told == [("show", 1), ("close", 1, "done")]


def test_a_bar_is_drawn_ten_times_a_second_at_most(spied):
    """However many items come."""
    display = Spy()
    spied(display)
    scheduler = TestScheduler()
    file = Terminal()
    source = rx.interval(0.001, scheduler=scheduler).pipe(ro.take(1000))
    scheduler.start(lambda: source.pipe(ops.progress(bar="tqdm", file=file)), disposed=1000)
    shows = [call for call in display.calls if call[0] == "show"]
    assert 5 <= len(shows) <= 11
