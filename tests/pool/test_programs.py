"""Whole programs: pools at the interpreter's exit, and when it is interrupted."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

import rxpool
from tests.waiting import WAIT


@pytest.fixture
def program():
    """Starts Python programs that see this package, and sees to their end."""
    processes = []

    def start(code):
        root = str(Path(rxpool.__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=os.environ | {"PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_pool_left_open_is_closed_at_exit(program):
    """At interpreter exit accepted work is finished, subscribers get it, nothing is printed."""
    process = program(
        """
        import sys, threading
        import reactivex as rx
        from rxpool import WorkerPool, operators as ops

        def say(what):
            sys.stdout.write(f"{what}\\n")

        pool = WorkerPool(2)
        go = threading.Event()
        rx.from_iterable(range(10)).pipe(
            pool.map(lambda n: go.wait(10) and n), ops.batch(100, 600.0), pool.map(sum)
        ).subscribe(say, on_completed=lambda: say("completed"))
        call = pool.submit(str, 1)
        call.add_done_callback(lambda _: say("called"))
        threading.Timer(0.1, go.set).start()
        """
    )
    out, err = process.communicate(timeout=WAIT)
    assert err == ""
    assert sorted(out.split()) == ["45", "called", "completed"]
    assert process.returncode == 0


def test_an_unused_pool_at_exit(program):
    """A pool that did nothing, and one dropped while it was open, keep nobody."""
    process = program(
        """
        from rxpool import WorkerPool
        kept = WorkerPool(2)
        def use():
            pool = WorkerPool(2)
            assert pool.submit(str, 1).result() == "1"
        use()
        print("end")
        """
    )
    out, err = process.communicate(timeout=WAIT)
    assert (out, err, process.returncode) == ("end\n", "", 0)


INTERRUPTED = {
    "in a stream": """
        with WorkerPool(2) as pool:
            rx.from_iterable(range(10**9)).pipe(pool.map(work)).subscribe(tell)
    """,
    "in a stream of long tasks": """
        with WorkerPool(2) as pool:
            rx.from_iterable(range(10**9)).pipe(pool.map(long)).subscribe(tell)
    """,
    "in pull": """
        with WorkerPool(2) as pool:
            pool.pull(range(10**9)).pipe(pool.map(long)).subscribe(tell)
    """,
    "in imap": """
        with WorkerPool(2) as pool:
            for value in pool.imap(work, range(10**9)):
                tell(value)
    """,
    "in imap of long tasks": """
        with WorkerPool(2) as pool:
            for value in pool.imap(long, range(10**9)):
                pass
    """,
    "waiting for a result": """
        with WorkerPool(2) as pool:
            pool.submit(long, 1).result()
    """,
    "while it closes": """
        pool = WorkerPool(1)
        pool.submit(long, 1)
        pool.close()
    """,
}


@pytest.mark.parametrize("body", INTERRUPTED.values(), ids=INTERRUPTED)
def test_interrupting_a_program(program, body):
    """Ctrl-C ends a program that runs a pool within two seconds, by KeyboardInterrupt."""
    code = """
        import signal, time
        import reactivex as rx
        from rxpool import WorkerPool
        # A program that was started in the background may have inherited to ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def tell(_=None):
            if not told:
                told.append(1)
                print("go", flush=True)
        told = []
        def work(n):
            time.sleep(0.001)
            return n
        def long(n):
            tell()
            time.sleep(600)
    """
    process = program(textwrap.dedent(code) + textwrap.dedent(body))
    assert process.stdout.readline() == "go\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT)
    took = time.monotonic() - began
    assert "KeyboardInterrupt" in err.splitlines()  # behind it may stand what was cancelled
    assert err.count("Traceback") == 1
    assert took < 20.0  # and not as long as the tasks
