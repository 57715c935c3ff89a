"""The fork server is killed, or takes too long."""

import errno
import os
import signal

import pytest

from rxpool import WorkerPool
from rxpool.backends.processes import _launch
from tests.ends import starting_jobs as jobs
from tests.ends.programs import run
from tests.ends.starts import Refused, fork_server_pid, pids_of_both, works
from tests.processes import is_gone
from tests.waiting import WAIT, eventually

pytestmark = pytest.mark.usefixtures("fork_server")


@pytest.fixture(params=["with", "without"])
def descriptor_of_process(request, monkeypatch):
    """The system has descriptors of processes, or not."""
    if request.param == "without":
        missing = OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))
        refused = Refused(os.pidfd_open, missing)
        refused.left = 10**9
        monkeypatch.setattr(os, "pidfd_open", refused)


def test_the_fork_server_is_killed(descriptor_of_process, fork_server_killed, no_leak):
    """Processes are started by a new one; those of the old one work on, and end."""
    with WorkerPool(2, on="processes") as pool:
        before = pids_of_both(pool)
        for _ in range(3):
            fork_server_killed()
            works(pool)
            assert set(pool._engine.backend.pids()) == before
        victim = before.pop()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: victim not in pool._engine.backend.pids())
        assert before <= pids_of_both(pool)
    assert all(map(is_gone, before))


def test_the_fork_server_is_killed_and_forgotten(tmp_path):
    """Also in a program that waits for all its children itself."""
    text = """
        import os, signal
        from multiprocessing import forkserver
        from rxpool import WorkerPool

        def reap(*_):
            try:
                while os.waitpid(-1, os.WNOHANG)[0]:
                    pass
            except ChildProcessError:
                pass

        def is_there(pid):
            try:
                os.kill(pid, 0)
            except ProcessLookupError:
                return False
            return True

        if __name__ == "__main__":
            import logging
            logging.disable(logging.WARNING)
            signal.signal(signal.SIGCHLD, reap)
            with WorkerPool(1, on="processes") as pool:
                for _ in range(3):
                    worker = pool.submit(os.getpid).result(20)
                    victim = forkserver._forkserver._forkserver_pid
                    os.kill(victim, signal.SIGKILL)
                    while is_there(victim):
                        signal.sigtimedwait([], 0.001)
                    os.kill(worker, signal.SIGKILL)
                    while worker in pool._engine.backend.pids():
                        signal.sigtimedwait([], 0.001)
                    print(pool.submit(abs, -2).result(20))
    """
    ended = run(tmp_path, text)
    assert ended.lines == ["2"] * 3
    assert (ended.code, ended.err, ended.left) == (0, "", ())


@pytest.mark.parametrize("hanging", ["fork server"], indirect=True)
def test_the_fork_server_takes_too_long(hanging, monkeypatch, tmp_path):
    """It is killed, and the start succeeds with a new one."""
    monkeypatch.setattr(_launch, "_ANSWER", 8.0)
    pool = hanging()
    server = fork_server_pid()
    (tmp_path / "hang").unlink()
    assert pool.submit(jobs.double, 1).result(WAIT) == 2
    assert is_gone(server)
    assert fork_server_pid() != server
