"""What kind of function it is that a user gave."""

import inspect
from functools import partial
from typing import Any, Final

__all__ = ("is_async",)

_DEEP: Final = 100  #: so often a function may be wrapped


def is_async(function: Any, *, wrapped: bool = False) -> bool:
    """Whether calling *function* gives a coroutine: an ``async def``, bound or partial.

    Or an object whose class has an async ``__call__``; the class itself makes objects.

    Args:
        function: What is to be called; of anything else the answer is no.
        wrapped: Look into what ``functools.wraps`` was used for, too.  A wrapper mostly returns
            the coroutine, but may as well run it: so only for those to whom that is the same.
    """
    inner: Any = function
    for _ in range(_DEEP):
        if inspect.iscoroutinefunction(inner):
            return True
        if isinstance(inner, partial):
            inner = inner.func  # pyright: ignore[reportUnknownMemberType]
        elif inspect.ismethod(inner):
            inner = inner.__func__
        elif wrapped and hasattr(inner, "__wrapped__"):
            inner = inner.__wrapped__
        elif isinstance(inner, type):
            return False
        else:
            call = getattr(type(inner), "__call__", None)  # noqa: B004 # pyright: ignore[reportUnknownArgumentType]
            return inspect.iscoroutinefunction(call)
    return False
