"""Python source on the disk: which files there are, what changed, what they define."""

import ast
import os
import re
import threading
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

__all__ = ("Definition", "Parsed", "Tree", "ignore_warnings", "parse")


class Definition(NamedTuple):
    """A module, class, function or method."""

    name: str
    kind: str
    line: int
    words: str  #: the name taken apart, for the search
    doc: str


@dataclass(frozen=True, slots=True)
class Parsed:
    """What a file holds."""

    size: int
    definitions: list[Definition]


def parse(folder: Path, path: Path) -> Parsed:
    """Read a file and find its definitions; whatever it raises is the file's failure."""
    source = path.read_bytes()
    tree = ast.parse(source, path.name)
    parts = path.relative_to(folder).with_suffix("").parts
    module = ".".join(parts[:-1] if parts[-1] == "__init__" and parts[1:] else parts)
    found = [_definition(module, "module", tree)]
    todo: list[tuple[str, ast.AST]] = [(module, tree)]
    while todo:  # not by recursion: no file nests too deeply for this
        scope, node = todo.pop()
        for block in ("body", "orelse", "handlers", "finalbody", "cases"):
            children = getattr(node, block, ())
            for child in children if isinstance(children, list) else ():
                name = scope
                if isinstance(child, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)):
                    name = f"{scope}.{child.name}"
                    method = "method" if isinstance(node, ast.ClassDef) else "function"
                    kind = "class" if isinstance(child, ast.ClassDef) else method
                    found.append(_definition(name, kind, child))
                todo.append((name, child))
    return Parsed(len(source), found)


def ignore_warnings() -> None:
    """Those of the source that is parsed are not ours."""
    warnings.simplefilter("ignore")


def _definition(name: str, kind: str, node: Any) -> Definition:
    # SQLite takes no lone surrogates, and docstrings may hold some.
    doc = (ast.get_docstring(node) or "").encode("utf-8", "replace").decode()
    words = re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name.rpartition(".")[2])
    return Definition(name, kind, getattr(node, "lineno", 1), f"{words} {name}", doc)


class Tree:
    """A folder of Python files, and the state in which each was last seen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._seen: dict[Path, tuple[int, int]] = {}

    def files(self) -> Iterator[Path]:
        """All files, found on the disk as they are asked for."""
        for path, state in self._scan():
            self._seen[path] = state
            yield path

    def changes(self) -> list[Path]:
        """The files that are new, changed or gone since they were last seen."""
        before, self._seen = self._seen, dict(self._scan())
        both = before | self._seen
        return [path for path in both if before.get(path) != self._seen.get(path)]

    def watch(self, stop: threading.Event) -> Iterator[Path]:
        """The changes as they happen, until *stop* is set."""
        for _ in self._moments(stop):
            yield from self.changes()

    def _moments(self, stop: threading.Event) -> Iterator[None]:
        """When to look: the system tells through `watchfiles`, or else twice a second."""
        try:
            from watchfiles import watch
        except ImportError:
            while not stop.wait(0.5):
                yield
            return
        first = True  # changes from before it watched count too
        for events in watch(
            self.folder, stop_event=stop, rust_timeout=200, yield_on_timeout=True
        ):
            if events or first:
                yield
            first = False

    def _scan(self) -> Iterator[tuple[Path, tuple[int, int]]]:
        for folder, subfolders, names in os.walk(self.folder):
            skip = {"site-packages", "__pycache__"}
            subfolders[:] = sorted(s for s in subfolders if s not in skip and s[0] != ".")
            for name in sorted(names):
                path = Path(folder, name)
                if name.endswith(".py") and path.is_file():
                    try:
                        state = path.stat()
                    except OSError:
                        continue  # gone again
                    yield path, (state.st_mtime_ns, state.st_size)
