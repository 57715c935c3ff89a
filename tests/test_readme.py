"""The examples of README.md run, and print what is shown."""

from pathlib import Path

import pytest

from tests.text_examples import ROOT, examples, languages, run

README = ROOT / "README.md"


def test_there_are_examples():
    """The README has examples, and most show what they print."""
    assert len(examples(README)) >= 8
    assert languages(README) <= {"python", "text"}


@pytest.mark.parametrize(("code", "shown"), examples(README))
def test_example(code: str, shown: str | None, tmp_path: Path):
    """An example runs as a program of its own, without warnings, and prints what is shown."""
    run(code, shown, tmp_path)
