"""`MainModule`: the program's main module, as it was when a pool was made."""

import os
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import process, spawn
from types import ModuleType
from typing import Final

__all__ = ("HINT", "MainModule", "is_out_of_reach", "no_false_path")

#: for what a worker does not find in the main module that it has imported
HINT: Final = (
    "; workers import the main module, where it has to be defined at the top level, and not "
    "below `if __name__ == '__main__'`"
)


@dataclass(frozen=True, slots=True)
class MainModule:
    """Where workers find the functions of the main module.

    `multiprocessing` looks it up whenever a process is started.  That is too late when the
    script has ended: the interpreter deletes its ``__file__`` then.  To unpickle one of these
    in a worker is to import the main module there, unless that was done.
    """

    name: str | None = None  #: with ``python -m``
    path: str | None = None  #: absolute; the working directory may change

    @classmethod
    def now(cls) -> "MainModule":
        """That of this process; without name and path if workers cannot import it.

        So it is at a prompt, in a notebook, with ``-c`` and with a program read from the
        standard input; and `multiprocessing` imports no ``__main__`` of a package or archive.
        """
        main: ModuleType | None = sys.modules.get("__main__")
        name = getattr(getattr(main, "__spec__", None), "name", None)
        if name is not None:
            return cls() if name.rpartition(".")[2] == "__main__" else cls(name=name)
        file = getattr(main, "__file__", None)
        if file is None:
            return cls()
        start = getattr(process, "ORIGINAL_DIR", None) or os.curdir
        path = os.path.normpath(os.path.join(start, file))
        return cls(path=path) if os.path.isfile(path) else cls()

    def note(self) -> None:
        """Workers of this process have this one, or had it: `is_out_of_reach` may ask."""
        global _in_reach
        if self.name is not None or self.path is not None:
            _in_reach = True
        elif _in_reach is None:
            _in_reach = False

    def __reduce__(self) -> tuple[Callable[..., "MainModule"], tuple[str | None, str | None]]:
        return _restored, (self.name, self.path)


def _restored(name: str | None, path: str | None) -> MainModule:
    """Import the main module as `multiprocessing` does; nothing happens if it has done so."""
    if name is not None:
        spawn.prepare({"init_main_from_name": name})
    elif path is not None:
        spawn.prepare({"init_main_from_path": path})
    return MainModule(name, path)


_in_reach: bool | None = None  # unknown in workers


def is_out_of_reach(data: bytes) -> bool:
    """Whether a pickle may refer to a main module that workers cannot import."""
    return _in_reach is False and b"__main__" in data


@contextmanager
def no_false_path() -> Generator[None, None, None]:
    """`multiprocessing` does not see the ``__file__`` of a main module that is no file.

    A program that is read from the standard input has one.  Workers would look for it.
    """
    main = sys.modules.get("__main__")
    path = getattr(main, "__file__", None)
    if path is None or os.path.exists(os.path.join(process.ORIGINAL_DIR or "", path)):  # type: ignore[attr-defined]
        yield
        return
    main.__file__ = None  # type: ignore[union-attr]
    try:
        yield
    finally:
        main.__file__ = path  # type: ignore[union-attr]
