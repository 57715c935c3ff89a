"""Write the pages of the reference from the docstrings: ``python docs/write_reference.py``.

The pages are kept in the repository, so that they can be read as files; a test compares them
with what this writes.
"""

import inspect
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

FOLDER = Path(__file__).parent / "reference"
PAGES = {
    "operators": ("Operators", ["rxpool.operators"]),
    "pool": ("WorkerPool", ["rxpool.pool"]),
    "policies": ("Policies", ["rxpool.policies"]),
    "metrics": ("Metrics", ["rxpool.metrics"]),
    "records": ("Records", ["rxpool.records"]),
    "faces": ("Calls instead of streams", ["rxpool.faces"]),
    "errors": (
        "Outcomes, events and errors",
        ["rxpool.outcomes", "rxpool.events", "rxpool.tasks", "rxpool.errors"],
    ),
    "backends": ("Backends and time", ["rxpool.backends", "rxpool.timing"]),
}
NOTE = "<!-- written by docs/write_reference.py from the docstrings -->"
HOOKS = ("forked",)  #: methods that are not for callers
SECTION = re.compile(r"^(Args|Attributes|Returns|Raises|Yields):$")
ENTRY = re.compile(r"^    (\*{0,2}[\w.]+(?:, \w+)*): (.*)$")


def page(title: str, modules: list[str]) -> str:
    """The text of a page."""
    parts = [f"# {title}", NOTE]
    for name in modules:
        module = import_module(name)
        if len(modules) > 1:
            parts += [f"## `{name}`", text(module.__doc__)]
        for each in names(module):
            parts += list(entry(each, getattr(module, each)))
    return "\n\n".join(part for part in parts if part) + "\n"


def names(module: ModuleType) -> list[str]:
    """What a module exports, classes and functions first."""
    exported: list[str] = sorted(module.__all__)
    return sorted(exported, key=lambda name: not callable(getattr(module, name)))


def entry(name: str, thing: Any) -> Iterator[str]:
    """What is said of a public name."""
    if not inspect.isclass(thing) and not inspect.isroutine(thing):
        return  # an alias of a type: those who take it say what it is
    yield f"## `{name}{signature(thing)}`"
    yield text(inspect.getdoc(thing))
    if inspect.isclass(thing):
        for member, value in members(thing):
            yield f"### `{name}.{member}{signature(value)}`"
            yield text(inspect.getdoc(value))


def members(kind: type) -> Iterator[tuple[str, Any]]:
    """The public methods and properties of a class that say what they do."""
    seen: set[str] = set()
    for owner in kind.__mro__:
        if not owner.__module__.startswith("rxpool"):
            continue
        for member, value in vars(owner).items():
            if member.startswith("_") or member in HOOKS or member in seen:
                continue
            seen.add(member)
            plain = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
            if isinstance(plain, property) or inspect.isroutine(plain):
                yield member, plain


def signature(thing: Any) -> str:
    """The names of the arguments and simple defaults; nothing for a property or an error."""
    if isinstance(thing, property) or (
        inspect.isclass(thing) and issubclass(thing, BaseException)
    ):
        return ""
    try:
        parameters = list(inspect.signature(thing).parameters.values())
    except (TypeError, ValueError):
        return ""
    shown: list[str] = []
    keyword_only = False
    for each in parameters:
        if each.name in ("self", "cls") or each.name.startswith("_"):
            continue
        if each.kind is each.KEYWORD_ONLY and not keyword_only:
            keyword_only = True
            if not any(other.startswith("*") for other in shown):
                shown.append("*")
        stars = {each.VAR_POSITIONAL: "*", each.VAR_KEYWORD: "**"}.get(each.kind, "")
        shown.append(stars + each.name + default(each))
    return f"({', '.join(shown)})"


def default(parameter: inspect.Parameter) -> str:
    """What an argument is if it is not given, where that is simple."""
    value = parameter.default
    if value is parameter.empty:
        return ""
    if value is None or isinstance(value, (bool, int, float, str, tuple)):
        return f"={value!r}"
    return "=..."


def text(docstring: str | None) -> str:
    """A docstring in Markdown: sections and their entries become lists."""
    lines: list[str] = []
    inside = literal = False
    for line in (docstring or "").splitlines():
        if SECTION.match(line):
            inside = True
            lines += [f"**{line[:-1]}**", ""]
        elif line == "::":
            literal = True
        elif line and not line.startswith(" "):
            inside = literal = False
            lines.append(markdown(line))
        elif inside and (found := ENTRY.match(line)):
            lines.append(f"- `{found[1]}`: {markdown(found[2])}")
        elif inside and line:
            lines.append(f"  {markdown(line.strip())}")
        else:
            lines.append(line if literal else markdown(line))
    return re.sub(r"\n{3,}", "\n\n", "\n".join(lines)).strip()


def markdown(line: str) -> str:
    """Two backticks are one there."""
    return line.replace("``", "`")


def pages() -> dict[Path, str]:
    """All pages, with their texts."""
    return {FOLDER / f"{name}.md": page(*given) for name, given in PAGES.items()}


if __name__ == "__main__":
    for path, content in pages().items():
        path.write_text(content, encoding="utf-8")
