"""How a pool ends: graceful or at once, and at interpreter exit."""

import asyncio
import atexit
import sys
import threading
from time import monotonic
from typing import Any, Protocol
from weakref import WeakSet

from rxpool._core.inlet import Node
from rxpool._core.sleeper import Sleeper
from rxpool.errors import WouldBlock
from rxpool.pool._engine import Engine

__all__ = ("Shutdown", "close_at_exit")

_GRACE = 1.0  #: seconds that `terminate` waits for subscribers and idle threads
_LOOK = 0.02  #: seconds between two looks at what feeds the flows, while closing


class Shutdown:
    """Closes and terminates one engine."""

    def __init__(self, engine: Engine, calls: Node) -> None:
        self._engine = engine
        self._calls = calls
        self._ended = False

    def close(self, timeout: float | None) -> bool:
        """See `WorkerPool.close`."""
        engine = self._engine
        deadline = None if timeout is None else monotonic() + timeout
        with engine.lock:
            engine.closing = True
        if not self._may_wait():
            return self._close_without_waiting()
        finished = self._drain(deadline)
        if not finished:
            self.terminate()
        self._end(None if deadline is None else max(0.0, deadline - monotonic()))
        return finished

    def terminate(self) -> None:
        """See `WorkerPool.terminate`."""
        engine = self._engine
        engine.lost(f"pool {engine.name!r} was terminated")
        if self._may_wait():
            self._drain(monotonic() + _GRACE)
            self._end(_GRACE)
        else:
            self._end(0.0)

    async def leave(self, by_error: bool) -> None:
        """Close or terminate from a coroutine, without blocking its loop."""
        if self._may_wait():
            if by_error:
                await asyncio.to_thread(self.terminate)
            else:
                await asyncio.to_thread(self.close, None)
            return
        if by_error:
            self.terminate()
        elif self._engine.works_here() or self._engine.clock.virtual:
            self._close_without_waiting()
            return
        else:
            try:
                await self._drain_here()
            except BaseException:
                self.terminate()
                raise
            self._end(0.0)
        ended = getattr(self._engine.backend, "ended", None)
        if ended is not None:
            await ended(_GRACE)

    def check_left(self) -> None:
        """Raise `WouldBlock` if `close` did not wait because it must not block a loop."""
        if not (self._engine.works_here() or self._engine.clock.virtual):
            self._engine.backend.waits()

    def _may_wait(self) -> bool:
        engine = self._engine
        if engine.works_here() or engine.clock.virtual:
            return False
        try:
            engine.backend.waits()
        except WouldBlock:
            return False
        return True

    async def _drain_here(self) -> None:
        """Wait on this thread's loop until every flow has ended."""
        engine = self._engine
        sleeper = Sleeper()
        with engine.lock:
            engine.closing = True
        while True:
            look = self._cut_beginnings()
            with engine.lock:
                if not engine.flows:
                    return
                engine.when_changed = sleeper.wake
            await sleeper.sleep(_LOOK if look else None)

    def _close_without_waiting(self) -> bool:
        engine = self._engine

        def go_on() -> None:
            self._cut_beginnings()
            with engine.lock:
                if engine.flows:
                    engine.when_changed = go_on
                    return
            self._end(0.0)

        go_on()
        with engine.lock:
            return not engine.flows

    def _drain(self, deadline: float | None) -> bool:
        """Wait until every flow has ended; whether that came before *deadline*."""
        engine = self._engine
        while True:
            look = self._cut_beginnings()
            with engine.lock:
                if not engine.flows:
                    return True
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                if look:
                    left = _LOOK if left is None else min(left, _LOOK)
                engine.changed.wait(left)

    def _cut_beginnings(self) -> bool:
        """Cut the top of the newest flow's chain; whether it takes another look for that.

        A chain is cut where nothing live feeds it, and ends from there by its completions.
        Flows are subscribed from the bottom up, so the newest one is never fed by an older
        one.  Not every chain shows how it hangs together (`merge` subscribes later), hence
        one flow after the other; the others work on meanwhile.
        """
        with self._engine.lock:
            flows = list(self._engine.flows.items())
        # What an accepted item does with the pool belongs to it, and is not cut short.
        nodes: list[Node] = [
            flow for flow, nested in flows if not nested and flow is not self._calls
        ][-1:]
        look = False
        while nodes:
            node = nodes.pop()
            live = [source for source in node.sources if not source.ended]
            if live:
                look = True
                nodes.extend(live)
            elif not node.ended:
                node.cut()
        return look

    def _end(self, wait: float | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._engine.backend.stop(wait)
        with self._engine.lock:
            sums = self._engine.sums().sums
        self._engine.meter.chronicle.closed(sums)
        self._engine.meter.complete()
        self._engine.faults.complete()
        self._engine.progressed.complete()


class _Closable(Protocol):
    def close(self, timeout: float | None = None) -> bool: ...

    def terminate(self) -> None: ...


_open: "WeakSet[Any]" = WeakSet()


def close_at_exit(pool: _Closable) -> None:
    """Close *pool* when the interpreter exits, if it is still there."""
    _open.add(pool)


def _close_all() -> None:
    # Who pressed Ctrl-C does not want to wait for what was accepted.
    interrupted = isinstance(getattr(sys, "last_value", None), KeyboardInterrupt)
    for pool in list(_open):
        if interrupted:
            pool.terminate()
        else:
            pool.close()


# `atexit` would be too late: threads cannot be started any more then, and a subscriber may
# need one.  `concurrent.futures` uses the same hook.
getattr(threading, "_register_atexit", atexit.register)(_close_all)
