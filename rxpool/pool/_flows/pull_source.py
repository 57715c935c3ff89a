"""`PullSource`: what `pool.pull` reads, as a node, and how the reading ends."""

import asyncio
from collections.abc import Callable
from typing import Any, Final

from reactivex import abc

from rxpool._core.inlet import Inlet, Node, flows, nodes_below, tell_watchers
from rxpool.errors import PoolClosed
from rxpool.pool._engine.engine import Engine

__all__ = ("PullSource",)

_READ_ON: Final = 2.0  #: seconds that a closing pool goes on reading what may have no end


class PullSource:
    """The end of what is read, as `Node` and closing pools see it.

    Whoever takes the one `_end` there is tells the observer.  A reader says that it is going
    to read, then looks whether it was stopped; who stops it does so, then looks whether it
    is reading: so one of the two sees the other.
    """

    rxpool_node: Final = True

    def __init__(
        self,
        engine: Engine,
        observer: abc.ObserverBase[Any],
        inlet: Inlet | None,
        loop: asyncio.AbstractEventLoop | None,
        has_an_end: bool,
    ) -> None:
        self.sources: list[Node] = []
        self.watchers: list[Callable[[], object]] = []
        self.ended = False
        self._engine = engine
        self._observer = observer
        self._inlet = inlet
        self._loop = None if engine.clock.virtual else loop
        self.has_an_end = has_an_end
        self._stopped = False
        self._emitting = False
        self._end: list[None] = [None]
        flows[self] = None
        if below := nodes_below():
            below[-1].sources.append(self)

    @property
    def ending(self) -> bool:
        """Whether nothing more is read, and the observer is not told yet."""
        return self._stopped and not self.ended

    @property
    def busy(self) -> bool:
        """Whether there is more to read."""
        return not self.ended

    @property
    def feeds(self) -> Any:
        """Who gets the items."""
        return self._observer

    def stands_still(self, loop: Any) -> bool:
        """Whether only that loop can read on."""
        return loop is not None and loop is self._loop

    @property
    def _over(self) -> bool:
        """Whether to read no more.

        Whoever cuts or leaves this subscription may not have it yet.
        """
        return self._stopped or (self._inlet is not None and self._inlet.closed)

    def cut(self) -> None:
        """The pool is closing: stop, unless there is an end to come to.

        What was subscribed on an event loop was going to be read there, as it would have
        been before `subscribe` returned elsewhere.  So it is read on for a while, and if it
        does not end then, that is an error.
        """
        if self.has_an_end and not self.stands_still(self._engine.registry.blocked):
            return
        if self._loop is None:
            self._stop_with(None)
            return
        clock = self._engine.clock
        if self.stands_still(self._engine.registry.blocked):
            self.abort(self._unread("the event loop that reads it is blocked: 'async with'"))
            return
        alarm = clock.alarm(
            clock.now() + _READ_ON, lambda _: self.abort(self._unread("wait for the stream"))
        )
        self.watchers.append(alarm.dispose)

    def _unread(self, what: str) -> PoolClosed:
        return PoolClosed(
            f"pool {self._engine.name!r} was closed before pool.pull came to the end of its "
            f"input; {what} before the block ends"
        )

    def abort(self, error: Exception) -> None:
        """Read no more, and end with *error*."""
        self._stop_with(error)

    def _stop_with(self, error: Exception | None) -> None:
        self._error = error
        self._stopped = True
        if not self._emitting:
            self._finish(error)
        self._wake_up()

    _error: Exception | None = None  #: what to end with once it is stopped

    def _finish(self, error: BaseException | None) -> None:
        """Tell the observer the end, if nobody has."""
        try:
            self._end.pop()
        except IndexError:
            return
        try:
            if error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(error)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
        finally:
            self._is_over()

    def _leave(self) -> None:
        """Nothing more is read: tell why, unless it is the subscriber that wants no more."""
        if self._stopped:
            self._finish(self._error)
        else:
            self.stop()

    def stop(self) -> None:
        """The subscriber left: read no more."""
        self._end.clear()
        self._stopped = True
        self._is_over()
        self._wake_up()

    def _is_over(self) -> None:
        self._stopped = True
        self.ended = True
        tell_watchers(self)

    def _wake_up(self) -> None:
        """Get the reader out of its wait for room."""
