"""Imports point one way: each part knows what is below it, and nothing beside or above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the bottom to the top; parts on one line do not know each other.
LAYERS = [
    {"errors", "events"},
    {"tasks"},
    {"_log", "_checks", "outcomes"},
    {"timing"},
    {"_core"},
    {"backends", "policies", "metrics", "records"},
    {"operators"},
    {"pool"},
    {"faces"},
    {"testing"},
    {"rxpool"},  # the package's own __init__
]
RANK = {part: rank for rank, layer in enumerate(LAYERS) for part in layer}


def files():
    """Each source file and the part of rxpool that it belongs to."""
    for path in sorted((ROOT / "operators").rglob("*.py")):
        yield path, "operators"
    for path in sorted((ROOT / "rxpool").rglob("*.py")):
        first, *rest = path.relative_to(ROOT / "rxpool").parts
        if first == "operators":
            continue  # the link
        if rest:
            yield path, first
        else:
            yield path, "rxpool" if first == "__init__.py" else path.stem


def known(path):
    """The parts of rxpool that a file imports, in functions and for type checkers too."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "rxpool":
            names = [f"rxpool.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        for name in names:
            first, *rest = name.split(".")
            if first == "rxpool":
                yield node.lineno, rest[0] if rest and rest[0] in RANK else "rxpool"


FILES = [(path, part) for path, part in files()]


@pytest.mark.parametrize(
    ("path", "part"), FILES, ids=[str(path.relative_to(ROOT)) for path, _ in FILES]
)
def test_imports_point_down(path, part):
    """A file imports only from its own part and from those in lower layers."""
    assert part in RANK, f"{part} has no layer yet: give it one in this test"
    for line, other in known(path):
        assert other == part or RANK[other] < RANK[part], (
            f"{path.relative_to(ROOT)}:{line}: {part} must not import {other}"
        )


def test_the_rule_sees_what_it_should():
    """The test itself is tested: some arrows that exist, and that it finds."""
    found = {(part, other) for path, part in FILES for _, other in known(path)}
    assert {("operators", "_core"), ("_core", "timing"), ("_checks", "errors")} <= found
    assert ("operators", "_checks") in found  # from rxpool import _checks
