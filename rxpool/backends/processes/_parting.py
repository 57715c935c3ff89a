"""The end of a process that a task has forked, and that came back from the user's code."""

import os
import sys
import traceback
from contextlib import suppress
from typing import NoReturn

__all__ = ("flush", "leave")


def leave(error: BaseException | None = None) -> NoReturn:
    """End this process as a forked one ends: with *error*, or as all went well."""
    code = 1
    try:
        code = 0 if error is None else _told(error)
    finally:
        flush()
        os._exit(code)


def _told(error: BaseException) -> int:
    """Tell of *error* as the interpreter does; the exit code."""
    if isinstance(error, SystemExit):
        if error.code is None:
            return 0
        if isinstance(error.code, int):
            return error.code & 0xFF
        print(error.code, file=sys.stderr)
    else:
        traceback.print_exception(error)
    return 1


def flush() -> None:
    """Write out what was printed."""
    for stream in (sys.stdout, sys.stderr):
        with suppress(Exception):
            stream.flush()
