"""The examples of README.md run, and print what is shown."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIMIT = 30.0  #: seconds for an example
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def examples() -> list[object]:
    """The Python blocks, each with the text block right behind it as its output."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    found: list[object] = []
    blocks = list(FENCE.finditer(text))
    for block, following in zip(blocks, [*blocks[1:], None], strict=True):
        if block[1] != "python":
            continue
        shown = None
        if following and following[1] == "text":
            assert not text[block.end() : following.start()].strip(), "output stands apart"
            shown = following[2]
        line = text.count("\n", 0, block.start()) + 1
        found.append(pytest.param(block[2], shown, id=f"line {line}"))
    return found


def test_there_are_examples():
    """The README has examples, and most show what they print."""
    assert len(examples()) >= 8
    languages = {block[1] for block in FENCE.finditer((ROOT / "README.md").read_text("utf-8"))}
    assert languages <= {"python", "text"}


@pytest.mark.parametrize(("code", "shown"), examples())
def test_example(code: str, shown: str | None, tmp_path: Path):
    """An example runs as a program of its own, without warnings, and prints what is shown."""
    script = tmp_path / "example.py"
    script.write_text(code, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        timeout=LIMIT,
    )
    assert (done.returncode, done.stderr) == (0, "")
    if shown is not None:
        assert done.stdout == shown
