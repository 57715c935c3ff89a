"""`PoolFuture`: the future of one call."""

# A future and the flow of calls know each other.
# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import Generator
from concurrent.futures import Future
from concurrent.futures._base import (
    CANCELLED,
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    PENDING,
    RUNNING,
)
from typing import Any, Generic, Protocol, TypeVar

from rxpool._checks import seconds_to_wait
from rxpool._core.sleeper import Sleeper
from rxpool._forks import bury, free
from rxpool.errors import PoolClosed
from rxpool.pool._state.task import Task

__all__ = ("PoolFuture", "let_go")

_R = TypeVar("_R")


class _Flow(Protocol):
    """What a future asks of the flow of its call."""

    def help(self, future: "PoolFuture[Any]") -> None:
        """If a task of this pool is about to wait for a call that waits, run that here."""

    def waits(self) -> None:
        """This thread is going to wait for a call."""

    def withdraw(self, future: "PoolFuture[Any]") -> bool:
        """Take back a call that waits; whether it did."""
        ...


class PoolFuture(Future[_R], Generic[_R]):
    """A `concurrent.futures.Future` that can also be awaited.

    `cancel` succeeds while the call waits.  A task of the same pool that asks for the
    result runs the call itself if no worker has started it.
    """

    def __init__(self, calls: _Flow) -> None:
        super().__init__()
        self._calls = calls
        self._task: Task | None = None

    def __await__(self) -> Generator[Any, None, _R]:
        self._calls.help(self)
        if not self.done():
            # Not by the exception of a future of the loop: what is thrown into a coroutine is
            # not always what comes out of it.
            sleeper = Sleeper()
            self.add_done_callback(lambda _: sleeper.wake())
            try:
                yield from sleeper.sleep().__await__()
            except asyncio.CancelledError:
                self.cancel()
                raise
        if self.cancelled():
            raise asyncio.CancelledError
        return super().result()

    def cancel(self) -> bool:
        """Cancel the call if it has not started."""
        withdrawn = self._calls.withdraw(self)
        cancelled = super().cancel()
        if withdrawn and cancelled:
            self.set_running_or_notify_cancel()  # tells those who wait; no worker will
        return cancelled

    def result(self, timeout: float | None = None) -> _R:
        """The value, or the exception raised; waits for it."""
        self._calls.help(self)
        if not self.done():
            self._calls.waits()
        return super().result(seconds_to_wait(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception raised, or None; waits for the end."""
        self._calls.help(self)
        if not self.done():
            self._calls.waits()
        return super().exception(seconds_to_wait(timeout))

    def forked(self, why: str) -> None:
        """This is a forked child, and the result will come to the parent alone.

        Callbacks are not made: they are the parent's.  This thread may be waiting, if it was
        a signal handler that forked.
        """
        own: Any = self
        bury(own._done_callbacks, self._task)
        own._done_callbacks = []
        self._task = None
        if self._state in (PENDING, RUNNING):
            self._exception = PoolClosed(why)
            self._state = FINISHED
        elif self._state == CANCELLED:
            self._state = CANCELLED_AND_NOTIFIED
        let_go(self)


def let_go(future: Any) -> None:
    """In a forked child: let go of who waits for *future*, which has ended."""
    free(future._condition)
    for waiter in future._waiters:
        free(waiter.event)
        if hasattr(waiter, "lock"):
            free(waiter.lock)
        waiter.add_exception(future)
