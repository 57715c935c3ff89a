"""Checks of arguments, made where the user wrote them; the message names the value."""

import math
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeAlias

from rxpool.errors import InvalidArgument, InvalidArgumentType

__all__ = ("Seconds", "call", "count", "duration", "number", "one_of")

Seconds: TypeAlias = float | timedelta


def number(
    name: str, value: Any, *, least: float = 0.0, above: bool = False, what: str = "a number"
) -> float:
    """A finite number, at least *least* or, with *above*, greater than it."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise InvalidArgumentType(f"{name} must be {what}, got {value!r}")
    limit = f"greater than {least:g}" if above else f"{least:g} or more"
    if not math.isfinite(value) or value < least or (above and value == least):
        raise InvalidArgument(f"{name} must be finite and {limit}, got {value!r}")
    return float(value)


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


def call(name: str, value: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(value):
        raise InvalidArgumentType(f"{name} must be callable, got {value!r}")
    return value  # type: ignore[no-any-return]
