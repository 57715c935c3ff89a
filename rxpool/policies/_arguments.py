"""Policies as users give them, checked where they are written."""

from numbers import Integral, Real
from typing import Any, TypeVar, cast

from rxpool import _checks as checks
from rxpool.errors import CircuitOpen, InvalidArgument, InvalidArgumentType
from rxpool.policies._retry import Retry

__all__ = (
    "asked_pause",
    "ends",
    "flaw",
    "for_errors_alone",
    "given",
    "is_seconds",
    "looks_at_results",
    "retry_given",
    "uses_budget",
)

_K = TypeVar("_K")


def given(kind: type[_K], name: str, value: Any) -> _K:
    """A policy of this kind, and nothing else."""
    if not isinstance(value, kind):
        raise InvalidArgumentType(
            f"{name} must be a {kind.__name__}, got {checks.shown(value)}"
        )
    return value


def retry_given(name: str, value: Any) -> Retry:
    """A `Retry`, or the number of its attempts."""
    if isinstance(value, Integral) and not isinstance(value, bool):
        return Retry(int(value))
    return given(Retry, name, value)


def ends(name: str, value: Any, why: str) -> Any:
    """A retry that comes to an end by itself; *why* nothing else would end it."""
    if isinstance(value, Retry) and value.max_attempts is None:
        raise InvalidArgument(f"{name} with max_attempts=None {why}, got {checks.shown(value)}")
    return value


def is_seconds(value: Any) -> bool:
    """Whether an error's ``retry_after`` says how long to wait."""
    if isinstance(value, bool) or not isinstance(value, Real):
        return False
    return 0 <= cast(float, value) < 1e9


def asked_pause(retry: Retry | None, error: Any) -> float | None:
    """The seconds for which *error*, or the response in it, asks all callers to stay away."""
    asked: Any = getattr(error, "retry_after", None)
    if is_seconds(asked):
        return float(asked)
    return None if retry is None or retry.answers is None else retry.answers.asked(error)


def looks_at_results(retry: Retry | None) -> bool:
    """Whether an attempt that returns may have failed."""
    return retry is not None and retry.answers is not None and retry.answers.on_result


def flaw(retry: Retry | None, result: Any) -> Exception | None:
    """What an attempt has failed with that returned *result*, if it has."""
    if retry is None or retry.answers is None:
        return None
    return retry.answers.looks_at(result)


def for_errors_alone(name: str, value: Any, what: str) -> Any:
    """A retry that does not look at results, for *what* has none that are responses."""
    if isinstance(value, Retry) and looks_at_results(value):
        raise InvalidArgument(
            f"{name} with on_result=True is not for {what}, got {checks.shown(value)}"
        )
    return value


def uses_budget(retry: Retry, error: BaseException) -> bool:
    """Whether another attempt burdens the other side, which has not said when to come."""
    if isinstance(error, CircuitOpen):
        return False
    return asked_pause(retry, error) is None
