"""Pools on processes at the interpreter's end, and in scripts without a guard."""

import os
import subprocess
import sys
import textwrap
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def run(program, *args, **options):
    """Run a program; its output."""
    options.setdefault("timeout", 40)
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(program), *map(str, args)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        **options,
    )


def test_a_pool_that_is_open_at_the_end():
    """The interpreter's exit closes it: what was accepted is done, nobody is left."""
    done = run(
        """
        import os
        from rxpool import WorkerPool
        from tests.backends import process_jobs as jobs
        pool = WorkerPool(2, on="processes")
        futures = [pool.submit(jobs.double, n) for n in range(20)]
        for future in futures:
            future.add_done_callback(lambda future: os.write(1, b"%d\\n" % future.result()))
        """
    )
    assert sorted(map(int, done.stdout.split())) == list(range(0, 40, 2))
    assert (done.returncode, done.stderr) == (0, "")


def test_a_program_without_a_guard(tmp_path):
    """A script whose main module opens the pool when it is imported ends, with a reason."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            from rxpool import WorkerPool
            from rxpool.errors import WorkerStartError

            def double(n):
                return 2 * n

            pool = WorkerPool(1, on="processes")
            try:
                print(pool.submit(double, 4).result(30))
            except WorkerStartError as error:
                print("WorkerStartError", error)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=40,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert done.returncode == 0
    assert done.stdout.startswith("WorkerStartError")


def test_functions_and_errors_of_the_main_module(tmp_path):
    """They are found by the workers, and what comes home is of the same class."""
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            """
            from rxpool import WorkerPool

            class Thing:
                pass

            class Oops(Exception):
                pass

            def thing(_):
                return Thing()

            def oops(_):
                raise Oops("here")

            if __name__ == "__main__":
                with WorkerPool(1, on="processes") as pool:
                    print(type(pool.submit(thing, 0).result(30)) is Thing)
                    print(type(pool.submit(oops, 0).exception(30)) is Oops)
            """
        )
    )
    done = subprocess.run(
        [sys.executable, str(program)],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=40,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )
    assert (done.stdout.split(), done.stderr) == (["True", "True"], "")
