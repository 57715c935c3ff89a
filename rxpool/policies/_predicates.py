"""Which exceptions are meant: a type, a tuple of types, or a predicate."""

from collections.abc import Callable
from typing import Any, TypeAlias, cast

from rxpool import _checks as checks
from rxpool.errors import InvalidArgumentType, RemoteError

__all__ = ("Errors", "chosen", "matches", "names")

Errors: TypeAlias = (
    type[BaseException] | tuple[type[BaseException], ...] | Callable[[BaseException], object]
)


def chosen(name: str, value: Any) -> None:
    """Refuse what is neither an exception type, a tuple of them, nor callable."""
    types: tuple[object, ...]
    if isinstance(value, tuple):
        types = cast("tuple[object, ...]", value)
    elif isinstance(value, type):
        types = (cast("type[object]", value),)
    elif callable(value):
        return
    else:
        types = (value,)
    for one in types:
        if not (isinstance(one, type) and issubclass(one, BaseException)):
            raise InvalidArgumentType(
                f"{name} must be an exception type, a tuple of them or a predicate, "
                f"got {checks.shown(value)}"
            )


def matches(errors: Errors, error: BaseException) -> bool:
    """Whether *error* is one of *errors*; what a predicate raises comes out.

    A `RemoteError` is also what it stands for, told by the names of classes.
    """
    if not isinstance(errors, (type, tuple)):
        return bool(errors(error))
    if isinstance(error, errors):
        return True
    if not isinstance(error, RemoteError):
        return False
    kinds = cast("Any", errors if isinstance(errors, tuple) else (errors,))
    return any(f"{kind.__module__}.{kind.__qualname__}" in error.type_names for kind in kinds)


def names(errors: Errors, kind: type[BaseException]) -> bool:
    """Whether *errors* speaks of *kind* itself, not only of a base class of it."""
    if isinstance(errors, tuple):
        return any(issubclass(one, kind) for one in cast("Any", errors))
    return not isinstance(errors, type) or issubclass(errors, kind)
