"""`Call`: what is to be called, and `Runs`: single calls that run."""

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from rxpool._core.functions import is_async
from rxpool.faces._counts import Counts
from rxpool.faces._engine import FaceEngine
from rxpool.faces._future import FaceFuture, wake
from rxpool.faces._runner import loop_here

__all__ = ("Call", "Runs")


class Call:
    """A function, its arguments, and where it belongs."""

    __slots__ = ("args", "context", "fn", "kwargs", "loop")

    def __init__(self, fn: Callable[..., Any], args: Any, kwargs: Any) -> None:
        self.fn = fn
        self.args = args
        self.kwargs = kwargs
        self.loop: asyncio.AbstractEventLoop | None = loop_here() if is_async(fn) else None
        context = copy_context()
        self.context: Context | None = context if len(context) else None


class Runs:
    """The calls that run; several futures may share the result of one.

    The engine's lock guards it.
    """

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._sharing: dict[FaceFuture[Any], list[FaceFuture[Any]]] = {}

    def __bool__(self) -> bool:
        return bool(self._sharing)

    def add(self, future: FaceFuture[Any], sharing: list[FaceFuture[Any]]) -> None:
        """The call of *future* is to be made for all of these.  The lock is held."""
        self._sharing[future] = sharing
        self._counts.begin(len(sharing))

    def shared_with(self, future: FaceFuture[Any] | None) -> list[FaceFuture[Any]] | None:
        """All that share one call with *future*, if that runs.  The lock is held."""
        return next((all for all in self._sharing.values() if future in all), None)

    def make(
        self, engine: FaceEngine, future: FaceFuture[Any], ended: Callable[[float], object]
    ) -> None:
        """Make the call of *future*, unless it was cut; *ended* is told, the lock held."""
        with engine.lock:
            if future not in self._sharing:
                return  # terminated meanwhile
            call: Call = future.item

        def done(value: Any, error: BaseException | None) -> None:
            with engine.lock:
                sharing = self._sharing.pop(future, None)
                if sharing is None:
                    return  # terminated meanwhile
                for each in sharing:
                    each.put(value, error)
                self._counts.end(len(sharing), 0 if error is None else len(sharing))
                ended(engine.now())
            try:
                wake(sharing)
            finally:
                engine.pump()

        made = partial(call.fn, *call.args, **call.kwargs)  # all that may go to a process
        engine.runner.run(made, call.loop, call.context, done)

    def cut(self) -> list[FaceFuture[Any]]:
        """The futures of all that runs, which end otherwise.  The lock is held."""
        cut = [each for sharing in self._sharing.values() for each in sharing]
        self._sharing.clear()
        return cut
