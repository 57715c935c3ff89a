"""`Runner`: makes a call where it belongs, on a worker thread or on an event loop."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from functools import partial
from inspect import iscoroutinefunction
from threading import Lock
from typing import Any

from reactivex import abc

from rxpool.errors import InvalidArgumentType, TaskCancelled
from rxpool.pool import WorkerPool
from rxpool.timing import Clock

__all__ = ("Done", "Runner", "is_async", "loop_here")

Done = Callable[[Any, BaseException | None], object]


def is_async(fn: Any) -> bool:
    """Whether calling *fn* gives a coroutine."""
    while isinstance(fn, partial):
        fn = fn.func  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType]
    return iscoroutinefunction(fn) or iscoroutinefunction(getattr(fn, "__call__", None))  # noqa: B004


def loop_here() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs on this thread."""
    return asyncio._get_running_loop()


class Runner:
    """Coroutine functions run on the loop of whoever asked, if there is one.

    All else runs on a pool: the one given, or one of its own that is opened when it is
    needed first.  In virtual time that is one on the scheduler.
    """

    def __init__(
        self,
        name: str,
        pool: WorkerPool | None,
        workers: int,
        clock: Clock,
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        given: Any = pool
        if given is not None and not isinstance(given, WorkerPool):
            raise InvalidArgumentType(f"pool must be a WorkerPool, got {given!r}")
        self._name = name
        self._given = pool
        self._own: WorkerPool | None = None
        self._workers = workers
        self._on: Any = scheduler if clock.virtual else "threads"
        self._lock = Lock()
        self._tasks: set[asyncio.Task[Any]] = set()  # a loop holds its tasks weakly

    def run(
        self,
        fn: Callable[[], Any],
        loop: asyncio.AbstractEventLoop | None,
        context: Context | None,
        done: Done,
    ) -> None:
        """Call ``fn()``, as a task of *loop* unless that is None; tell *done* the end."""
        try:
            if loop is None:
                self._submit(fn, context, done)
            elif loop is loop_here():
                self._task(fn, loop, context, done)
            else:
                loop.call_soon_threadsafe(self._task, fn, loop, context, done)
        except Exception as error:  # the pool or the loop is closed
            done(None, error)

    def _submit(self, fn: Callable[[], Any], context: Context | None, done: Done) -> None:
        pool = self._pool()
        future = pool.submit(fn) if context is None else context.run(pool.submit, fn)

        def ended(future: Any) -> None:
            if future.cancelled():
                done(None, TaskCancelled(f"{self._name}: the pool cancelled the call"))
                return
            error = future.exception()
            done(None if error is not None else future.result(), error)

        future.add_done_callback(ended)

    def _task(
        self,
        fn: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
        done: Done,
    ) -> None:
        try:
            task = loop.create_task(fn(), context=context)
        except Exception as error:
            done(None, error)
            return
        self._tasks.add(task)

        def ended(task: "asyncio.Task[Any]") -> None:
            self._tasks.discard(task)
            if task.cancelled():
                done(None, TaskCancelled(f"{self._name}: the task was cancelled"))
                return
            error = task.exception()
            done(None if error is not None else task.result(), error)

        task.add_done_callback(ended)

    def _pool(self) -> WorkerPool:
        if self._given is not None:
            return self._given
        with self._lock:
            if self._own is None:
                self._own = WorkerPool(self._workers, on=self._on, name=self._name)
            return self._own

    def close(self) -> None:
        """End the pool, if that is its own."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            own.close()

    def abandon(self) -> None:
        """The same without waiting for what runs."""
        with self._lock:
            own, self._own = self._own, None
        if own is not None:
            own.terminate()
