"""How work in processes ends: by close, terminate, dispose, timeout and deadline."""

import time
from pathlib import Path

import pytest
import reactivex as rx

from rxpool import Failure, Success, TaskCancelled, WorkerPool
from rxpool.errors import TaskTimeout
from tests.backends import process_jobs as jobs
from tests.backends.process_jobs import notes
from tests.backends.process_pools import outcome, outcomes, pids_of_both
from tests.pool.crew import Sink, balanced
from tests.processes import is_gone
from tests.waiting import WAIT, eventually


def test_close_finishes_what_was_accepted(tmp_path):
    """Every call has its result, then the processes are gone."""
    record = str(tmp_path / "record")
    pool = WorkerPool(2, on="processes")
    futures = [pool.submit(jobs.record_slowly, (n, record)) for n in range(50)]
    assert pool.close() is True
    assert [future.result(0) for future in futures] == list(range(50))
    assert sorted(map(int, notes(record))) == list(range(50))


def test_close_gives_up_in_time(tmp_path):
    """Past the timeout the processes are killed, and every item has its outcome."""
    pool = WorkerPool(2, on="processes")
    path = str(tmp_path / "dozing")
    sink = Sink().to(rx.of(path, path, path).pipe(pool.outcomes(jobs.doze)))
    eventually(lambda: len(notes(path)) == 2)
    begun = time.monotonic()
    assert pool.close(0.1) is False
    assert time.monotonic() - begun < 2
    assert [type(o.error) for o in sink.wait()] == [TaskCancelled] * 3
    assert all(is_gone(int(pid)) for pid in notes(path))


@pytest.mark.parametrize("fn", [jobs.doze, jobs.spin])
def test_terminate_kills(tmp_path, fn):
    """At once, also what is busy."""
    pool = WorkerPool(2, on="processes")
    path = str(tmp_path / "busy")
    sink = Sink().to(rx.of(path, path, path).pipe(pool.outcomes(fn)))
    eventually(lambda: len(notes(path)) == 2)
    begun = time.monotonic()
    pool.terminate()
    assert time.monotonic() - begun < 1
    assert [type(o.error) for o in sink.wait()] == [TaskCancelled] * 3
    assert all(is_gone(int(pid)) for pid in notes(path))


def test_terminate_while_a_process_starts(tmp_path):
    """A hanging initializer holds nothing up for long."""
    path = str(tmp_path / "dozing")
    pool = WorkerPool(1, on="processes", initializer=jobs.doze, initargs=(path,))
    future = pool.submit(jobs.double, 1)
    (pid,) = eventually(lambda: notes(path))
    begun = time.monotonic()
    pool.terminate()
    assert time.monotonic() - begun < 4
    assert future.cancelled() or isinstance(future.exception(0), TaskCancelled)
    eventually(lambda: is_gone(int(pid)))


def test_dispose_kills_what_runs(tmp_path):
    """The process of an unwanted item is ended and replaced; the others go on."""
    with WorkerPool(2, on="processes") as pool:
        gate, path = str(tmp_path / "gate"), str(tmp_path / "dozing")
        other = pool.submit(jobs.held, gate)
        sink = Sink().to(rx.of(path).pipe(pool.map(jobs.doze)))
        (pid,) = eventually(lambda: notes(path))
        begun = time.monotonic()
        sink.subscription.dispose()
        assert time.monotonic() - begun < 0.5
        eventually(lambda: is_gone(int(pid)))
        assert pool.submit(jobs.double, 2).result(WAIT) == 4
        Path(gate).touch()
        assert other.result(WAIT) != int(pid)
        balanced(pool)


def test_short_items_that_are_cancelled_keep_their_process():
    """They are given a moment to end: nobody waits for a new process."""
    with WorkerPool(1, on="processes") as pool:
        (before,) = {pool.submit(jobs.pid).result(WAIT)}
        for _ in range(20):
            sink = Sink()
            sink.to(rx.from_iterable([0.001] * 500).pipe(pool.map(jobs.nap)))
            eventually(lambda sink=sink: len(sink.values) > 3)
            sink.subscription.dispose()
        assert pool.submit(jobs.pid).result(WAIT) == before
        balanced(pool)


def test_a_timeout_kills(tmp_path):
    """`TaskTimeout` when the time is over; what waits behind is done by another process."""
    with WorkerPool(1, on="processes") as pool:
        pool.submit(jobs.double, 1).result(WAIT)
        path = str(tmp_path / "dozing")
        begun = time.monotonic()
        hung = outcome(pool, jobs.doze, path, timeout=0.3)
        assert 0.3 <= time.monotonic() - begun < 1
        assert isinstance(hung.error, TaskTimeout)
        assert 0.3 <= hung.took < 0.6
        assert hung.attempts == 1
        eventually(lambda: is_gone(int(notes(path)[0])))
        assert pool.submit(jobs.double, 1).result(WAIT) == 2
        balanced(pool)


def test_a_timeout_counts_from_the_start(tmp_path):
    """Not from acceptance, and not from when the item came to the worker."""
    with WorkerPool(1, on="processes") as pool:
        found = outcomes(pool, jobs.nap, [0.1] * 8, timeout=0.4)
        assert all(isinstance(o, Success) for o in found)
        mixed = [0.0] * 200 + [0.15] * 4 + [0.0] * 200
        found = outcomes(pool, jobs.nap, mixed, timeout=0.4)
        assert all(isinstance(o, Success) for o in found)


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
def test_limits_that_are_met_at_the_last_moment(limit):
    """Items that end just when their time is over harm no other."""
    with WorkerPool(2, on="processes") as pool:
        naps = [0.02 + n % 9 * 0.001 if n % 5 == 0 else 0.0 for n in range(300)]
        pids_of_both(pool)
        bound = 0.024 if limit == "timeout" else 30.0
        found = outcomes(pool, jobs.nap, naps, **{limit: bound})
        assert len(found) == 300
        for o in found:
            if isinstance(o, Failure):
                assert isinstance(o.error, TaskTimeout), o
        balanced(pool)


def test_a_deadline(tmp_path):
    """It ends what runs and what waits."""
    with WorkerPool(1, on="processes") as pool:
        path = str(tmp_path / "dozing")
        found = outcomes(pool, jobs.doze, [path] * 3, deadline=0.3)
        assert {type(o.error).__name__ for o in found} == {"DeadlineExceeded"}
        assert [o.attempts for o in found] == [1, 0, 0]
        assert pool.submit(jobs.double, 1).result(WAIT) == 2
