"""`FaceFuture`: the future of one call, made cheap for a hundred thousand of them."""

# The states and fields of the base class are used, which `concurrent.futures.wait` does too.
# pyright: reportPrivateUsage=false

import asyncio
from collections.abc import Generator, Iterable
from concurrent.futures import Future
from concurrent.futures._base import (
    CANCELLED_AND_NOTIFIED,
    FINISHED,
    LOGGER,
    PENDING,
    RUNNING,
)
from contextlib import suppress
from threading import Condition, Lock
from typing import Any, Final, Protocol, TypeVar

from rxpool import _forks
from rxpool._checks import seconds_to_wait
from rxpool._core.causes import as_failure, ends_program
from rxpool.errors import PoolClosed
from rxpool.pool import PoolFuture
from rxpool.pool._flows.future import let_go

__all__ = ("CANCELLED", "PENDING", "RUNNING", "FaceFuture", "Giver", "wake")

_R = TypeVar("_R")

CANCELLED: Final = CANCELLED_AND_NOTIFIED
_guard = _forks.afresh(Lock())  #: of the making of conditions; a leaf


class Giver(Protocol):
    """Who gives out futures."""

    def withdraw(self, future: "FaceFuture[Any]") -> bool:
        """Take back a call that waits, setting its state to `CANCELLED`; whether it was."""
        ...

    def waits(self) -> None:
        """A thread is going to wait for a result; raises where it must not."""
        ...


class _Nobody:
    """Who gives out futures that have ended: so these keep nothing alive."""

    def withdraw(self, future: "FaceFuture[Any]") -> bool:
        """It is too late."""
        return False

    def waits(self) -> None:
        """There is nothing to wait for."""


_nobody: Final = _Nobody()


class _Lazy:
    """The condition of a future and what it guards, made when somebody needs them."""

    def __get__(self, future: Any, owner: Any = None) -> Any:
        fields = future.__dict__
        with _guard:
            if "_condition" not in fields:
                fields["_waiters"] = []
                fields["_done_callbacks"] = []
                fields["_shared"] = True
                fields["_condition"] = Condition()
        return fields["_condition"]


class FaceFuture(PoolFuture[_R]):
    """A `concurrent.futures.Future` that can also be awaited, on any event loop.

    Most are awaited on one loop and need no condition: making one and waking through it
    costs more than the rest of the call.  It is made when a thread waits, or a callback is
    added.  The last state is set first, then who awaits is looked for; who awaits does it
    the other way round.  The giver sees to it, under its lock, that a future is settled once.
    """

    _condition: Any = _Lazy()
    _state: str = PENDING
    _result: Any = None
    _exception: BaseException | None = None
    _listeners: Any = ()
    _shared = False  #: there is a condition

    def __init__(self, giver: Giver, item: Any) -> None:
        self._giver: Giver = giver
        self.item: Any = item  #: what is to be done; dropped when it is done

    # -- asking ---------------------------------------------------------------------------

    def done(self) -> bool:
        """Whether it ended, in whichever way."""
        return self._state is FINISHED or self._state is CANCELLED

    def running(self) -> bool:
        """Whether it began and has not ended."""
        return self._state is RUNNING

    def cancelled(self) -> bool:
        """Whether it was cancelled before it began."""
        return self._state is CANCELLED

    def result(self, timeout: float | None = None) -> _R:
        """The value, or the exception raised; waits for it."""
        if self._state is FINISHED:
            return self._outcome()
        if self._state is not CANCELLED:
            self._giver.waits()
        return Future[_R].result(self, seconds_to_wait(timeout))

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """The exception raised, or None; waits for the end."""
        if not self.done():
            self._giver.waits()
        return Future[_R].exception(self, seconds_to_wait(timeout))

    def __await__(self) -> Generator[Any, None, _R]:
        if not self.done():
            listener = asyncio.get_running_loop().create_future()
            self.__dict__.setdefault("_listeners", []).append(listener)
            if not self.done():
                try:
                    yield from listener
                except asyncio.CancelledError:
                    self.cancel()
                    raise
        if self._state is CANCELLED:
            raise asyncio.CancelledError
        return self._outcome()

    def _outcome(self) -> _R:
        if self._exception is None:
            return self._result  # type: ignore[no-any-return]
        try:
            raise self._exception
        finally:
            del self  # no cycle of the exception's traceback and this

    def forked(self, why: str) -> None:
        """See `PoolFuture`."""
        own: Any = self
        _forks.bury(self.item, self._listeners, own.__dict__.get("_done_callbacks"))
        self._listeners = ()
        self.item = None
        self._exception = PoolClosed(why)
        self._state = FINISHED
        if self._shared:
            own._done_callbacks = []
            let_go(self)

    # -- ending ---------------------------------------------------------------------------

    def cancel(self) -> bool:
        """Take the call back if it has not begun."""
        if self._giver.withdraw(self):
            wake((self,))
        return self._state is CANCELLED

    def put(self, value: Any, error: BaseException | None) -> None:
        """Set the end; `wake` is to follow."""
        self.item = None
        if error is None:
            self._result = value
        else:
            self._exception = as_failure(error)
        self.end(FINISHED)

    def end(self, state: str) -> None:
        """Change the state to one of the last ones; `wake` is to follow.

        Whoever waits by `concurrent.futures.wait` looks at the state twice, so that must not
        change between: not while the condition is held, nor while it is being made.
        """
        with _guard:
            if not self._shared:
                self._state = state
                self._giver = _nobody
                return
        with self._condition:
            self._state = state
            self._giver = _nobody
            for waiter in self._waiters:
                if state is CANCELLED:
                    waiter.add_cancelled(self)
                elif self._exception is not None:
                    waiter.add_exception(self)
                else:
                    waiter.add_result(self)
            self._condition.notify_all()

    def set_result(self, result: _R) -> None:
        """For the giver only."""
        self.put(result, None)
        wake((self,))

    def set_exception(self, exception: BaseException | None) -> None:
        """For the giver only."""
        self.put(None, exception)
        wake((self,))

    def tell(self) -> None:
        """Make callbacks."""
        own: Any = self
        with self._condition:
            callbacks: list[Any] = own._done_callbacks
            own._done_callbacks = []
        for callback in callbacks:
            try:
                callback(self)
            except BaseException as error:
                LOGGER.exception("exception calling callback for %r", self)
                if ends_program(error):
                    raise


def wake(futures: Iterable[FaceFuture[Any]]) -> None:
    """Tell all who wait for *futures*, which have ended; once per event loop."""
    loops: dict[Any, list[Any]] = {}
    told: list[FaceFuture[Any]] = []
    for future in futures:
        for listener in future._listeners:
            loop = listener.get_loop()
            if loop in loops:
                loops[loop].append(listener)
            else:
                loops[loop] = [listener]
        if future._shared:
            told.append(future)
    here = asyncio._get_running_loop() if loops else None
    for loop, listeners in loops.items():
        if loop is here:
            _end(listeners)
            continue
        with suppress(RuntimeError):  # the loop is closed, and nobody waits there
            loop.call_soon_threadsafe(_end, listeners)
    generation = _forks.generation
    for future in told:
        if _forks.generation != generation:
            return  # a callback has forked: the others are the parent's
        future.tell()


def _end(listeners: list["asyncio.Future[None]"]) -> None:
    for listener in listeners:
        if not listener.done():
            listener.set_result(None)
