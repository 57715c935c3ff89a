"""Checks of arguments, made where the user wrote them; the message names the value."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Literal, TypeAlias, get_args

from reactivex import abc

from rxpool.errors import InvalidArgument, InvalidArgumentType

__all__ = (
    "OVERFLOWS",
    "OverflowPolicy",
    "Seconds",
    "call",
    "count",
    "duration",
    "flag",
    "number",
    "one_of",
    "sink",
    "timing",
)

Seconds: TypeAlias = float | timedelta

#: what happens to items beyond `max_pending`
OverflowPolicy: TypeAlias = Literal["block", "drop_oldest", "drop_newest", "error"]
OVERFLOWS: tuple[str, ...] = get_args(OverflowPolicy)


def number(
    name: str, value: Any, *, least: float = 0.0, above: bool = False, what: str = "a number"
) -> float:
    """A finite number, at least *least* or, with *above*, greater than it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentType(f"{name} must be {what}, got {value!r}")
    limit = f"greater than {least:g}" if above else f"{least:g} or more"
    try:
        given = float(value)
    except OverflowError:  # a whole number too large for a float
        given = math.inf
    if not math.isfinite(given) or given < least or (above and given == least):
        raise InvalidArgument(f"{name} must be finite and {limit}, got {value!r}")
    return given


def duration(name: str, value: Any, *, above: bool = False) -> float:
    """Seconds from a number or a `timedelta`; 0 or more, or *above* 0."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return number(name, value, above=above, what="seconds or a timedelta")


def count(name: str, value: Any, *, least: int = 0) -> int:
    """A whole number of at least *least*."""
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidArgumentType(f"{name} must be a whole number, got {value!r}")
    if value < least:
        raise InvalidArgument(f"{name} must be {least} or more, got {value!r}")
    return value


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str):
        raise InvalidArgumentType(f"{name} must be a str, got {value!r}")
    if value not in choices:
        raise InvalidArgument(f"{name} must be one of {', '.join(choices)}, got {value!r}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False, nothing that only counts as such."""
    if not isinstance(value, bool):
        raise InvalidArgumentType(f"{name} must be True or False, got {value!r}")
    return value


def sink(name: str, value: Any) -> None:
    """None, something that can be called, or something with ``on_next``."""
    if value is not None and not callable(getattr(value, "on_next", value)):
        raise InvalidArgumentType(f"{name} must be callable or have on_next, got {value!r}")


def timing(name: str, value: Any) -> None:
    """None or a reactivex scheduler."""
    if value is not None and not isinstance(value, abc.SchedulerBase):
        raise InvalidArgumentType(f"{name} must be a reactivex scheduler, got {value!r}")


def call(name: str, value: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(value):
        raise InvalidArgumentType(f"{name} must be callable, got {value!r}")
    return value  # type: ignore[no-any-return]
