"""Worker processes that die before they are ready."""

import os
import signal
import threading
from contextlib import suppress

import psutil
import pytest
import reactivex as rx
from reactivex import operators as ro

from rxpool import Failure, WorkerPool
from rxpool.backends.processes import _starts
from rxpool.backends.processes._assigner import Assigner
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._supervisor import Supervisor
from rxpool.errors import WorkerCrashed, WorkerStartError
from tests.ends import starting_jobs as jobs
from tests.ends.starts import Hung, at_work, collect, descriptors, works
from tests.waiting import WAIT, eventually

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture
def keeper(no_leak):
    """What is in this list is kept until after the look for leaks."""
    kept = []
    yield kept
    eventually(lambda: descriptors() <= no_leak)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSEGV])
def test_a_storm_of_kills(tmp_path, hasty, number):
    """Only those fail that were tried for; the thousands behind them are done later."""
    (tmp_path / "storm").touch()
    options = {"initializer": jobs.storm, "initargs": (str(tmp_path), number)}
    failures = []

    def end_of_storm(outcome):
        if isinstance(outcome, Failure):
            failures.append(outcome)
            (tmp_path / "storm").unlink(missing_ok=True)

    with WorkerPool(2, on="processes", **options) as pool:
        ended, values = threading.Event(), []
        rx.from_iterable(range(5000)).pipe(
            pool.outcomes(jobs.double, max_pending=5000),
            ro.do_action(end_of_storm),
        ).subscribe(values.append, lambda _: None, ended.set)
        assert ended.wait(WAIT)
        assert 1 <= len(failures) <= 3
        name = signal.Signals(number).name
        for failure in failures:
            assert (
                str(failure.error)
                == f"workers do not start: the process ended (killed by {name})"
            )
        assert len(values) == 5000
        assert len({outcome.item for outcome in values}) == 5000
        assert len(jobs.noted(tmp_path)) >= 6
        works(pool)


def test_a_storm_without_end(tmp_path, hasty, monkeypatch):
    """Everything that waits fails when the patience is at an end, however much that is."""
    monkeypatch.setattr(_starts, "_PATIENCE", 0.2)
    (tmp_path / "storm").touch()
    options = {"initializer": jobs.storm, "initargs": (str(tmp_path), signal.SIGKILL)}
    with WorkerPool(2, on="processes", **options) as pool:
        found = collect(pool, jobs.double, range(3000), max_pending=3000)
        assert [type(o.error) for o in found] == [WorkerStartError] * 3000
        assert len(jobs.noted(tmp_path)) < 1000
        (tmp_path / "storm").unlink()
        works(pool)


def test_a_process_that_ends_by_itself_before_it_is_ready(tmp_path, hasty):
    """That does not pass: all fail.  A child that has its descriptors keeps nobody waiting."""
    options = {"initializer": jobs.leave_with_child, "initargs": (str(tmp_path),)}
    with WorkerPool(1, on="processes", **options) as pool:
        found = collect(pool, jobs.double, range(100), max_pending=100)
    reason = "workers do not start: the process ended (exit code 7)"
    assert {str(o.error) for o in found} == {reason}
    assert len(found) == 100
    assert len(jobs.noted(tmp_path)) == 6
    for child in psutil.process_iter():
        with suppress(psutil.Error):
            if child.ppid() in jobs.noted(tmp_path):
                child.kill()


def test_an_initializer_that_cannot_be_sent(no_leak, keeper):
    """Who keeps the error keeps no descriptor and no memory of the start."""
    for _ in range(3):
        options = {"initializer": print, "initargs": (threading.Lock(),)}
        with WorkerPool(1, on="processes", **options) as pool:
            keeper.append(pool.submit(jobs.double, 1).exception(WAIT))
    assert {type(error) for error in keeper} == {WorkerStartError}
    assert all("cannot pickle" in str(error) for error in keeper)


def test_what_a_worker_left_makes_no_sense(monkeypatch, no_leak):
    """What it had fails, and the next one goes on."""

    def unreadable(*_):
        raise ZeroDivisionError

    with WorkerPool(1, on="processes") as pool:
        faults = []
        pool.faults.subscribe(faults.append)
        hung = Hung(pool)
        at_work(pool)
        with monkeypatch.context() as patch:
            patch.setattr(WorkerChannel, "recover_results", unreadable)
            os.kill(pool._engine.backend.pids()[0], signal.SIGKILL)
            assert isinstance(hung.outcome().error, WorkerCrashed)
        works(pool)
        assert [type(fault) for fault in faults] == [ZeroDivisionError]
        hung.subscription.dispose()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
@pytest.mark.parametrize(
    ("kind", "where"), [(Assigner, "go_on"), (Supervisor, "_start_process")]
)
def test_a_fault_of_ours(monkeypatch, kind, where):
    """Whatever goes wrong in the thread of a worker, nobody waits for it."""
    method, left = getattr(kind, where), ["once"]

    def faulty(owner, worker, *job):
        if left:
            left.clear()
            raise ZeroDivisionError
        return method(owner, worker, *job)

    monkeypatch.setattr(kind, where, faulty)
    with WorkerPool(1, on="processes") as pool:
        futures = [pool.submit(jobs.double, n) for n in range(10)]
        errors = [future.exception(WAIT) for future in futures]
        assert sum(error is not None for error in errors) <= 1
        assert all(error is None or isinstance(error, WorkerCrashed) for error in errors)
        works(pool)
