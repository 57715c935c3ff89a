"""How a pool ends: graceful or at once, and at interpreter exit."""

import atexit
import threading
from time import monotonic
from typing import Any, Protocol
from weakref import WeakSet

from rxpool.pool._engine import Engine

__all__ = ("Shutdown", "close_at_exit")

_GRACE = 1.0  #: seconds that `terminate` waits for subscribers and idle threads
_LOOK = 0.02  #: seconds between two looks at stages that hold items, while closing


class Shutdown:
    """Closes and terminates one engine."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._ended = False

    def close(self, timeout: float | None) -> bool:
        """See `WorkerPool.close`."""
        engine = self._engine
        deadline = None if timeout is None else monotonic() + timeout
        with engine.lock:
            engine.closing = True
            flows = list(engine.flows)
        for flow in flows:
            if not flow.sources:
                flow.cut()
        if engine.works_here() or engine.clock.virtual:
            self._cut_stranded()
            with engine.lock:
                finished = not engine.flows
            if finished:
                self._end(0.0)
            else:
                engine.when_quiet = lambda: self._end(0.0)
            return finished
        finished = self._drain(deadline)
        if not finished:
            self.terminate()
        self._end(None if deadline is None else max(0.0, deadline - monotonic()))
        return finished

    def terminate(self) -> None:
        """See `WorkerPool.terminate`."""
        engine = self._engine
        with engine.lock:
            engine.closing = engine.terminated = True
            flows = list(engine.flows)
        for flow in flows:
            flow.terminate(f"pool {engine.name!r} was terminated")
        if not (engine.works_here() or engine.clock.virtual):
            self._drain(monotonic() + _GRACE)
            self._end(_GRACE)
        else:
            self._end(0.0)

    def _drain(self, deadline: float | None) -> bool:
        """Wait until every flow has ended; whether that came before *deadline*."""
        engine = self._engine
        while True:
            stranded = self._cut_stranded()
            with engine.lock:
                if not engine.flows:
                    return True
                left = None if deadline is None else deadline - monotonic()
                if left is not None and left <= 0:
                    return False
                if stranded:
                    left = _LOOK if left is None else min(left, _LOOK)
                engine.changed.wait(left)

    def _cut_stranded(self) -> bool:
        """Cut the flows whose upstream flows have ended, though their source has not.

        They are fed by something else as well.  What lies in stages in between comes out
        first; whether any flow waits for that.
        """
        engine = self._engine
        waits = False
        with engine.lock:
            live = list(engine.flows)
        for flow in live:
            if flow.ledger.ended or not flow.sources:
                continue
            if any(source in live for source in flow.sources):
                continue
            if any(getattr(source, "held", 0) for source in flow.sources):
                waits = True
            else:
                flow.cut()
        return waits

    def _end(self, wait: float | None) -> None:
        if self._ended:
            return
        self._ended = True
        self._engine.backend.stop(wait)
        self._engine.faults.complete()


class _Closable(Protocol):
    def close(self, timeout: float | None = None) -> bool: ...


_open: "WeakSet[Any]" = WeakSet()


def close_at_exit(pool: _Closable) -> None:
    """Close *pool* when the interpreter exits, if it is still there."""
    _open.add(pool)


def _close_all() -> None:
    for pool in list(_open):
        pool.close()


# `atexit` would be too late: threads cannot be started any more then, and a subscriber may
# need one.  `concurrent.futures` uses the same hook.
getattr(threading, "_register_atexit", atexit.register)(_close_all)
