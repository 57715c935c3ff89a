"""The threads of a `TimerScheduler`: how few there are, who watches, when they end."""

import threading
import time

from rxpool.timing import _scheduler
from tests.waiting import WAIT, eventually


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
