"""`Debouncing`: which of the calls of a burst is made, and who shares its result."""

# The states of futures are read and set here.
# pyright: reportPrivateUsage=false

from typing import Any

from rxpool._forks import bury, inside
from rxpool.errors import Overflow
from rxpool.faces._calls import Runs
from rxpool.faces._counts import Counts
from rxpool.faces._engine import FaceEngine
from rxpool.faces._future import CANCELLED, PENDING, RUNNING, FaceFuture
from rxpool.operators._debounce import DebounceState

__all__ = ("Debouncing",)


class Debouncing:
    """See `Work`.  The engine's lock guards it."""

    def __init__(self, state: DebounceState, trailing: bool) -> None:
        self.counts = Counts()
        self.runs = 0  #: calls that were begun
        self._state = state
        self._trailing = trailing
        self._running = Runs(self.counts)
        # Calls with one fate, in order; the last one that is not cancelled is made.
        self._held: list[FaceFuture[Any]] = []  # before the trailing edge
        self._next: list[FaceFuture[Any]] = []  # after an edge, before the run
        self._leader: FaceFuture[Any] | None = None  # without trailing: who began the burst

    def bury(self) -> None:
        """See `Work`."""
        bury(self._held, self._next, *inside(self._state))

    # -- calls that come and go -------------------------------------------------------------

    def add(self, future: FaceFuture[Any], now: float) -> FaceFuture[Any] | None:
        """Take a call; *future* if it has ended with that."""
        self.counts.waiting += 1
        self._state.offer(future, now, None, True)
        if self._emitted(future):
            return None
        if self._trailing:
            self._held.append(future)
            return None
        return self._follow(future)

    def refuse_more_than(self, most: int) -> None:
        """Take no call if so many wait for one run already."""
        if len(self._held) + len(self._next) >= most:
            raise Overflow(f"DebounceManager: max_pending={most} calls wait")

    def _follow(self, future: FaceFuture[Any]) -> FaceFuture[Any] | None:
        """Share the leading call's fate; *future* if that is settled."""
        leader, counts = self._leader, self.counts
        if leader is not None and leader._state is PENDING:
            # It waits for the run before it, and is the call that is to be made.
            self._next.insert(self._next.index(leader), future)
            return None
        sharing = self._running.shared_with(leader)
        if sharing is not None:
            counts.begin(1)
            future._state = RUNNING
            future.item = None
            sharing.append(future)
            return None
        if leader is None or leader._state is CANCELLED:
            future.end(CANCELLED)
            counts.cancel(1)
        else:
            future.put(leader._result, leader._exception)
            counts.begin(1)
            counts.end(1, leader._exception is not None)
        return future

    def clear(self) -> list[FaceFuture[Any]]:
        """Forget the burst, and what waits for its run: the futures that do."""
        self._state.clear()
        waiting = [each for each in (*self._next, *self._held) if each._state is PENDING]
        self._held, self._next = [], []
        return waiting

    def cancel(self) -> list[FaceFuture[Any]]:
        """Cancel all that waits; those futures."""
        cancelled = self.clear()
        for future in cancelled:
            future.end(CANCELLED)
        self.counts.cancel(len(cancelled))
        return cancelled

    def gone(self, future: FaceFuture[Any]) -> None:
        """See `Work`: it is passed over when the call to be made is chosen."""

    def cut(self) -> tuple[list[FaceFuture[Any]], list[FaceFuture[Any]]]:
        """See `Work`."""
        return self.clear(), self._running.cut()

    # -- edges ------------------------------------------------------------------------------

    @property
    def due(self) -> float | None:
        """When the next edge comes."""
        return self._state.due

    def expire(self, now: float) -> None:
        """Edges come with the timer alone: calls of one turn are one burst."""
        self._state.expire(now)
        self._emitted()

    def drain(self, now: float) -> None:
        """The burst is over: its trailing edge is now."""
        self._state.finish(now)
        self._emitted()

    def _emitted(self, newcomer: FaceFuture[Any] | None = None) -> bool:
        """Move what came to an edge to `_next`; whether *newcomer* did."""
        ready, found = self._state.ready, False
        while ready:
            future: FaceFuture[Any] = ready.popleft()
            if future is newcomer:
                found = True
                self._next.append(future)
                self._leader = None if self._trailing else future
            else:
                self._next += self._held
                self._held = []
        return found

    # -- runs -------------------------------------------------------------------------------

    def take(self, now: float) -> list[FaceFuture[Any]]:
        """The newest of the calls that came to an edge, unless another runs."""
        if self._running or not self._next:
            return []
        sharing = [future for future in self._next if future._state is PENDING]
        self._next = []
        if not sharing:
            return []
        for future in sharing:
            future._state = RUNNING
        for future in sharing[:-1]:
            future.item = None
        self.runs += 1
        self._running.add(sharing[-1], sharing)
        if self._leader is not None:
            self._leader = sharing[-1]
        return [sharing[-1]]

    def start(self, engine: FaceEngine, taken: FaceFuture[Any]) -> None:
        """Make the call."""
        self._running.make(engine, taken, _ended)


def _ended(now: float) -> None:
    """The end of a run: `take` sees that none goes on."""
