"""`FlowEnd`: how one subscription ends, and whether it has."""

from typing import Any

from reactivex import abc
from reactivex.disposable import SingleAssignmentDisposable

from rxpool._core.inlet import tell_watchers
from rxpool._core.reach import leave_behind
from rxpool.errors import PoolClosed
from rxpool.pool._engine.engine import Engine
from rxpool.pool._state.flow_state import FlowState

__all__ = ("FlowEnd",)


class FlowEnd:
    """Knows whether anything more comes out, and with what that ends.

    *flow* is the node that ends, as the pool and who watches it know it.  The engine's lock
    guards the fields; nothing of the user is called under it.
    """

    __slots__ = (
        "_engine",
        "_name",
        "_observer",
        "_state",
        "failure",
        "flow",
        "foreign",
        "over",
        "upstream",
    )

    def __init__(
        self,
        flow: Any,
        engine: Engine,
        state: FlowState,
        observer: abc.ObserverBase[Any],
        name: str,
    ) -> None:
        self.flow = flow
        self._engine = engine
        self._state = state
        self._observer = observer
        self._name = name
        self.over = False  #: nothing comes out any more
        self.failure: BaseException | None = None  #: what comes after the results
        self.foreign: str | None = None  #: in a forked child: what is still to be said
        self.upstream = SingleAssignmentDisposable()

    def leave_source(self) -> None:
        """Take nothing more from it; what its subscription raises keeps nobody from the end."""
        try:
            self.upstream.dispose()
        except Exception as error:
            self._engine.telemetry.fault(f"leaving the source of {self._name}", error)

    def cancel(self) -> bool:
        """Cancel everything: nothing comes out any more.  False if that was so already."""
        engine, state = self._engine, self._state
        with engine.lock:
            if self.over:
                return False
            self.over = True
            state.end()
            reason = f"{self._name}: the subscription was disposed"
            tasks = state.cancellation.running(reason, False, engine.now())
            state.cancellation.waiting(reason, False)
            state.results.discard()
        self.leave_source()
        engine.dispatcher.abandon(tasks)
        return True

    def dispose(self) -> None:
        """The subscriber left: cancel everything."""
        if self.cancel():
            self._forget()

    def tell(self, error: Any) -> None:
        """Tell the observer; only then has the flow ended for who waits for that."""
        way = self._engine.look_below(self.flow)
        try:
            if error is None:
                self._observer.on_completed()
            else:
                self._observer.on_error(error)
        finally:
            leave_behind(way)
            self.over = True
            self._forget()

    def _forget(self) -> None:
        self._engine.forget(self.flow)
        tell_watchers(self.flow)

    def forked(self, why: str) -> None:
        """This is a forked child, in which nothing more comes of this, and *why*."""
        if not self.over:
            self.over, self.foreign = True, why

    def say_why(self) -> None:
        """In a forked child something comes here: tell the subscriber, once."""
        with self._engine.lock:
            why, self.foreign = self.foreign, None
        if why is not None:
            self._observer.on_error(PoolClosed(why))
            self.upstream.dispose()
