"""`current_task`: what running work can ask and tell about itself."""

import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from numbers import Real
from typing import Any, Final, Generic, Protocol, TypeVar

from rxpool.errors import InvalidArgument, InvalidArgumentType

__all__ = ("CurrentTask", "Handle", "Progress", "current_task", "find_with", "held")

_T_co = TypeVar("_T_co", covariant=True)


@dataclass(frozen=True, slots=True)
class Progress(Generic[_T_co]):
    """How far the work on an item is."""

    item: _T_co  #: of `WorkerPool.submit`: the future
    fraction: float  #: from 0 to 1


class Handle(Protocol):
    """What a backend knows of the task that asks."""

    def cancelled(self) -> bool:
        """Whether nobody wants the result any more."""
        ...

    def progress(self, fraction: float) -> None:
        """Tell the pool."""


class CurrentTask:
    """The task that calls `current_task`, seen from inside."""

    __slots__ = ("_handle",)

    def __init__(self, handle: Handle | None) -> None:
        self._handle = handle

    @property
    def cancelled(self) -> bool:
        """Whether nobody wants the result any more: the item was cancelled or ran too long.

        A thread cannot be ended, so long work on threads asks this now and then.  In a
        process, and outside of any task, it is False.
        """
        return self._handle is not None and self._handle.cancelled()

    def progress(self, fraction: float) -> None:
        """Tell how far the work is, from 0 to 1; comes out of `WorkerPool.progress`."""
        if isinstance(fraction, bool) or not isinstance(fraction, Real):
            raise InvalidArgumentType(f"fraction must be a number, got {_shown(fraction)}")
        if math.isnan(fraction) or not 0 <= fraction <= 1:
            raise InvalidArgument(f"fraction must be from 0 to 1, got {fraction!r}")
        if self._handle is not None:
            self._handle.progress(fraction)


#: the task of a coroutine, which shares its thread with others
held: ContextVar[Handle | None] = ContextVar("rxpool_task", default=None)

_finders: Final[list[Callable[[], Handle | None]]] = []
_NOBODY: Final = CurrentTask(None)


def _shown(value: object) -> str:
    try:
        return repr(value)
    except Exception:
        return f"<{type(value).__qualname__}>"


def find_with(finder: Callable[[], Any]) -> None:
    """Ask *finder* too when `current_task` is called."""
    _finders.append(finder)


def current_task() -> CurrentTask:
    """The task that this thread, process or coroutine runs.

    Outside of any task it answers one that is never cancelled and tells nobody, so that
    functions can be called, and tested, without a pool.
    """
    for finder in _finders:
        found = finder()
        if found is not None:
            return CurrentTask(found)
    # Last, as what is started from a coroutine has its variables, work of other pools too.
    handle = held.get()
    return _NOBODY if handle is None else CurrentTask(handle)
