"""Names of a package whose modules are imported when one of them is asked for (PEP 562).

No package of rxpool imports its modules by itself.  So whoever needs little imports little; and
two threads that import at the same time do not wait for each other, as they would if one had a
package that wants a module, and the other that module, which wants its package first.
"""

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ("lazily",)


def lazily(
    package: str, homes: Mapping[str, str], modules: str = ""
) -> tuple[Callable[[str], Any], Callable[[], list[str]]]:
    """`__getattr__` and `__dir__` of *package*.

    *homes* has the names of each module, *modules* those of the package that are meant
    themselves; with spaces between them.
    """
    home_of = {name: home for home, names in homes.items() for name in names.split()}
    inside = frozenset(modules.split())
    space = vars(sys.modules[package])

    def find(name: str) -> Any:
        if name in inside:
            return import_module(f"{package}.{name}")  # an attribute of the package from now on
        if name not in home_of:
            raise AttributeError(f"module {package!r} has no attribute {name!r}", name=name)
        space[name] = found = getattr(import_module(home_of[name]), name)
        return found

    def names() -> list[str]:
        return sorted({*space, *home_of, *inside})

    return find, names
