"""Files of tests stay small enough to be about one subject, and say which."""

import ast
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent
FILES = sorted(TESTS.rglob("*.py"))
MOST = 600  #: lines of a file


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TESTS)))
def test_a_file_of_tests_is_short_and_says_what_it_is_about(path):
    """No longer than `MOST` lines, and with a docstring."""
    text = path.read_text(encoding="utf-8")
    assert len(text.splitlines()) <= MOST
    assert ast.get_docstring(ast.parse(text))
