"""Programs whose main module no worker can import: what is in it travels by value."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

PROGRAM = """
import os
from dataclasses import dataclass

from rxpool import WorkerPool

@dataclass
class Item:
    number: int

class Refused(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code

def set_up(item):
    os.environ["START"] = str(item.number)

def work(item):
    if item.number == 3:
        raise Refused(code=3)
    return Item(item.number + int(os.environ["START"]))

def main():
    with WorkerPool(1, on="processes", initializer=set_up, initargs=(Item(10),)) as pool:
        print(list(pool.imap(work, map(Item, range(3)), order="input")))
        try:
            pool.submit(work, Item(3)).result(20.0)
        except Refused as error:
            print("refused", error.code, type(error) is Refused)

if __name__ == "__main__":
    main()
"""

SAYS = "[Item(number=10), Item(number=11), Item(number=12)]\nrefused 3 True\n"


def run(folder, *args, program=None, no_cloudpickle=False):
    """What a program prints; it prints no errors."""
    path = [str(ROOT)]
    if no_cloudpickle:
        (folder / "none").mkdir()
        (folder / "none" / "cloudpickle.py").write_text("raise ImportError('none')\n")
        path.insert(0, str(folder / "none"))
    return subprocess.run(
        [sys.executable, *args],
        input=program,
        capture_output=True,
        text=True,
        timeout=60,
        cwd=folder,
        env={"PYTHONPATH": ":".join(path), "PATH": "/usr/bin:/bin"},
        check=False,
    )


def as_command(folder):
    """As `python -c`."""
    return run(folder, "-c", PROGRAM)


def as_input(folder):
    """As `python - < file`."""
    return run(folder, "-", program=PROGRAM)


def as_input_of_old(folder):
    """As that where the main module says that it is a file, as some tools have it."""
    return run(folder, "-", program=f"__file__ = '<stdin>'\n{PROGRAM}")


def as_package(folder):
    """As `python -m package`."""
    (folder / "package").mkdir()
    (folder / "package" / "__init__.py").touch()
    (folder / "package" / "__main__.py").write_text(PROGRAM)
    return run(folder, "-m", "package")


def as_archive(folder):
    """As `python program.pyz`."""
    with zipfile.ZipFile(folder / "program.pyz", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    return run(folder, "program.pyz")


@pytest.mark.parametrize(
    "start", [as_command, as_input, as_input_of_old, as_package, as_archive]
)
def test_what_is_in_such_a_module(tmp_path, start):
    """Functions, classes of items, results and exceptions, and the initializer."""
    pytest.importorskip("cloudpickle")
    ended = start(tmp_path)
    assert (ended.stdout, ended.stderr) == (SAYS, "")


def test_without_cloudpickle(tmp_path):
    """The message says what to do."""
    ended = run(
        tmp_path,
        "-c",
        "from rxpool import WorkerPool\n"
        "def work(n): return n\n"
        "with WorkerPool(1, on='processes') as pool:\n"
        "    print(repr(pool.submit(work, 1).exception(20.0)))\n",
        no_cloudpickle=True,
    )
    assert ended.stderr == ""
    assert "NotPicklable" in ended.stdout
    assert "the main module" in ended.stdout
    assert "needs 'work' of" in ended.stdout
    assert "rxpool[cloudpickle]" in ended.stdout


def test_what_the_guard_hides(tmp_path):
    """A worker imports the main module, but not what is defined below its guard."""
    (tmp_path / "program.py").write_text(
        "from rxpool import WorkerPool\n"
        "if __name__ == '__main__':\n"
        "    def work(n): return n\n"
        "    with WorkerPool(1, on='processes') as pool:\n"
        "        print(repr(pool.submit(work, 1).exception(20.0)))\n"
    )
    ended = run(tmp_path, "program.py")
    assert ended.stderr == ""
    assert "defined at the top level" in ended.stdout
