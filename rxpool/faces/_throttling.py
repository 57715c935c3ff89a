"""`Throttling`: which calls of a line start, and what becomes of them."""

# The states of futures are set here.
# pyright: reportPrivateUsage=false

from typing import Any

from rxpool._forks import bury, inside
from rxpool.faces._calls import Runs
from rxpool.faces._counts import Counts
from rxpool.faces._engine import FaceEngine
from rxpool.faces._future import RUNNING, FaceFuture
from rxpool.faces._line import LineState

__all__ = ("Throttling",)


class Throttling:
    """See `Work`.  The engine's lock guards it."""

    def __init__(self, line: LineState) -> None:
        self.counts = Counts()
        self._line = line
        self._runs = Runs(self.counts)
        self.started = 0  #: calls so far

    @property
    def due(self) -> float | None:
        """When the first in line may start."""
        return self._line.due

    def join(self, future: FaceFuture[Any], now: float) -> bool:
        """Let it stand in line, if there is room.  The engine's lock is held."""
        if not self._line.join(future, now):
            return False
        self.counts.waiting += 1
        return True

    def expire(self, now: float) -> None:
        """See `Work`: `take` does it all."""

    def take(self, now: float) -> list[FaceFuture[Any]]:
        """The calls whose turn has come."""
        taken: list[FaceFuture[Any]] = []
        while (future := self._line.next(now)) is not None:
            future._state = RUNNING
            self._runs.add(future, [future])
            taken.append(future)
        self.started += len(taken)
        return taken

    def start(self, engine: FaceEngine, taken: FaceFuture[Any]) -> None:
        """Make the call."""
        self._runs.make(engine, taken, self._line.end)

    def drain(self, now: float) -> None:
        """See `Work`: a rate holds at the end too."""

    def gone(self, future: FaceFuture[Any]) -> None:
        """A call left the line."""
        self._line.leave(future)

    def cut(self) -> tuple[list[FaceFuture[Any]], list[FaceFuture[Any]]]:
        """Forget the line, and what runs."""
        return self._line.clear(), self._runs.cut()

    def bury(self) -> None:
        """See `Work`."""
        bury(*inside(self._line))
