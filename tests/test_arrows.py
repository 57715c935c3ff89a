"""Imports point one way: each part knows what is below it, and nothing beside or above."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

# From the bottom to the top; parts on one line do not know each other.
LAYERS = [
    {"_lazy"},
    {"errors", "events"},
    {"tasks", "_threads"},
    {"_log", "_checks", "_forks", "outcomes"},
    {"_exit"},
    {"timing"},
    {"_core"},
    {"backends", "policies", "metrics", "records"},
    {"operators"},
    {"pool"},
    {"faces"},
    {"testing"},
    {"_at_once"},
    {"rxpool"},  # the package's own __init__
    {"_whole", "demo"},
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


def module(path):
    """The name of a file as others import it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(("rxpool", *parts) if parts[0] == "operators" else parts)


MODULES = {module(path): path for path, _ in FILES if path.name != "__init__.py"}


def neighbours(path):
    """The modules of rxpool, no packages, that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
        else:
            continue
        yield from (name for name in names if name in MODULES)


def circle(arrows):
    """The names along a circle, or nothing."""
    done = set()

    def visit(name, path):
        if name in path:
            return [*path[path.index(name) :], name]
        if name not in done:
            for other in arrows[name]:
                found = visit(other, [*path, name])
                if found:
                    return found
            done.add(name)
        return []

    for name in arrows:
        found = visit(name, [])
        if found:
            return found
    return []


def test_no_circles_inside_parts():
    """Within a part, too, each file knows only what is below it."""
    assert not circle({name: sorted(set(neighbours(path))) for name, path in MODULES.items()})


#: the rooms of the pool from the bottom to the top; what is in none of them is above
ROOMS = ["_state", "_engine", "_flows"]


def floor(name):
    """On which floor of the pool a module is; None: it is not of the pool."""
    parts = name.split(".")
    if parts[:2] != ["rxpool", "pool"]:
        return None
    return ROOMS.index(parts[2]) if len(parts) > 2 and parts[2] in ROOMS else len(ROOMS)


def test_the_rooms_of_the_pool_know_what_is_below_them():
    """What decides knows nothing of what acts, nor that of the flows, nor those of the pool."""
    seen = set()
    for name, path in MODULES.items():
        for other in neighbours(path):
            if floor(name) is not None and floor(other) is not None:
                assert floor(other) <= floor(name), f"{name} must not import {other}"
                seen.add((floor(name), floor(other)))
    assert {(1, 0), (2, 1), (3, 2)} <= seen


def test_a_circle_is_seen():
    """Wherever it is."""
    assert circle({"a": ["b"], "b": ["c"], "c": ["b"]}) == ["b", "c", "b"]
    assert not circle({"a": ["b", "c"], "b": ["c"], "c": []})
