"""Checks of arguments, made where the user wrote them; the message names the value."""

import math
import re
import threading
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import timedelta
from numbers import Integral, Real
from typing import Any, Literal, TypeAlias, get_args

from reactivex import abc

from rxpool.errors import BatchSizeError, InvalidArgument, InvalidArgumentType

__all__ = (
    "OVERFLOWS",
    "OverflowPolicy",
    "Seconds",
    "call",
    "count",
    "duration",
    "flag",
    "hint",
    "number",
    "one_of",
    "patience",
    "results_of_batch",
    "seconds_to_wait",
    "shown",
    "sink",
    "timing",
)

Seconds: TypeAlias = float | timedelta

#: what happens to items beyond `max_pending`
OverflowPolicy: TypeAlias = Literal["block", "drop_oldest", "drop_newest", "error"]
OVERFLOWS: tuple[str, ...] = get_args(OverflowPolicy)


def shown(value: Any) -> str:
    """*value* in a message: its repr, or its type if that raises."""
    try:
        return repr(value)
    except Exception as error:
        return f"<{type(value).__qualname__}, whose repr raises {type(error).__name__}>"


def number(
    name: str, value: Any, *, least: float = 0.0, above: bool = False, what: str = "a number"
) -> float:
    """A finite number, at least *least* or, with *above*, greater than it.

    Those of numpy and fractions are numbers too.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise InvalidArgumentType(f"{name} must be {what}, got {shown(value)}")
    limit = f"greater than {least:g}" if above else f"{least:g} or more"
    try:
        given = float(value)
    except OverflowError:  # a number too large for a float
        given = math.inf
    if not math.isfinite(given) or given < least or (above and given == least):
        raise InvalidArgument(f"{name} must be finite and {limit}, got {shown(value)}")
    return given


def duration(name: str, value: Any, *, above: bool = False) -> float:
    """Seconds from a number or a `timedelta`; 0 or more, or *above* 0."""
    if isinstance(value, timedelta):
        value = value.total_seconds()
    return number(name, value, above=above, what="seconds or a timedelta")


def patience(name: str, value: Any) -> float | None:
    """How long to wait: a `duration`, or None for no limit."""
    return None if value is None else seconds_to_wait(duration(name, value))


def seconds_to_wait(timeout: float | None) -> float | None:
    """A timeout as locks take it: in place of a longer one, as long as they can wait."""
    if timeout is None or timeout < threading.TIMEOUT_MAX:
        return timeout
    return threading.TIMEOUT_MAX


def hint(name: str, known: Collection[str], aliases: Mapping[str, str]) -> str:
    """What was meant by an unknown option, for the end of a message."""
    meant = aliases.get(name)
    if meant is not None and re.split("\\W", meant)[0] not in known:
        meant = None
    if meant is None:
        from difflib import get_close_matches  # which only mistakes need

        close = get_close_matches(name, known, 1, 0.7)
        meant = close[0] if close else None
    return "" if meant is None else f"; did you mean {meant}?"


def count(name: str, value: Any, *, least: int = 0) -> int:
    """A whole number of at least *least*, be it of Python or of numpy."""
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise InvalidArgumentType(f"{name} must be a whole number, got {shown(value)}")
    given = int(value)
    if given < least:
        raise InvalidArgument(f"{name} must be {least} or more, got {shown(value)}")
    return given


def one_of(name: str, value: Any, choices: tuple[str, ...]) -> str:
    """One of a few words."""
    if not isinstance(value, str):
        raise InvalidArgumentType(f"{name} must be a str, got {shown(value)}")
    if value not in choices:
        raise InvalidArgument(f"{name} must be one of {', '.join(choices)}, got {shown(value)}")
    return value


def flag(name: str, value: Any) -> bool:
    """True or False, nothing that only counts as such."""
    if not isinstance(value, bool):
        raise InvalidArgumentType(f"{name} must be True or False, got {shown(value)}")
    return value


def sink(name: str, value: Any) -> None:
    """None, something that can be called, or something with ``on_next``."""
    if value is not None and not callable(getattr(value, "on_next", value)):
        raise InvalidArgumentType(
            f"{name} must be callable or have on_next, got {shown(value)}"
        )


def timing(name: str, value: Any) -> None:
    """None or a reactivex scheduler."""
    if value is not None and not isinstance(value, abc.SchedulerBase):
        raise InvalidArgumentType(f"{name} must be a reactivex scheduler, got {shown(value)}")


def call(name: str, value: Any) -> Callable[..., Any]:
    """Something that can be called."""
    if not callable(value):
        raise InvalidArgumentType(f"{name} must be callable, got {shown(value)}")
    return value  # type: ignore[no-any-return]


def results_of_batch(given: Any, size: int, refused: tuple[type, ...]) -> list[Any]:
    """What a function of batches returned, none of the types *refused*, as a list of *size*."""
    results: list[Any] | None = None
    if not isinstance(given, refused):
        with suppress(TypeError):
            results = list(given)
    if results is None:
        raise BatchSizeError(f"a function of batches must return a list, got {shown(given)}")
    if len(results) != size:
        raise BatchSizeError(f"got {len(results)} results for a batch of {size}")
    return results
