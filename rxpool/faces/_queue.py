"""`QueueState`: batches that wait for their turn, fresh ones and those to be tried again."""

from collections import deque
from heapq import heappop, heappush
from itertools import count
from typing import Any

from rxpool.faces._future import PENDING
from rxpool.operators._batch import BatchState

__all__ = ("Batch", "QueueState")

_FEW_GONE = 64  #: so many cancelled calls may lie in full batches before these are redone


class Batch:
    """Calls that are made together."""

    __slots__ = ("attempts", "begun", "calls", "failed_at", "since")

    def __init__(self, calls: list[Any]) -> None:
        self.calls = calls
        self.attempts = 0  #: made so far
        self.begun = False  #: the calls are counted as running
        self.since = 0.0  #: when the first one began
        self.failed_at = 0.0  #: when the last one failed


class QueueState:
    """Decides which batch is next.  Knows no clock and no thread.

    What is to be tried again and is due comes first, then full batches in order, then the
    open one if it is old enough.  While all places are taken the open batch goes on
    filling, so a batch that waits for its turn is as full as it can be.

    A call that was cancelled stays where it is until its batch is next; those in full
    batches are taken out when they are more than the rest.
    """

    __slots__ = (
        "_again",
        "_full",
        "_gone",
        "_later",
        "_max_size",
        "_order",
        "_places",
        "filling",
        "running",
    )

    def __init__(self, max_size: int, max_delay: float, max_in_flight: int) -> None:
        self.filling = BatchState(max_size, max_delay)
        self._max_size = max_size
        self._places = max_in_flight
        self._full: deque[list[Any]] = deque()
        self._again: deque[Batch] = deque()
        self._later: list[tuple[float, int, Batch]] = []
        self._order = count()
        self._gone = 0
        self.running: set[Batch] = set()

    @property
    def due(self) -> float | None:
        """When `take` may have something to give, if nothing else happens."""
        if len(self.running) >= self._places:
            return None
        due = self.filling.due
        if self._later and (due is None or self._later[0][0] < due):
            due = self._later[0][0]
        return due

    @property
    def idle(self) -> bool:
        """Whether nothing runs and nothing will be tried again."""
        return not (self.running or self._again or self._later)

    def take(self, now: float) -> Batch | None:
        """The next batch, which runs from now on.  Its calls are still to be looked at."""
        if len(self.running) >= self._places:
            return None
        while self._later and self._later[0][0] <= now:
            self._again.append(heappop(self._later)[2])
        if self._again:
            batch = self._again.popleft()
        else:
            self._close_full()
            if not self._full:
                self.filling.expire(now)
                self._close_full()
            if not self._full:
                return None
            batch = Batch(self._full.popleft())
            batch.since = now
        batch.attempts += 1
        self.running.add(batch)
        return batch

    def end(self, batch: Batch) -> bool:
        """*batch* ended; False if it was given up before."""
        if batch not in self.running:
            return False
        self.running.discard(batch)
        return True

    def repeat(self, batch: Batch, due: float) -> None:
        """Try *batch* again at *due*."""
        heappush(self._later, (due, next(self._order), batch))

    def halve(self, batch: Batch) -> None:
        """Try the two halves of *batch* next, each with attempts of its own."""
        middle = len(batch.calls) // 2
        for calls in (batch.calls[middle:], batch.calls[:middle]):
            half = Batch(calls)
            half.begun, half.since = True, batch.since
            self._again.appendleft(half)

    def flush(self) -> None:
        """Let the open batch wait for nothing but its turn."""
        self.filling.flush()
        self._close_full()

    def cancelled(self, waiting: int) -> None:
        """A call that waits, in whichever batch, was cancelled; so many still wait."""
        self._gone += 1
        if self._gone > _FEW_GONE and self._gone > waiting:
            self._gone = 0
            self._close_full()
            alive = [call for calls in self._full for call in calls if call._state is PENDING]
            size = self._max_size
            self._full = deque(alive[at : at + size] for at in range(0, len(alive), size))

    def clear(self) -> tuple[list[Any], list[Any]]:
        """Drop everything: the calls that never ran, and those that did."""
        self.flush()
        fresh = [call for calls in self._full for call in calls]
        old = [*self.running, *self._again, *(batch for _, _, batch in self._later)]
        self._full.clear()
        self._again.clear()
        self._later.clear()
        self.running.clear()
        return fresh, [call for batch in old for call in batch.calls]

    def _close_full(self) -> None:
        ready = self.filling.ready
        while ready:
            self._full.append(ready.popleft())
