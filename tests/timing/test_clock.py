"""`Clock` on schedulers that are no use for alarms."""

import threading

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.scheduler import ImmediateScheduler, NewThreadScheduler

from rxpool import operators as ops
from rxpool.timing import Clock
from tests.waiting import WAIT


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
