"""Fixtures for tests of how things end."""

import multiprocessing
import multiprocessing.connection
import os
import signal
from contextlib import suppress

import psutil
import pytest

from rxpool import WorkerPool
from rxpool.backends.processes import _starts
from tests.conformance.lanes import KINDS, LANES, REAL
from tests.ends import starting_jobs as jobs
from tests.ends.starts import descriptors, fork_server_pid, stopped
from tests.ends.worker_programs import noted
from tests.processes import is_gone
from tests.waiting import WAIT, eventually


@pytest.fixture(scope="module")
def fork_server():
    """Started before the tests: what they measure is without its descriptors."""
    with WorkerPool(1, on="processes") as pool:
        assert pool.submit(jobs.double, 1).result(WAIT) == 2


@pytest.fixture
def hasty(monkeypatch):
    """Starts are tried again after a moment."""
    for name in ("_BACK_OFF", "_REST", "_LONGEST"):
        monkeypatch.setattr(_starts, name, 0.005)


@pytest.fixture
def no_leak():
    """As many descriptors and mappings afterwards as before."""
    before = descriptors()
    yield before
    eventually(lambda: descriptors() <= before)
    assert all("rxpool" not in each.path for each in psutil.Process().memory_maps())


@pytest.fixture
def fork_server_killed():
    """Kills it when called, and has `multiprocessing` notice."""

    def kill():
        victim = fork_server_pid()
        os.kill(victim, signal.SIGKILL)
        eventually(lambda: is_gone(victim))
        multiprocessing.active_children()  # asks for everybody's exit code

    return kill


@pytest.fixture(params=["initializer", "fork server"])
def hanging(request, tmp_path, no_leak):
    """Makes a pool whose starts hang: its initializer, or the fork server is stopped."""
    pools, gate = [], tmp_path / "hang"
    server = fork_server_pid()

    def make():
        gate.touch()
        if request.param == "fork server":
            stopped(server)
        options = {"initializer": jobs.hang, "initargs": (str(tmp_path),)}
        pools.append(WorkerPool(1, on="processes", **options))
        return pools[-1]

    def answer():
        with suppress(ProcessLookupError):
            os.kill(server, signal.SIGCONT)

    def go_on():
        gate.unlink(missing_ok=True)
        answer()

    make.go_on, make.answer = go_on, answer
    yield make
    go_on()
    for pool in pools:
        pool.terminate()
    eventually(lambda: all(map(is_gone, jobs.noted(tmp_path))))


@pytest.fixture
def holders(tmp_path):
    """Ends what programs started out of anybody's reach."""
    yield
    for pid in noted(tmp_path, "holders"):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.fixture(params=LANES)
def lane(request, tmp_path):
    """A place where work runs."""
    lane = KINDS[request.param](request.param, tmp_path)
    yield lane
    lane.end()


@pytest.fixture(params=REAL)
def real(request, tmp_path):
    """The same, where time passes by itself."""
    lane = KINDS[request.param](request.param, tmp_path)
    yield lane
    lane.end()
