"""Worker processes that are started after the last line of a program."""

import sys
import textwrap
from types import ModuleType

import pytest

from rxpool.backends.processes._main_module import MainModule
from tests.ends.programs import ROOT, run
from tests.ends.starts import late

pytestmark = pytest.mark.usefixtures("fork_server")


ANOTHER = """
    another = type(sys)("__main__")
    vars(another).update(fn=fn, Pair=Pair, set_up=set_up)
    sys.modules["__main__"] = another
"""


@pytest.mark.parametrize(
    "text",
    [
        late(),
        late(options="max_tasks_per_worker=3"),
        late(after="os.chdir('/')"),
        late(after="sys.argv[:] = ['other.py']; del sys.modules['__main__'].__file__"),
        late(after=ANOTHER.replace("\n", "\n    ")),
    ],
    ids=["plain", "replaced", "moved", "no file", "another main module"],
)
def test_workers_started_after_the_last_line(tmp_path, text):
    """They know the functions and classes of the script, as those before it do."""
    ended = run(tmp_path, text)
    assert (ended.code, ended.lines, ended.err, ended.left) == (0, ["True"], "", ())


def test_a_worker_dies_after_the_last_line(tmp_path):
    """The one that takes its place does the rest."""
    text = """
        import os, sys
        from rxpool import WorkerPool

        def fn(n):
            return os._exit(3) if n == 7 else n

        if __name__ == "__main__":
            pool = WorkerPool(1, on="processes")
            values, failures = [], []
            pool.pull(range(200)).pipe(
                pool.outcomes(fn, max_pending=1000)
            ).subscribe(
                lambda o: (values if hasattr(o, "value") else failures).append(o),
                print,
                lambda: print(len(values), [repr(f.error) for f in failures]),
            )
    """
    ended = run(tmp_path, text)
    crashed = "WorkerCrashed('the worker process ended while it ran this: exit code 3')"
    assert (ended.code, ended.err, ended.left) == (0, "", ())
    assert ended.lines == [f"199 {[crashed]}"]


def test_the_first_work_comes_after_the_last_line(tmp_path):
    """A batch that the end of the program flushes starts the first worker."""
    text = """
        from reactivex import Subject
        from rxpool import WorkerPool, operators as ops

        def fn(batch):
            return sum(batch)

        if __name__ == "__main__":
            pool = WorkerPool(2, on="processes")
            source = Subject()
            source.pipe(ops.batch(4, 60), pool.map(fn)).subscribe(
                print, print, lambda: print("completed")
            )
            for n in range(3):
                source.on_next(n)
    """
    ended = run(tmp_path, text)
    assert (ended.code, ended.lines, ended.err) == (0, ["3", "completed"], "")
    assert ended.left == ()


def test_the_first_work_comes_after_the_last_line_and_hangs(tmp_path):
    """Its limit holds."""
    text = """
        import time
        from reactivex import Subject
        from rxpool import WorkerPool, operators as ops

        def fn(batch):
            time.sleep(1000)

        if __name__ == "__main__":
            pool = WorkerPool(2, on="processes")
            source = Subject()
            source.pipe(ops.batch(4), pool.outcomes(fn, timeout=0.2)).subscribe(
                lambda o: print(type(o.error).__name__), print, lambda: print("completed")
            )
            source.on_next(1)
    """
    ended = run(tmp_path, text)
    assert (ended.code, ended.lines, ended.err) == (0, ["TaskTimeout", "completed"], "")
    assert ended.left == ()


@pytest.mark.parametrize(
    ("file", "arguments"),
    [
        ("package/module.py", ("-m", "package.module")),
        ("package/script.py", ("package/script.py",)),
    ],
    ids=["a module", "a relative path"],
)
def test_a_main_module_of_another_kind(tmp_path, file, arguments):
    """Run by its name, or by a relative path, and the program has gone elsewhere since."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "__init__.py").touch()
    (tmp_path / file).write_text(textwrap.dedent(late(before="os.chdir('/')")))
    launcher = f"""
        import os, sys
        os.execv(sys.executable, [sys.executable, "-W", "error", *{arguments!r}])
    """
    ended = run(tmp_path, launcher, env={"PYTHONPATH": f"{ROOT}:{tmp_path}"})
    assert (ended.code, ended.lines, ended.err, ended.left) == (0, ["True"], "", ())


def test_a_script_that_another_runs(tmp_path):
    """A pool that it leaves open keeps to the main module that made it."""
    (tmp_path / "script.py").write_text(textwrap.dedent(late()))
    launcher = """
        import runpy
        if __name__ == "__main__":
            kept = runpy.run_path("script.py", run_name="__main__")
            globals().update((name, kept[name]) for name in ("fn", "Pair", "set_up"))
    """
    ended = run(tmp_path, launcher)
    assert (ended.code, ended.lines, ended.err, ended.left) == (0, ["True"], "", ())


def test_a_program_without_a_main_module(monkeypatch):
    """At a prompt, or where it has no file, nothing is remembered."""
    for main in (None, ModuleType("__main__"), object()):
        monkeypatch.setitem(sys.modules, "__main__", main)
        assert MainModule.now() == MainModule()
    monkeypatch.delitem(sys.modules, "__main__")
    assert MainModule.now() == MainModule()
    stdin = ModuleType("__main__")
    stdin.__file__ = "<stdin>"
    monkeypatch.setitem(sys.modules, "__main__", stdin)
    assert MainModule.now() == MainModule()
