"""Ctrl-C in a program with a pool on processes, and the death of the program."""

import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
from pathlib import Path

import pytest

from tests.backends import process_jobs as jobs
from tests.backends.process_jobs import notes
from tests.processes import is_gone
from tests.waiting import WAIT, eventually

pytestmark = pytest.mark.usefixtures("fork_server")


ROOT = Path(__file__).resolve().parents[2]


def all_gone(processes):
    """Wait until none of them is left; they are given twice the time that is promised."""
    eventually(lambda: all(is_gone(process.pid) for process in processes), 4)


INTERRUPTED = """
    import sys, time
    import reactivex as rx
    from rxpool import WorkerPool
    from tests.backends import process_jobs as jobs

    def main():
        with WorkerPool(2, on="processes") as pool:
            pool.submit(jobs.double, 1).result()
            print("ready", flush=True)
            for _ in pool.imap(getattr(jobs, sys.argv[1]), forever(sys.argv[2])):
                pass

    def forever(item):
        item = float(item) if sys.argv[1] == "nap" else item
        while True:
            yield item

    main()
"""

WAITING = """
    import faulthandler, itertools, sys
    faulthandler.dump_traceback_later(15)
    import reactivex as rx
    from rxpool import WorkerPool
    from tests.backends import process_jobs as jobs

    with WorkerPool(2, on="processes") as pool:
        print("ready", flush=True)
        source = rx.from_iterable(itertools.repeat(sys.argv[2]))
        source.pipe(pool.map(getattr(jobs, sys.argv[1]))).run()
"""


class Program:
    """A program in a process group of its own."""

    def __init__(self, text, *args):
        self.process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(text), *map(str, args)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=ROOT,
            start_new_session=True,
        )
        self.pid = self.process.pid

    def is_ready(self):
        """Wait until it says so; all processes that it has started."""
        assert self.process.stdout.readline() == "ready\n"
        return self

    def family(self):
        """The processes that it has started."""
        return jobs.children_of(self.pid)

    def end(self):
        """Wait for the end; seconds that took, and what was said."""
        begun = time.monotonic()
        try:
            self.process.wait(WAIT)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(self.process.communicate()[1]) from None
        took = time.monotonic() - begun
        # Nobody of its family holds these open any more.
        out, err = self.process.communicate(timeout=WAIT)
        return took, out, err

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for process in self.family():
            process.kill()
        self.process.kill()
        self.process.communicate(timeout=WAIT)


@pytest.mark.parametrize("group", [False, True], ids=["process", "group"])
@pytest.mark.parametrize(
    ("text", "fn"), [(INTERRUPTED, "nap"), (INTERRUPTED, "doze"), (WAITING, "doze")]
)
def test_ctrl_c(tmp_path, text, fn, group):
    """The program ends at once, with one traceback and nobody left."""
    path = tmp_path / "pids"
    with Program(text, fn, 0.001 if fn == "nap" else path) as program:
        program.is_ready()
        if fn != "nap":
            eventually(lambda: len(notes(path)) == 2)
        family = eventually(lambda: len(found := program.family()) >= 4 and found)
        if group:
            os.killpg(program.pid, signal.SIGINT)
        else:
            os.kill(program.pid, signal.SIGINT)
        took, _, err = program.end()
        print(f"exit after {1000 * took:.0f} ms")
        assert took < 2  # 0.5 promised
        assert err.count("Traceback (most recent call last)") == 1, err
        assert err.rstrip().endswith("KeyboardInterrupt"), err
        assert "rxpool-watch" not in err
        assert program.process.returncode in (-signal.SIGINT, 1, 130)
        all_gone(family)


def test_ctrl_c_at_any_moment():
    """While workers start too there is one traceback, none of theirs, and nobody left.

    Catches a fork server that is started with Ctrl-C not blocked, or acts on it.
    """
    dice = random.Random(3)
    text = INTERRUPTED.replace("pool.submit(jobs.double, 1).result()", "")
    for _ in range(4):
        # Results go on coming: the interpreter can miss a signal at the very moment when its
        # main thread begins to wait, and sees to it when that wakes up.
        with Program(text, "nap", 0.001) as program:
            program.is_ready()
            threading.Event().wait(dice.uniform(0.0, 0.4))
            family = program.family()
            os.killpg(program.pid, signal.SIGINT)
            took, _, err = program.end()
            assert took < 10
            assert err.count("Traceback (most recent call last)") == 1, err
            assert "spawn" not in err, err
            assert "did not start" not in err, err
            all_gone(family)


@pytest.mark.parametrize("fn", ["doze", "spin"])
def test_kill_9_of_the_parent(tmp_path, fn):
    """All its workers are gone within two seconds, and what started them."""
    path = tmp_path / "pids"
    with Program(WAITING, fn, path) as program:
        program.is_ready()
        eventually(lambda: len(notes(path)) == 2)
        family = program.family()
        assert {int(pid) for pid in notes(path)} <= {process.pid for process in family}
        assert len(family) >= 3
        program.process.kill()
        begun = time.monotonic()
        all_gone(family)
        print(f"all gone after {1000 * (time.monotonic() - begun):.0f} ms")
        assert time.monotonic() - begun < 4  # 2 promised
        program.end()


def test_kill_9_of_the_parent_while_a_worker_starts(tmp_path):
    """One that is in its initializer ends too."""
    path = tmp_path / "pids"
    text = """
        import sys
        from rxpool import WorkerPool
        from tests.backends import process_jobs as jobs

        options = {"initializer": jobs.doze, "initargs": (sys.argv[1],)}
        with WorkerPool(1, on="processes", **options) as pool:
            print("ready", flush=True)
            pool.submit(jobs.double, 1).result()
    """
    with Program(text, path) as program:
        program.is_ready()
        (pid,) = eventually(lambda: notes(path))
        family = program.family()
        program.process.kill()
        all_gone(family)
        assert is_gone(int(pid))
        program.end()
