"""Workers that hang, and starts of workers that do."""

import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
from types import SimpleNamespace

import pytest

from rxpool import TaskCancelled, WorkerPool
from rxpool.backends.processes import _backend, _channel, _launch, _process, _supervisor
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._shared_block import SharedBlock
from rxpool.errors import DeadlineExceeded, TaskTimeout
from rxpool.timing import TimerScheduler
from tests.ends import starting_jobs as jobs
from tests.ends.programs import run
from tests.ends.starts import (
    NO_THREAD,
    Hung,
    Refused,
    at_work,
    collect,
    fork_server_pid,
    pids_of_both,
    stopped,
    works,
)
from tests.processes import is_gone
from tests.waiting import WAIT, eventually

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture(params=["fork server killed", "stopped while idle", "stopped at work"])
def wedged(request, fork_server_killed, no_leak, monkeypatch):
    """Makes a pool whose worker cannot be talked to, and an item for it; the process too."""
    monkeypatch.setattr(_backend, "_UNHEEDED", 0.3)
    pools = []

    def make(**options):
        pool = WorkerPool(1, on="processes")
        pools.append(pool)
        pid = pool.submit(jobs.nap, 0).result(WAIT)
        eventually(lambda: pool._engine.backend._roster.idle)
        if request.param == "stopped while idle":
            stopped(pid)
        hung = Hung(pool, **options)
        if request.param != "stopped while idle":
            at_work(pool)
        if request.param == "stopped at work":
            stopped(pid)
        if request.param == "fork server killed":
            fork_server_killed()
        return pool, pid, hung

    yield make
    for pool in pools:
        pool.terminate()


@pytest.mark.parametrize(
    ("options", "kind"),
    [({"timeout": 0.1}, TaskTimeout), ({"deadline": 0.2}, DeadlineExceeded)],
    ids=["timeout", "deadline"],
)
def test_limits_hold_for_a_worker_that_hangs(wedged, options, kind):
    """It is killed and replaced; the item has its error."""
    pool, pid, hung = wedged(**options)
    outcome = hung.outcome()
    assert isinstance(outcome.error, kind)
    eventually(lambda: is_gone(pid))
    hung.subscription.dispose()
    works(pool)
    assert pool.close(WAIT) is True


def test_a_worker_that_hangs_is_disposed_of(wedged):
    """When nobody wants its item any more."""
    pool, pid, hung = wedged()
    hung.subscription.dispose()
    eventually(lambda: is_gone(pid))
    works(pool)
    assert pool.close(WAIT) is True


@pytest.mark.parametrize("busy", [False, True])
def test_a_worker_is_disposed_of_where_no_thread_can_be_started(monkeypatch, no_leak, busy):
    """Then it is not waited for at all."""
    refused = Refused(TimerScheduler.at, NO_THREAD)
    with WorkerPool(1, on="processes") as pool:
        pid = pool.submit(jobs.nap, 0).result(WAIT)
        eventually(lambda: pool._engine.backend._roster.idle)
        if not busy:
            stopped(pid)
        hung = Hung(pool)
        if busy:
            at_work(pool)
        with monkeypatch.context() as patch:
            patch.setattr(TimerScheduler, "at", lambda *those: refused(*those))
            refused.left = 10**9
            hung.subscription.dispose()
            eventually(lambda: is_gone(pid))
        works(pool)


@pytest.mark.parametrize("how", ["terminate", "close"])
def test_a_worker_that_hangs_does_not_outlive_its_pool(wedged, how):
    """Nor does it keep it from ending."""
    pool, pid, hung = wedged()
    if how == "close":
        assert pool.close(0.05) is False
    else:
        pool.terminate()
    assert is_gone(pid)
    assert hung.ended.wait(WAIT)
    assert isinstance(hung.outcome().error, TaskCancelled)


def test_idle_workers_that_are_stopped_keep_no_pool_open(monkeypatch, no_leak):
    """`close` kills them."""
    monkeypatch.setattr(_supervisor, "_LEAVING", 0.2)
    pool = WorkerPool(2, on="processes")
    pids = pids_of_both(pool)
    for pid in pids:
        stopped(pid)
    assert pool.close() is True
    assert all(map(is_gone, pids))


def test_a_worker_that_has_had_enough_and_is_stopped(monkeypatch):
    """It is not waited for for ever, though nothing comes from it, not even its end."""
    monkeypatch.setattr(_channel, "_LEAVING", 0.01)
    ours, theirs = multiprocessing.Pipe()
    with ours, theirs:
        block = SharedBlock()
        channel = WorkerChannel(None, ours, block)
        channel.leaving = True
        assert channel.serve(print, SimpleNamespace(owner=threading.current_thread())) is True
        assert not ours.closed
        block.release()


def test_a_deadline_while_a_start_hangs(hanging):
    """The item fails in time; when the start goes on the pool works."""
    pool = hanging()
    found = collect(pool, jobs.double, range(3), deadline=0.1)
    assert [type(o.error) for o in found] == [DeadlineExceeded] * 3
    hanging.go_on()
    works(pool)


@pytest.mark.parametrize("how", ["terminate", "close"])
def test_an_end_while_a_start_hangs(hanging, how, tmp_path):
    """It returns, and the process is killed as soon as it is there."""
    pool = hanging()
    future = pool.submit(jobs.double, 1)
    eventually(lambda: pool._engine.backend._roster.workers[0].starting or jobs.noted(tmp_path))
    if how == "close":
        assert pool.close(0.05) is False
    else:
        pool.terminate()
    assert future.cancelled() or isinstance(future.exception(0), TaskCancelled)
    hanging.answer()
    eventually(lambda: not pool._engine.backend._roster.workers)


@pytest.mark.parametrize("hanging", ["initializer"], indirect=True)
def test_a_start_takes_too_long(hanging, hasty, monkeypatch):
    """It is ended, and tried again; then the item fails.  The pool recovers."""
    monkeypatch.setattr(_launch, "_READY", 0.5)
    pool = hanging()
    future = pool.submit(jobs.double, 1)
    error = future.exception(WAIT)
    assert str(error) == "workers do not start: the process was not ready in 0.5 s"
    hanging.go_on()
    monkeypatch.setattr(_launch, "_READY", 60.0)
    works(pool)


def test_a_start_that_hangs_holds_up_no_other_pool(monkeypatch, no_leak):
    """Its processes are ended, though nobody tells their exit codes."""
    monkeypatch.setattr(_process, "_TURN", 0.05)
    monkeypatch.setattr(_process, "PARTING", 0.05)
    server = fork_server_pid()
    with WorkerPool(1, on="processes") as pool, WorkerPool(1, on="processes") as other:
        faults = []
        pool.faults.subscribe(faults.append)
        hung = Hung(pool, timeout=0.3)
        at_work(pool)
        try:
            stopped(server)
            future = other.submit(jobs.double, 1)
            eventually(lambda: other._engine.backend._roster.workers[0].starting)
            assert isinstance(hung.outcome().error, TaskTimeout)
        finally:
            os.kill(server, signal.SIGCONT)
        assert future.result(WAIT) == 2
        hung.subscription.dispose()
        works(pool)
        assert not faults


ENDS = """
    import os, signal, time
    import multiprocessing
    from multiprocessing import forkserver
    from rxpool import WorkerPool
    from reactivex import Subject

    def hang():
        time.sleep(1000)

    def nap(seconds):
        time.sleep(seconds)
        return os.getpid()

    def wedge(pool):
        pid = pool.submit(nap, 0).result(20)
        {wedge}

    if __name__ == "__main__":
        pool = WorkerPool(1, on="processes", {options})
        {first}
        source = Subject()
        source.pipe(pool.outcomes(nap, {limit})).subscribe(
            lambda o: print(type(o.error).__name__), print, lambda: print("completed")
        )
        source.on_next(1000)
        {last}
"""

HANGS = {
    "initializer": {"options": "initializer=hang", "limit": "deadline=0.2"},
    "stopped": {"wedge": "os.kill(pid, signal.SIGSTOP)", "first": "wedge(pool)"},
    "fork server killed": {
        "wedge": "os.kill(forkserver._forkserver._forkserver_pid, signal.SIGKILL)"
        "; time.sleep(0.1); multiprocessing.active_children()",
        "first": "wedge(pool)",
    },
}


@pytest.mark.parametrize("last", ["", "1 / 0"])
@pytest.mark.parametrize("hang", HANGS)
def test_the_program_ends_while_a_worker_hangs(tmp_path, hang, last):
    """In bounded time, and nothing is left."""
    values = {"options": "", "wedge": "", "first": "", "limit": "timeout=0.2", "last": last}
    ended = run(tmp_path, ENDS.format(**{**values, **HANGS[hang]}))
    expected = "DeadlineExceeded" if hang == "initializer" else "TaskTimeout"
    assert ended.lines == [expected, "completed"]
    assert ended.left == ()
    if last == "1 / 0":
        assert ended.code == 1
        assert "ZeroDivisionError" in ended.err
    else:
        assert (ended.code, ended.err) == (0, "")
