"""Policies as users give them, checked where they are written."""

from typing import Any, TypeVar

from rxpool.errors import InvalidArgumentType
from rxpool.policies._retry import Retry

__all__ = ("given", "retry_given")

_K = TypeVar("_K")


def given(kind: type[_K], name: str, value: Any) -> _K:
    """A policy of this kind, and nothing else."""
    if not isinstance(value, kind):
        raise InvalidArgumentType(f"{name} must be a {kind.__name__}, got {value!r}")
    return value


def retry_given(name: str, value: Any) -> Retry:
    """A `Retry`, or the number of its attempts."""
    if isinstance(value, int) and not isinstance(value, bool):
        return Retry(value)
    return given(Retry, name, value)
