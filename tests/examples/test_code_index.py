"""``examples/code_index.py`` as a user runs it: as a program, on real files."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest

from tests.metrics.test_trace import check as check_trace

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "code_index.py"
PATIENCE = 20.0  #: seconds that something is given to show in the database

GOOD = {
    "alpha.py": '"""Alpha module."""\n\nclass ReadBuffer:\n'
    '    """Holds bytes."""\n    def fill(self):\n        def inner(): pass\n',
    "package/__init__.py": "",
    "package/beta.py": "import os\nif os:\n"
    "    async def gamma():\n        '''Waits \\ud800.'''\n",
    "cookie.py": "# -*- coding: latin-1 -*-\ndef caf\xe9(): pass\n",
    "warns.py": "def odd():\n    return 1 is 1, '\\d'\n",
}
BAD = {
    "broken.py": b"def broken(:\n",
    "latin.py": "name = 'caf\xe9'\n".encode("latin-1"),
    "null.py": b"x = 1\0\n",
    "deep.py": b"x = " + b"-" * 200_000 + b"1\n",
}
DEFINITIONS = {
    ("alpha", "module", 1),
    ("alpha.ReadBuffer", "class", 3),
    ("alpha.ReadBuffer.fill", "method", 5),
    ("alpha.ReadBuffer.fill.inner", "function", 6),
    ("package", "module", 1),
    ("package.beta", "module", 1),
    ("package.beta.gamma", "function", 3),
    ("cookie", "module", 1),
    ("cookie.caf\xe9", "function", 2),
    ("warns", "module", 1),
    ("warns.odd", "function", 1),
}


@pytest.fixture(name="tree")
def _tree(tmp_path: Path) -> Path:
    """A folder of good and bad files, and some that are not to be looked at."""
    tree = tmp_path / "tree"
    for name, text in GOOD.items():
        put(tree / name, text.encode("latin-1"))
    for name, data in BAD.items():
        put(tree / name, data)
    for name in ("site-packages/other.py", ".hidden/other.py", "__pycache__/x.py", "notes.txt"):
        put(tree / name, b"def nothing(): pass\n")
    return tree


def put(path: Path, data: bytes) -> None:
    """Write a file, with its folders."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)


def command(*arguments: object) -> list[str]:
    """The command line that runs the program."""
    return [sys.executable, str(PROGRAM), *map(str, arguments)]


def environment(*folders: Path) -> dict[str, str]:
    """Imports come from *folders*, then from this tree."""
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(map(str, (*folders, ROOT))),
        "PYTHONIOENCODING": "utf-8",
    }


def index(folder: Path, *arguments: object) -> str:
    """Run the program in *folder* to its end; the report."""
    done = subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(),
        capture_output=True,
        encoding="utf-8",
        timeout=150,
    )
    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "Traceback" not in done.stderr
    return done.stdout


@pytest.fixture(name="start")
def _start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start the program; it is stopped at the end of the test at the latest."""
    running: list[subprocess.Popen[str]] = []

    def start(folder: Path, *arguments: object, **options: Any) -> subprocess.Popen[str]:
        settings: dict[str, Any] = {
            "cwd": folder,
            "env": environment(),
            "stdout": subprocess.PIPE,
            "stderr": subprocess.PIPE,
            "encoding": "utf-8",
        }
        program = subprocess.Popen(command(*arguments), **(settings | options))
        running.append(program)
        return program

    yield start
    for program in running:
        program.kill()
        with program:
            pass


def interrupt(program: subprocess.Popen[str]) -> tuple[str, float]:
    """Send SIGINT, as an impatient user does; the report and the seconds until the end."""
    start = time.monotonic()
    for _ in range(3):
        program.send_signal(signal.SIGINT)
    out, err = program.communicate(timeout=20)
    took = time.monotonic() - start
    assert program.returncode == 130
    assert "Traceback" not in err
    return out, took


def ask(database: Path, query: str) -> list[tuple[Any, ...]]:
    """The answer of the database; empty while it does not exist."""
    if not database.exists():
        return []
    with closing(sqlite3.connect(database, timeout=10)) as db:
        with suppress(sqlite3.OperationalError):  # no tables yet
            return db.execute(query).fetchall()
        return []


def until(condition: Callable[[], object], what: str) -> None:
    """Look at the database again and again, until *condition* holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, f"not seen: {what}"
        time.sleep(0.02)


def check(database: Path) -> None:
    """The database and its full-text index are whole."""
    assert ask(database, "PRAGMA integrity_check") == [("ok",)]
    assert ask(database, "PRAGMA foreign_key_check") == []
    with closing(sqlite3.connect(database)) as db:
        db.execute("INSERT INTO search (search, rank) VALUES ('integrity-check', 1)")


def names(database: Path) -> set[str]:
    """The names of all definitions."""
    return {name for (name,) in ask(database, "SELECT name FROM definitions")}


def test_definitions(tree: Path, tmp_path: Path):
    """Classes, functions and methods of all good files are found, with kind and line."""
    index(tmp_path, tree)
    database = tmp_path / "code_index.sqlite"
    assert set(ask(database, "SELECT name, kind, line FROM definitions")) == DEFINITIONS
    assert ask(database, "SELECT count(*) FROM definitions") == [(len(DEFINITIONS),)]
    sizes = {tree / name: len(text) for name, text in GOOD.items()}
    stored = ask(database, "SELECT path, size FROM files")
    assert {Path(path): size for path, size in stored} == sizes
    check(database)


def test_dead_letters(tree: Path, tmp_path: Path):
    """Files that cannot be parsed are in the report and in a table, with their reasons."""
    report = index(tmp_path, tree)
    rows = ask(tmp_path / "code_index.sqlite", "SELECT path, reason FROM failures")
    reasons = {Path(path).name: reason for path, reason in rows}
    assert set(reasons) == set(BAD)
    assert "SyntaxError" in reasons["broken.py"]
    assert "utf-8" in reasons["latin.py"]
    assert "null bytes" in reasons["null.py"]
    assert reasons["deep.py"].startswith(("RecursionError", "MemoryError", "SyntaxError"))
    for path, reason in rows:
        assert f"failed    {path}: {reason}" in report


def test_report(tree: Path, tmp_path: Path):
    """The report tells the counts, the rates, the size and what the query found."""
    database = tmp_path / "elsewhere.db"
    report = index(
        tmp_path, tree, "--database", database, "--query", "read buff", "--workers", 2
    )
    first, size, speed, *rest = report.splitlines()
    assert first.startswith("indexed 5 files, 11 definitions, 4 failures in ")
    for unit in (" files/s", " definitions/s", " MB/s"):
        assert unit in speed
    assert f"{database}: 5 files, 11 definitions, " in size
    matches = rest[rest.index("  matches of 'read buff'") + 1 :]
    assert matches[0] == f"    class     alpha.ReadBuffer  {tree / 'alpha.py'}:3"
    assert not (tmp_path / "code_index.sqlite").exists()


def test_odd_queries_are_only_words(tree: Path, tmp_path: Path):
    """What the user types is never read as an expression of the search language."""
    for query in ('"', "NOT (", "a:b", "", "*"):
        assert "matches of" in index(tmp_path, tree, "--query", query)


def test_the_second_run_replaces(tree: Path, tmp_path: Path):
    """Run again, the index holds what is there now: nothing twice and nothing of before."""
    index(tmp_path, tree)
    put(tree / "broken.py", b"def mended(): pass\n")
    put(tree / "warns.py", b"def (\n")
    (tree / "alpha.py").unlink()
    (tree / "null.py").unlink()
    index(tmp_path, tree)
    database = tmp_path / "code_index.sqlite"
    found = [name for (name,) in ask(database, "SELECT name FROM definitions")]
    expected = {name for name, _, _ in DEFINITIONS if name.startswith(("package", "cookie"))}
    assert sorted(found) == sorted(expected | {"broken", "broken.mended"})
    failures = {Path(path).name for (path,) in ask(database, "SELECT path FROM failures")}
    assert failures == {"warns.py", "latin.py", "deep.py"}
    check(database)


def test_an_empty_folder(tmp_path: Path):
    """A folder without Python is no error."""
    empty = tmp_path / "empty"
    empty.mkdir()
    assert index(tmp_path, empty).startswith("indexed 0 files, 0 definitions, 0 failures")


@pytest.mark.parametrize(
    "arguments", [("missing",), (".", "--workers", 0), (".", "--database", "no/such/folder.db")]
)
def test_bad_arguments(arguments: tuple[object, ...], tmp_path: Path):
    """What cannot be done is said in a line, without a traceback."""
    done = subprocess.run(
        command(*arguments),
        cwd=tmp_path,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert done.returncode == 2
    assert "error: " in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("eyes", ["watchfiles", "polling"])
def test_watch(eyes: str, tree: Path, tmp_path: Path, start: Callable[..., Any]):
    """Files that appear, change or go are seen; a folder that moves away too."""
    database = tmp_path / "code_index.sqlite"
    if eyes == "watchfiles":
        pytest.importorskip("watchfiles")
        env = environment()
    else:
        put(tmp_path / "without" / "watchfiles.py", b"raise ImportError\n")
        env = environment(tmp_path / "without")
    program = start(tmp_path, tree, "--watch", env=env)
    until(lambda: len(names(database)) == len(DEFINITIONS), "the first index")

    put(tree / "package" / "new.py", b"def first(): pass\n")
    until(lambda: "package.new.first" in names(database), "a new file")
    put(tree / "package" / "new.py", b"def second_version(): pass\n")
    until(lambda: "package.new.second_version" in names(database), "a change")
    assert "package.new.first" not in names(database)
    put(tree / "alpha.py", b"def (\n")
    until(lambda: "alpha" not in names(database), "a change to the worse")
    (tree / "cookie.py").unlink()
    until(lambda: "cookie" not in names(database), "a deletion")
    (tree / "package").rename(tmp_path / "away")
    until(lambda: names(database) == {"warns", "warns.odd"}, "a folder that went")

    out, took = interrupt(program)
    assert f"indexed {tree / 'package' / 'new.py'}" in out
    assert f"removed {tree / 'cookie.py'}" in out
    assert "interrupted after" in out
    assert took < 2.0
    check(database)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_progress_on_a_terminal(tree: Path, tmp_path: Path, start: Callable[..., Any]):
    """On a terminal a bar shows files and failures, and is taken away before the report."""
    import pty

    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen:
        program = start(tmp_path, tree, stderr=theirs)
        os.close(theirs)
        out, _ = program.communicate(timeout=30)
        shown = screen.read(10_000).decode()
    assert "files" in shown
    assert "4 failed" in shown
    assert shown.rstrip().endswith("\x1b[2K")  # the line is empty again
    assert "\x1b[?25h" in shown  # and the cursor is back
    assert out.startswith("indexed 5 files")


def test_trace_and_measurements(tree: Path, tmp_path: Path):
    """A file in the Trace Event Format with a slice for each file; and the monitor's table."""
    trace = tmp_path / "trace.json"
    report = index(tmp_path, tree, "--trace", trace)
    events = json.loads(trace.read_text(encoding="utf-8"))
    check_trace(events)
    slices = [event for event in events if event["ph"] == "X"]
    assert len(slices) == 9
    assert {event["name"] for event in slices} == {"index.outcomes"}
    assert sorted(event["args"]["outcome"] for event in slices).count("failure") == 4
    lanes = {event["args"]["name"] for event in events if event["name"] == "thread_name"}
    assert all(lane.startswith("index process ") for lane in lanes)
    (row,) = [line.split() for line in report.splitlines() if "rxpool.tasks " in line]
    assert row[:4] == ["rxpool.tasks", "{task}", "9", "4"]
    assert " limit" in report


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
def test_interrupt(tmp_path: Path, start: Callable[..., Any]):
    """Ctrl-C in the midst of the standard library ends within 2 s, with a whole database."""
    database = tmp_path / "code_index.sqlite"
    program = start(tmp_path)
    until(lambda: ask(database, "SELECT 1 FROM files LIMIT 1"), "the first batch")
    out, took = interrupt(program)
    assert took < 2.0
    assert out.startswith("interrupted after ")
    check(database)
    ((files,),) = ask(database, "SELECT count(*) FROM files")
    assert f": {files:,} files, " in out


@pytest.mark.timeout(180)
def test_the_standard_library(tmp_path: Path):
    """Without arguments the standard library is indexed, whose odd files stop nothing."""
    report = index(tmp_path)
    database = tmp_path / "code_index.sqlite"
    ((files,),) = ask(database, "SELECT count(*) FROM files")
    assert files > 500
    assert f"indexed {files:,} files" in report
    assert "json.decoder.JSONDecoder.decode" in names(database)
    check(database)
