"""`pool.as_executor`: a pool where a `concurrent.futures.Executor` is wanted."""

# Futures and who gives them know each other.
# pyright: reportPrivateUsage=false

import sys
from collections.abc import Callable
from concurrent.futures import CancelledError, Executor
from contextlib import suppress
from typing import Any, ParamSpec, TypeVar

from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.calls import SubmitFlow
from rxpool.pool._flows.future import PoolFuture
from rxpool.pool._state.flow_state import FlowState

__all__ = ("PoolExecutor",)

_R = TypeVar("_R")
_P = ParamSpec("_P")


class _ExecutorCalls(SubmitFlow):
    """The calls of one executor."""

    name = "as_executor"
    closed = False  # under the engine's lock

    def __init__(self, engine: Engine) -> None:
        super().__init__(engine, FlowState(engine.slots, max_pending=sys.maxsize))

    def _check_open(self, admitted: bool) -> None:
        if self.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        super()._check_open(admitted)

    def futures(self) -> list[PoolFuture[Any]]:
        """Of all calls that are not done."""
        return list(self._unsettled.copy())

    def close(self) -> None:
        """Take no more."""
        with self._engine.lock:
            self.closed = True
            self.note_quiet()

    def note_quiet(self) -> None:
        """See `SubmitFlow`.  When all are done no more of them is kept than their counts."""
        super().note_quiet()
        if self.closed and self.quiet:
            self._engine.registry.retire(self.state)


class PoolExecutor(Executor):
    """See `WorkerPool.as_executor`."""

    def __init__(self, engine: Engine, pool: object) -> None:
        with engine.lock:
            engine.registry.check_open()
        self._calls = _ExecutorCalls(engine)
        self._pool = pool  # which is kept as long as this is

    def __repr__(self) -> str:
        return f"<PoolExecutor of {self._pool!r}>"

    def submit(
        self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PoolFuture[_R]:
        """Make one call; never waits, however many calls do.

        Raises:
            RuntimeError: After `shutdown`.
            PoolClosed: If the pool is closed.
        """
        return self._calls.submit(fn, args, kwargs)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and wait until those that were made are done.

        The pool stays open.

        Args:
            wait: Whether to wait.
            cancel_futures: Whether to cancel the calls that have not begun.
        """
        calls = self._calls
        calls.close()
        if cancel_futures:
            for future in calls.futures():
                future.cancel()
        if wait:
            for future in calls.futures():
                with suppress(CancelledError):
                    future.exception()
