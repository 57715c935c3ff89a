"""Policies as users give them, checked where they are written."""

from typing import Any, Final, TypeVar

from rxpool.errors import CircuitOpen, InvalidArgumentType
from rxpool.policies._retry import Retry

__all__ = ("MISSING", "given", "is_seconds", "retry_given", "uses_budget")

MISSING: Final[Any] = object()  #: no fallback was given; None is one

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


def is_seconds(value: Any) -> bool:
    """Whether an error's ``retry_after`` says how long to wait."""
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9


def uses_budget(error: BaseException) -> bool:
    """Whether another attempt burdens the other side, which has not said when to come."""
    if isinstance(error, CircuitOpen):
        return False
    return not is_seconds(getattr(error, "retry_after", None))
