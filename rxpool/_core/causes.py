"""The error that led to another one is its cause."""

from typing import TypeVar

__all__ = ("caused",)

_E = TypeVar("_E", bound=BaseException)


def caused(error: _E, cause: BaseException) -> _E:
    """*error*, with *cause* as its cause unless it has one."""
    if error is not cause and error.__cause__ is None:
        error.__cause__ = cause
    return error
