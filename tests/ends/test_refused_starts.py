"""Starts of worker processes, and of threads, that the system refuses."""

import errno
import mmap
import multiprocessing
import multiprocessing.connection
import os
import signal
import threading
import time
from multiprocessing import forkserver

import pytest
import reactivex as rx

from rxpool import TaskCancelled, WorkerPool
from rxpool.backends.processes import _launch, _serving_threads
from rxpool.backends.processes._supervisor import Supervisor
from rxpool.errors import DeadlineExceeded, WorkerStartError, WouldBlock
from rxpool.timing import TimerScheduler
from tests.ends import starting_jobs as jobs
from tests.ends.programs import run
from tests.ends.starts import NO_ROOM, NO_THREAD, Refused, collect, pids_of_both, works
from tests.waiting import WAIT, eventually

pytestmark = pytest.mark.usefixtures("fork_server")


NO_MEMORY = OSError(errno.ENOMEM, os.strerror(errno.ENOMEM))
TOO_LARGE = OSError(errno.EFBIG, os.strerror(errno.EFBIG))
NO_SERVER = ConnectionRefusedError(errno.ECONNREFUSED, os.strerror(errno.ECONNREFUSED))

REFUSALS = {
    "no descriptor for memory": (os, "memfd_create", NO_ROOM),
    "file size limit": (os, "ftruncate", TOO_LARGE),
    "no addresses": (mmap, "mmap", NO_MEMORY),
    "no connection": (multiprocessing.connection, "Pipe", NO_ROOM),
    "too few descriptors": (os, "dup", NO_ROOM),
    "fork server": (forkserver, "connect_to_new_process", NO_SERVER),
    "fork server dies meanwhile": (forkserver, "read_signed", EOFError("unexpected EOF")),
    "not to be watched": (os, "pidfd_open", NO_ROOM),
    "no memory": (_launch, "Settings", MemoryError("no memory")),
    "no thread": (threading.Thread, "start", NO_THREAD),
}


@pytest.fixture
def refusal(request, monkeypatch):
    """One of the ways in which a start can be refused."""
    place, name, error = REFUSALS[request.param]
    refused = Refused(getattr(place, name), error)
    if name == "start":
        refused.only = lambda thread: thread.name.startswith("crew")
        monkeypatch.setattr(place, name, lambda thread: refused(thread))
    else:
        refused.only = lambda *_: threading.current_thread().name.startswith("crew")
        monkeypatch.setattr(place, name, refused)
    return refused


@pytest.fixture
def refusal_of_memory(monkeypatch):
    """There is no memory for workers to share."""
    refused = Refused(os.memfd_create, NO_ROOM)
    monkeypatch.setattr(os, "memfd_create", refused)
    return refused


every_refusal = pytest.mark.parametrize("refusal", REFUSALS, indirect=True)


@every_refusal
def test_a_start_that_is_refused_for_a_while(refusal, hasty, no_leak):
    """It is tried again; no item knows."""
    with WorkerPool(2, on="processes", name="crew") as pool:
        refusal.left = 4
        assert pool.submit(jobs.double, 4).result(WAIT) == 8
        assert refusal.made == 4
        works(pool)


@every_refusal
def test_starts_that_are_refused(refusal, hasty, no_leak):
    """Those who were tried for fail with the reason; once it has gone the pool works."""
    with WorkerPool(1, on="processes", name="crew") as pool:
        refusal.left = 10**9
        for _ in range(2):
            error = pool.submit(jobs.double, 4).exception(WAIT)
            assert isinstance(error, WorkerStartError)
            assert str(error) == f"workers do not start: {refusal.error}"
            assert repr(error.__cause__) == repr(refusal.error)
        refusal.left = 0
        works(pool)


@every_refusal
def test_an_end_while_starts_are_refused(refusal, no_leak):
    """`terminate` cancels what waits, and returns."""
    pool = WorkerPool(1, on="processes", name="crew")
    refusal.left = 10**9
    futures = [pool.submit(jobs.double, n) for n in range(5)]
    eventually(lambda: refusal.made)
    pool.terminate()
    for future in futures:
        assert future.cancelled() or isinstance(future.exception(0), TaskCancelled)


@every_refusal
def test_a_deadline_while_starts_are_refused(refusal, no_leak):
    """Items are not waited for any longer."""
    with WorkerPool(1, on="processes", name="crew") as pool:
        refusal.left = 10**9
        found = collect(pool, jobs.double, range(5), deadline=0.05)
        assert [type(o.error) for o in found] == [DeadlineExceeded] * 5
        refusal.left = 0
        works(pool)


def test_a_dead_worker_that_is_refused_a_successor(refusal_of_memory, hasty):
    """The other does its work, and attempts go on until there is one."""
    refusal = refusal_of_memory
    with WorkerPool(2, on="processes", name="crew") as pool:
        pids = pids_of_both(pool)
        refusal.left = 30
        os.kill(pids.pop(), signal.SIGKILL)
        while refusal.left:  # attempts go on only as long as somebody waits
            works(pool, 50)
        eventually(lambda: works(pool, 50) and len(pool._engine.backend.processes) == 2)


def test_no_thread_at_all(monkeypatch, hasty):
    """Not even to try again later: all that waits fails, and what comes once there are some
    is done.
    """
    refused = Refused(lambda call, *arguments: call(*arguments), NO_THREAD)
    with WorkerPool(2, on="processes") as pool:
        for kind, name in ((threading.Thread, "start"), (TimerScheduler, "at")):
            method = getattr(kind, name)
            monkeypatch.setattr(kind, name, lambda *those, m=method: refused(m, *those))
        found, ended = [], threading.Event()
        with monkeypatch.context() as patch:  # so that there are items behind the first ones
            patch.setattr(Supervisor, "spawn", lambda _: None)
            rx.from_iterable(range(5000)).pipe(
                pool.outcomes(jobs.double, max_pending=5000)
            ).subscribe(found.append, print, ended.set)
        assert not found
        refused.left = 10**9
        pool._engine.backend._supervisor._spawn_again()
        assert ended.wait(WAIT)
        assert {str(o.error) for o in found} == {"workers do not start: can't start new thread"}
        assert len(found) == 5000
        refused.left = 0
        works(pool)


@pytest.mark.parametrize("came_up", [True, False])
@pytest.mark.parametrize("goes_on", [True, False])
def test_ctrl_c_while_a_thread_is_started(monkeypatch, no_leak, came_up, goes_on):
    """The thread is there or not: its work is done, and the pool ends."""
    start, interrupted = threading.Thread.start, []
    monkeypatch.setattr(_serving_threads, "PARTING", 0.05)

    def started(thread, *_):
        if thread.name.startswith("crew") and not interrupted:
            interrupted.append(thread)
            if came_up:
                start(thread)
            raise KeyboardInterrupt
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", started)
    pool = WorkerPool(1, on="processes", name="crew")
    with pytest.raises(KeyboardInterrupt):
        pool.submit(jobs.double, 1)
    if goes_on:
        assert pool.close(WAIT) is True
        assert pool.report().succeeded == 1
    else:
        pool.terminate()
        assert pool.report().in_flight == 0


def test_a_thread_that_is_only_just_coming_up(monkeypatch, no_leak):
    """An end waits for it."""
    pool = WorkerPool(1, on="processes")
    pool.submit(jobs.double, 1).result(WAIT)
    (owner,) = [worker.owner for worker in pool._engine.backend._roster.workers]
    join, left = owner.join, [3]

    def not_yet(timeout=None):
        if left[0]:
            left[0] -= 1
            raise RuntimeError("cannot join thread before it is started")
        join(timeout)

    monkeypatch.setattr(owner, "join", not_yet)
    pool.terminate()
    assert not left[0]
    assert not owner.is_alive()


def test_a_subscriber_waits_where_no_thread_can_be_started():
    """It hears that it cannot, and the worker goes on."""
    refused = Refused(threading.Thread.start, NO_THREAD)
    heard = []
    with WorkerPool(1, on="processes") as pool, pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading.Thread, "start", lambda thread: refused(thread))

        def waiting(value):
            future = pool.submit(jobs.double, value)
            refused.left = 10**9
            try:
                heard.append(future.result(0))
            except Exception as error:
                heard.append(error)
            finally:
                refused.left = 0

        ended = threading.Event()
        rx.of(1, 2, 3).pipe(pool.map(jobs.double)).subscribe(waiting, print, ended.set)
        assert ended.wait(WAIT)
    assert [type(each) for each in heard] == [WouldBlock] * 3


def test_a_timer_set_by_a_timer_where_no_thread_can_be_started(monkeypatch):
    """The thread that runs the first one sees to it."""
    refused = Refused(threading.Thread.start, NO_THREAD)
    monkeypatch.setattr(threading.Thread, "start", lambda thread: refused(thread))
    scheduler, rang = TimerScheduler(), threading.Event()

    def first():
        refused.left = 10**9
        scheduler.at(time.monotonic() + 0.01, rang.set)

    scheduler.at(time.monotonic(), first)
    assert rang.wait(WAIT)
    refused.left = 0
    eventually(lambda: not scheduler._threads)
    refused.left = 10**9
    with pytest.raises(RuntimeError, match="start new thread"):
        scheduler.at(time.monotonic(), rang.clear)
    assert scheduler.pending == 0


@pytest.mark.parametrize("limit", ["RLIMIT_NOFILE", "RLIMIT_FSIZE"])
def test_a_limit_of_the_system(tmp_path, limit):
    """Real ones: for a while nobody notices, else items fail; nothing is left open."""
    text = f"""
        import os, resource, threading
        from rxpool import WorkerPool
        from rxpool.backends.processes import _starts
        from rxpool.errors import WorkerStartError

        LIMIT = resource.{limit}
        before = resource.getrlimit(LIMIT)

        def tighten():
            low = int(os.listdir("/proc/self/fd")[-1]) + 1 if "NOFILE" in "{limit}" else 2**20
            resource.setrlimit(LIMIT, (low, before[1]))

        def loosen():
            resource.setrlimit(LIMIT, before)

        if __name__ == "__main__":
            import logging
            logging.disable(logging.WARNING)
            with WorkerPool(1, on="processes") as pool:
                pool.submit(abs, -1).result(20)
            open_before = len(os.listdir("/proc/self/fd"))
            with WorkerPool(2, on="processes") as pool:
                tighten()
                threading.Timer(0.3, loosen).start()
                print(pool.submit(abs, -1).result(20))
            with WorkerPool(2, on="processes") as pool:
                _starts._BACK_OFF = 0.005
                tighten()
                error = pool.submit(abs, -1).exception(20)
                loosen()
                print(type(error).__name__, type(error.__cause__).__name__)
                print(pool.submit(abs, -1).result(20))
            print(len(os.listdir("/proc/self/fd")) - open_before)
    """
    ended = run(tmp_path, text)
    assert ended.lines == ["1", "WorkerStartError OSError", "1", "0"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())


def test_any_number_of_descriptors(tmp_path):
    """However many there are left, a start succeeds or leaves none behind."""
    text = """
        import os, resource
        from rxpool.backends.processes._launch import Starter
        from rxpool.backends.processes._starts import Failure
        from rxpool.timing import Clock, TimerScheduler

        def start():
            clock = Clock(TimerScheduler.singleton())
            started = Starter(clock, "x", None, (), None, None, True).start(1)
            if isinstance(started, Failure):
                return started.error
            process, conn, block = started
            conn.close()
            process.kill()
            assert process.ended(20)
            process.close()
            block.release()

        def count():
            return len(os.listdir("/proc/self/fd"))

        if __name__ == "__main__":
            assert start() is None
            soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
            before, results = count(), []
            for spare in range(30):
                resource.setrlimit(resource.RLIMIT_NOFILE, (before + spare, hard))
                results.append(start())
                resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
                assert count() == before, (spare, count(), before)
            print(results[0], results[-1])
    """
    ended = run(tmp_path, text)
    assert ended.lines == ["[Errno 24] Too many open files None"]
    assert (ended.code, ended.err, ended.left) == (0, "", ())
