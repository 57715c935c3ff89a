"""Programs that tasks start: they end with their worker, and with the parent."""

import os
import signal
import subprocess
from contextlib import suppress
from types import SimpleNamespace

import pytest

from rxpool import WorkerPool
from rxpool.backends.processes import _manners
from rxpool.backends.processes._process import WorkerProcess
from rxpool.errors import InvalidArgument, InvalidArgumentType
from tests.ends.programs import Program, run
from tests.ends.worker_programs import HOLDS, noted, program
from tests.processes import alive
from tests.waiting import eventually

# -- programs that tasks start -----------------------------------------------------------

STARTS = """
    #: a program that has started another one
    COMMAND = "sleep 60 & echo $! >> programs; echo $$ >> programs; wait"

    kept = []


    def start(item):
        kept.append(subprocess.Popen(["sh", "-c", COMMAND]))
        until(lambda: len(notes("programs")) == 2)
        return os.getpid()


    def stay(item):
        start(item)
        note("started")
        time.sleep(60)


    def crash(item):
        start(item)
        os.kill(os.getpid(), signal.SIGSEGV)
"""


@pytest.fixture
def programs(tmp_path):
    """Ends the programs that tasks started."""
    yield
    for pid in noted(tmp_path, "programs"):
        with suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


@pytest.mark.parametrize(
    ("way", "groups"),
    [
        *((way, True) for way in ("timeout", "terminate", "dispose", "error", "crash")),
        *((way, False) for way in ("timeout", "crash")),
    ],
)
def test_programs_end_with_their_worker(tmp_path, programs, way, groups):
    """When that is killed or dies, all of its process group do; that can be turned off."""
    text = """
        if __name__ == "__main__":
            way, groups = sys.argv[1:]
            try:
                with WorkerPool(1, on="processes", process_groups=groups == "True") as pool:
                    limit = 0.5 if way == "timeout" else None
                    errors, ended = [], threading.Event()
                    work = crash if way == "crash" else stay
                    flow = rx.of(1).pipe(pool.outcomes(work, timeout=limit)).subscribe(
                        lambda outcome: errors.append(type(outcome.error).__name__),
                        None,
                        ended.set,
                    )
                    if work is stay:
                        until(notes)
                    if way == "terminate":
                        pool.terminate()
                    if way == "dispose":
                        flow.dispose()
                    if way == "error":
                        raise ValueError
                    if way != "dispose":
                        ended.wait()
            except ValueError:
                pass
            print(errors)
            pids = [int(pid) for pid in notes("programs")]
            if groups == "True":
                until(lambda: all(map(is_gone, pids)))
            print([psutil.pid_exists(pid) and not is_gone(pid) for pid in pids])
            for pid in pids:
                if groups != "True":
                    os.kill(pid, signal.SIGKILL)
                    until(lambda: is_gone(pid))
    """
    ended = run(tmp_path, program(STARTS, text), way, str(groups))
    error = {
        "timeout": ["TaskTimeout"],
        "terminate": ["TaskCancelled"],
        "dispose": [],
        "error": ["TaskCancelled"],
        "crash": ["WorkerCrashed"],
    }
    assert ended.lines == [str(error[way]), str([not groups] * 2)]
    assert (ended.code, ended.left) == (0, ())


def test_programs_that_are_left_running(tmp_path, programs):
    """A worker that ends as it should leaves them alone."""
    text = """
        if __name__ == "__main__":
            for way in ("close", "recycled", "resize"):
                most = 1 if way == "recycled" else None
                with WorkerPool(2, on="processes", max_tasks_per_worker=most) as pool:
                    worker = pool.submit(start, 0).result()
                    if way == "resize":
                        rx.of(-1, -2).pipe(pool.map(abs)).run()
                        pool.resize(1)
                    if way != "close":
                        pool.submit(abs, -1).result()
                until(lambda: is_gone(worker))
                pids = [int(pid) for pid in notes("programs")]
                print(way, list(map(is_gone, pids)))
                for pid in pids:
                    os.kill(pid, signal.SIGKILL)
                until(lambda: all(map(is_gone, pids)))
                os.unlink("programs")
    """
    ended = run(tmp_path, program(STARTS, text))
    assert ended.lines == [f"{way} [False, False]" for way in ("close", "recycled", "resize")]
    assert (ended.code, ended.left) == (0, ())


@pytest.mark.parametrize(
    ("number", "work"),
    [(signal.SIGKILL, "stay"), (signal.SIGKILL, "start"), (signal.SIGTERM, "stay")],
)
def test_programs_end_with_the_parent(tmp_path, programs, number, work):
    """If the program dies, nobody is left: not its workers, nor what they have started."""
    text = """
        if __name__ == "__main__":
            with WorkerPool(2, on="processes") as pool:
                future = pool.submit({"stay": stay, "start": start}[sys.argv[1]], 0)
                pool.submit(abs, -1).result()
                until(notes if sys.argv[1] == "stay" else future.done)
                print("ready", flush=True)
                time.sleep(60)
    """
    with Program(tmp_path, program(STARTS, text), work) as it:
        it.wait_for("ready")
        it.signal(number)
        ended = it.ended()
    assert (ended.code, ended.err, ended.left) == (-number, "", ())
    assert not any(alive(int(pid)) for pid in noted(tmp_path, "programs"))


def test_workers_end_with_their_parent_though_others_hold_its_connections(tmp_path, holders):
    """What the parent has forked, in a library in C perhaps, does not keep them."""
    text = """
        def work(item):
            note(os.getpid())
            time.sleep(60)


        if __name__ == "__main__":
            with WorkerPool(2, on="processes") as pool:
                rx.of(1, 2).pipe(pool.map(work)).subscribe()
                until(lambda: len(notes()) == 2)
                hold()
                os.kill(os.getpid(), signal.SIGKILL)
    """
    with Program(tmp_path, program(HOLDS, text)) as it:
        (holder,) = eventually(lambda: noted(tmp_path, "holders"))
        eventually(lambda: not any(alive(int(pid)) for pid in noted(tmp_path)))
        os.kill(int(holder), signal.SIGKILL)
        ended = it.ended()
    assert (ended.code, ended.err, ended.left) == (-signal.SIGKILL, "", ())


def test_a_parent_that_has_gone_already(monkeypatch):
    """The worker had not begun to watch it; others hold what would tell."""
    sentinel, alive = os.pipe()

    def open_pidfd(pid):
        raise ProcessLookupError

    def end(leads_group):
        raise SystemExit(leads_group)

    parent = SimpleNamespace(pid=1, sentinel=sentinel)
    monkeypatch.setattr(_manners, "parent_process", lambda: parent)
    monkeypatch.setattr(_manners, "open_pidfd", open_pidfd)
    monkeypatch.setattr(_manners, "end_with_parent", end)
    with pytest.raises(SystemExit):
        _manners.die_with_parent(True)
    os.close(sentinel)
    os.close(alive)


# -- what goes wrong for one item ------------------------------------------------------------


def test_a_group_whose_number_is_anothers():
    """A process that was reaped has none any more, if there is one of its number."""
    other = subprocess.Popen(["sleep", "60"], start_new_session=True)
    sentinel, alive = os.pipe()
    os.close(alive)  # it has ended
    gone = WorkerProcess(SimpleNamespace(pid=other.pid, name="", sentinel=sentinel), True)
    try:
        os.close(gone._pidfd)
        gone._pidfd = None
        gone.end_group()
        with pytest.raises(subprocess.TimeoutExpired):
            other.wait(0.1)
    finally:
        other.kill()
        other.wait()
        os.close(sentinel)


def test_process_groups_is_checked():
    """It is True or False, and for processes only."""
    with pytest.raises(
        InvalidArgumentType, match="process_groups must be True or False, got 1"
    ):
        WorkerPool(1, on="processes", process_groups=1)
    with pytest.raises(InvalidArgument, match="process_groups needs on='processes'"):
        WorkerPool(1, process_groups=True)
