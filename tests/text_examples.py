"""Examples in Markdown: Python blocks that run as programs, and what they print."""

import os
import re
import subprocess
import sys
from itertools import zip_longest
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMIT = 50.0  #: seconds for an example
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def languages(path: Path) -> set[str]:
    """What the blocks of a file are written in; none for commands."""
    return {block[1] for block in FENCE.finditer(path.read_text(encoding="utf-8"))}


def examples(path: Path) -> list[object]:
    """The Python blocks of a file, each with the text block right behind it as its output."""
    text = path.read_text(encoding="utf-8")
    found: list[object] = []
    blocks = list(FENCE.finditer(text))
    for block, following in zip_longest(blocks, blocks[1:]):
        if block[1] != "python":
            continue
        shown = None
        if following and following[1] == "text":
            assert not text[block.end() : following.start()].strip(), "output stands apart"
            shown = following[2]
        line = text.count("\n", 0, block.start()) + 1
        found.append(pytest.param(block[2], shown, id=f"{path.stem} line {line}"))
    return found


def run(code: str, shown: str | None, folder: Path) -> None:
    """Run an example as a program of its own; no warnings, and it prints what is shown."""
    script = folder / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if shown is not None:
        assert done.stdout == shown
