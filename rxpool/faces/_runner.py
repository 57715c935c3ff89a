"""`Runner`: makes a call where it belongs, on a worker thread or on an event loop."""

import asyncio
from collections.abc import Callable
from contextvars import Context
from threading import Lock
from typing import Any

from reactivex import abc

from rxpool import _checks as checks
from rxpool._forks import afresh
from rxpool._threads import exiting
from rxpool.backends._awaiting import end_of
from rxpool.errors import InvalidArgumentType, PoolClosed, TaskCancelled
from rxpool.faces._guest import Guest
from rxpool.pool import WorkerPool, host
from rxpool.timing import Clock

__all__ = ("Done", "Runner", "loop_here")

Done = Callable[[Any, BaseException | None], object]


def loop_here() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs on this thread."""
    return asyncio._get_running_loop()


class _Away:
    """A call that was handed to an event loop."""

    __slots__ = ("context", "done", "fn", "loop", "task")

    def __init__(
        self,
        fn: Callable[[], Any],
        loop: asyncio.AbstractEventLoop,
        context: Context | None,
        done: Done,
    ) -> None:
        self.fn = fn
        self.loop = loop
        self.context = context
        self.done = done
        self.task: asyncio.Task[Any] | None = None  # kept: a loop holds its tasks weakly


def _is_over(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether nothing runs on *loop* any more, as far as can be known."""
    return loop.is_closed() or (exiting.begun and not loop.is_running())


class Runner:
    """Coroutine functions run on the loop of whoever asked, if there is one and it is open.

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
        guest: Guest,
    ) -> None:
        given: Any = pool
        if given is not None and not isinstance(given, WorkerPool):
            raise InvalidArgumentType(f"pool must be a WorkerPool, got {checks.shown(given)}")
        self._name = name
        # A pool that is given closes with what waits for it here done, or failed.
        self._given = None if pool is None else host(pool, guest)
        self._keeps = pool  # who can bring work keeps a pool, and its workers
        self._own: WorkerPool | None = None
        self._workers = workers
        self._on: Any = scheduler if clock.virtual else "threads"
        self._lock = afresh(Lock())
        self._away: set[_Away] = set()
        self._over = False

    def run(
        self,
        fn: Callable[[], Any],
        loop: asyncio.AbstractEventLoop | None,
        context: Context | None,
        done: Done,
    ) -> None:
        """Call ``fn()``, as a task of *loop* unless that is None; tell *done* the end."""
        away = None
        try:
            if loop is None or _is_over(loop):
                self._submit(fn, context, done)
                return
            away = _Away(fn, loop, context, done)
            self._away.add(away)
            if loop is loop_here():
                self._task(away)
            else:
                loop.call_soon_threadsafe(self._task, away)
        except Exception as error:  # the pool is closed, or the loop was just now
            if away is not None:
                self._away.discard(away)
            done(None, error)

    def _submit(self, fn: Callable[[], Any], context: Context | None, done: Done) -> None:
        submit = self._given or self._pool().submit
        future = submit(fn) if context is None else context.run(submit, fn)

        def ended(future: Any) -> None:
            if future.cancelled():
                done(None, TaskCancelled(f"{self._name}: the pool cancelled the call"))
                return
            error = future.exception()
            done(None if error is not None else future.result(), error)

        future.add_done_callback(ended)

    def _task(self, away: _Away) -> None:
        done = away.done
        try:
            away.task = task = away.loop.create_task(end_of(away.fn()), context=away.context)
        except Exception as error:
            self._away.discard(away)
            done(None, error)
            return

        def ended(task: "asyncio.Task[tuple[Any, BaseException | None]]") -> None:
            self._away.discard(away)
            if task.cancelled():
                done(None, TaskCancelled(f"{self._name}: the task was cancelled"))
                return
            done(*task.result())

        task.add_done_callback(ended)

    def forsake(self) -> None:
        """Calls on loops that run no more go to the pool; those that have begun are lost."""
        for away in [away for away in tuple(self._away) if _is_over(away.loop)]:
            self._away.discard(away)
            if away.task is None:
                self.run(away.fn, None, away.context, away.done)
            else:
                reason = f"{self._name}: the event loop ended before the call"
                away.done(None, TaskCancelled(reason))

    def _pool(self) -> WorkerPool:
        with self._lock:
            if self._over:
                raise PoolClosed(f"{self._name} is closed")
            if self._own is None:
                self._own = WorkerPool(self._workers, on=self._on, name=self._name)
            return self._own

    def forked(self) -> None:
        """A child opens a pool of its own, when it needs one."""
        self._own = None
        self._away.clear()

    def close(self) -> None:
        """End the pool, if that is its own."""
        if (own := self._take_own()) is not None:
            own.close()

    def abandon(self) -> None:
        """The same without waiting for what runs."""
        if (own := self._take_own()) is not None:
            own.terminate()

    def _take_own(self) -> WorkerPool | None:
        with self._lock:
            self._over = True
            own, self._own = self._own, None
        return own
