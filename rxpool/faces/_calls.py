"""`Call`: what is to be called, and `CallFace`: what throttle and debounce have in common."""

# A future and who gives it know each other.
# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import Callable
from contextvars import Context, copy_context
from functools import partial
from typing import Any

from rxpool._core.functions import is_async
from rxpool.faces._face import Face
from rxpool.faces._future import FaceFuture, wake
from rxpool.faces._runner import loop_here

__all__ = ("Call", "CallFace")


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


class CallFace(Face):
    """Runs single calls; several futures may share the result of one."""

    _running: dict[FaceFuture[Any], list[FaceFuture[Any]]]

    def _ran(self, error: BaseException | None, count: int, now: float) -> None:
        """A call that *count* futures share ended.  The lock is held."""
        raise NotImplementedError

    def _busy(self) -> bool:
        return bool(self._running)

    def _run(self, future: FaceFuture[Any]) -> None:
        """Make the call of *future*, if it is still in `_running`."""
        with self._lock:
            if future not in self._running:
                return  # terminated meanwhile
            call: Call = future.item

        def done(value: Any, error: BaseException | None) -> None:
            with self._lock:
                sharing = self._running.pop(future, None)
                if sharing is None:
                    return  # terminated meanwhile
                for each in sharing:
                    each.put(value, error)
                if error is None:
                    self._succeeded += len(sharing)
                else:
                    self._failed += len(sharing)
                self._ran(error, len(sharing), self._now())
            try:
                wake(sharing)
            finally:
                self._pump()

        made = partial(call.fn, *call.args, **call.kwargs)  # all that may go to a process
        self._runner.run(made, call.loop, call.context, done)

    def _cut_running(self) -> list[FaceFuture[Any]]:
        """The futures of all that runs."""
        cut = [each for sharing in self._running.values() for each in sharing]
        self._running.clear()
        return cut
