"""What an import brings along, and that every name is there when it is asked for."""

import ast
import importlib
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: what needs time to import and is for few programs
RARE = {
    "ctypes",
    "decimal",
    "fractions",
    "hashlib",
    "html",
    "multiprocessing",
    "rich",
    "rxpool.backends._inline",
    "rxpool.backends.event_loop",
    "rxpool.backends.executors",
    "rxpool.backends.processes",
    "rxpool.demo",
    "rxpool.faces",
    "rxpool.metrics._monitor",
    "rxpool.records",
    "sqlite3",
    "structlog",
    "uuid",
}

PACKAGES = sorted(
    ".".join(path.parent.relative_to(ROOT).parts)
    for path in [*ROOT.glob("rxpool/**/__init__.py"), ROOT / "rxpool/operators/__init__.py"]
    if "lazily(" in path.read_text(encoding="utf-8")
)


def run(code):
    """What a fresh interpreter prints, without the user's settings."""
    code = f"import sys; sys.path[0:0] = {sys.path!r}\n{textwrap.dedent(code)}"
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def brought(code):
    """The modules that *code* brings, beyond those of the interpreter."""
    code = (
        "before = set(sys.modules)\n"
        + textwrap.dedent(code)
        + "\nprint(*(set(sys.modules) - before))"
    )
    return set(run(code).split())


def test_import_rxpool_brings_little():
    """Nothing of what it is made on, and of its own only what must be there."""
    found = brought("import rxpool")
    assert not found & (RARE | {"asyncio", "reactivex", "rxpool.operators", "rxpool.pool"})
    assert "rxpool._exit" in found  # hooks for the end of the interpreter, and for forks


def test_an_operator_brings_no_pool():
    """Neither that nor policies."""
    found = brought("from rxpool import operators as ops\nops.batch(2), ops.debounce(1.0)")
    assert not found & (RARE | {"rxpool.pool", "rxpool.policies"})


def test_a_pool_of_threads_brings_no_other_backend():
    """Nor what few flows have."""
    found = brought(
        """
        from rxpool import WorkerPool
        with WorkerPool(1) as pool:
            assert list(pool.imap(str, [1])) == ["1"]
        """
    )
    assert not found & RARE


def type_checked(package):
    """Each name that a type checker sees in a package, and the module it comes from."""
    path = ROOT.joinpath(*package.split("."), "__init__.py")
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.If):
            for each in node.body:
                yield from ((alias.name, each.module) for alias in each.names)


@pytest.mark.parametrize("package", PACKAGES)
def test_all_names_are_there(package):
    """Those that type checkers see, from where these see them; by asking, `dir` and a star."""
    module = importlib.import_module(package)
    seen = dict(type_checked(package))
    assert set(seen) == set(module.__all__)
    for name, home in seen.items():
        there = importlib.import_module(home)
        assert getattr(module, name) is getattr(there, name)
    assert set(seen) <= set(dir(module))
    space = {}
    exec(f"from {package} import *", space)
    assert set(seen) <= set(space)
    with pytest.raises(AttributeError, match="has no attribute 'nonsense'"):
        _ = module.nonsense


def test_parts_are_attributes():
    """After `import rxpool` alone, as they are after their own imports."""
    code = "import rxpool\nfor name in {!r}: print(getattr(rxpool, name).__name__)"
    parts = [
        "backends", "errors", "events", "faces", "metrics", "operators", "outcomes",
        "policies", "pool", "records", "tasks", "timing",
    ]  # fmt: skip
    assert run(code.format(parts)).split() == [f"rxpool.{part}" for part in parts]
    assert run("import rxpool\nprint(rxpool.metrics.names.METRICS and 1)") == "1\n"
    assert "WorkerPool" in run("import rxpool\nprint(dir(rxpool))")


@pytest.mark.parametrize("seed", range(3))
def test_several_threads_ask_first(seed):
    """Each for other names, in another order, at once."""
    code = f"""
        import random, threading, rxpool
        sys.setswitchinterval(1e-5)
        start, failed = threading.Barrier(12), []
        def ask(seed):
            names = list(rxpool.__all__)
            random.Random(seed).shuffle(names)
            start.wait()
            try:
                for name in names:
                    getattr(rxpool, name)
                for name in rxpool.operators.__all__:
                    getattr(rxpool.operators, name)
            except BaseException as error:
                failed.append(error)
        threads = [threading.Thread(target=ask, args=[n + {seed} * 12]) for n in range(12)]
        for thread in threads: thread.start()
        for thread in threads: thread.join()
        print(failed, *{{each for each in rxpool.__all__ if each not in vars(rxpool)}})
        """
    assert run(code) == "[]\n"


@pytest.mark.parametrize("when", ["atexit.register", "threading._register_atexit"])
def test_the_first_use_is_at_the_end_of_the_interpreter(when):
    """Everything can be imported there still."""
    code = f"""
        import atexit, threading, rxpool
        def last():
            with rxpool.WorkerPool(on="inline") as pool:
                print(*pool.imap(str, [1, 2]))
        {when}(last)
        """
    assert run(code) == "1 2\n"


def test_the_fork_server_has_everything():
    """So that no worker has to import what its program does."""
    found = brought("import rxpool._whole")
    assert RARE - found <= {"ctypes", "rich", "multiprocessing", "rxpool.demo", "structlog"} | {
        name for name in RARE if name.startswith("rxpool.backends")
    }
    assert {"rxpool.operators._progress", "rxpool.pool", "rxpool.faces"} <= found
