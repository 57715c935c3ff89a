"""The public names, pinned: one that comes or goes is seen, and put into the changelog.

After a change that is meant: ``python -m tests.test_public_names``.
"""

import importlib
import inspect
from pathlib import Path

PINNED = Path(__file__).with_name("public_names.txt")

MODULES = (
    "rxpool",
    "rxpool.backends",
    "rxpool.errors",
    "rxpool.events",
    "rxpool.faces",
    "rxpool.metrics",
    "rxpool.metrics.names",
    "rxpool.operators",
    "rxpool.outcomes",
    "rxpool.policies",
    "rxpool.pool",
    "rxpool.records",
    "rxpool.tasks",
    "rxpool.timing",
)


def parameters(thing):
    """The names of what can be given, with a star where any number can."""
    try:
        known = inspect.signature(thing).parameters.values()
    except (TypeError, ValueError):
        return ""
    stars = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
    names = [stars.get(each.kind, "") + each.name for each in known if each.name != "self"]
    return f"({', '.join(name for name in names if not name.startswith('_'))})"


def members(cls):
    """What users of a class of ours may use, inherited from ours too."""
    for name in sorted(dir(cls)):
        home = next((each for each in cls.__mro__ if name in vars(each)), object)
        if name.startswith("_") or not home.__module__.startswith("rxpool"):
            continue
        found = inspect.getattr_static(cls, name)
        if isinstance(found, classmethod | staticmethod):
            found = found.__func__
        yield f"{name}{parameters(found)}" if inspect.isroutine(found) else name


def lines():
    """A line for each name."""
    seen = {}
    for module in MODULES:
        there = importlib.import_module(module)
        for name in sorted(there.__all__):
            thing = getattr(there, name)
            whole = f"{module}.{name}"
            if not callable(thing) or not getattr(thing, "__module__", "").startswith("rxpool"):
                yield whole
            elif id(thing) in seen:
                yield f"{whole} is {seen[id(thing)]}"
            else:
                seen[id(thing)] = whole
                yield f"{whole}{parameters(thing)}"
                if inspect.isclass(thing):
                    yield from (f"    .{member}" for member in members(thing))


def test_the_public_names_are_those_that_are_pinned():
    """Names of modules, classes and parameters."""
    assert list(lines()) == PINNED.read_text(encoding="utf-8").splitlines()


if __name__ == "__main__":
    PINNED.write_text("\n".join(lines()) + "\n", encoding="utf-8")
