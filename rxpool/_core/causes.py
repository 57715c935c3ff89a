"""Errors on their way out: the one that led to another is its cause, none ends an iteration."""

import threading
from typing import Any, Final, TypeVar

__all__ = ("as_failure", "caused", "ends_program", "set_cause")

_E = TypeVar("_E", bound=BaseException)

#: what Python itself uses: a class of exceptions may refuse attributes, or redefine this one
_CAUSE: Final[Any] = vars(BaseException)["__cause__"]


def caused(error: _E, cause: BaseException) -> _E:
    """*error*, with *cause* as its cause unless it has one."""
    if error is not cause and _CAUSE.__get__(error) is None:
        set_cause(error, cause)
    return error


def as_failure(error: _E) -> _E | RuntimeError:
    """*error* as that of an item, a stream or a future.

    StopIteration and StopAsyncIteration mean the end of an iteration to whatever they pass
    through, and futures of asyncio refuse them: a RuntimeError stands for them, as in PEP 479.
    """
    if isinstance(error, (StopIteration, StopAsyncIteration)):
        return caused(RuntimeError(f"a function raised {_shown(error)}"), error)
    return error


def _shown(error: BaseException) -> str:
    try:
        return repr(error)
    except Exception:
        return type(error).__name__


def ends_program(error: BaseException) -> bool:
    """Whether *error*, which a callback raised here, is for the program and not for us."""
    in_main = threading.current_thread() is threading.main_thread()
    return in_main and isinstance(error, (KeyboardInterrupt, SystemExit))


def set_cause(error: BaseException, cause: BaseException) -> None:
    """Give *error*, of whatever class, this cause."""
    _CAUSE.__set__(error, cause)
