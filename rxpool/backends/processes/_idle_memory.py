"""`IdleMemory`: the shared memory of idle workers is given back after a while."""

import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Final
from weakref import WeakMethod

from reactivex import abc

from rxpool.backends.processes._roster import Roster, Worker
from rxpool.timing import Clock

__all__ = ("IdleMemory",)

_RESTING: Final = 2.0  #: seconds after which the shared memory of an idle worker is given back


class IdleMemory:
    """Shrinks the memory of workers that have been idle for a while.

    ``_lock``, that of the pool's processes, guards every field; nothing is shrunk under it.
    """

    def __init__(
        self,
        lock: threading.Lock,
        roster: Roster,
        clock: Clock,
        idle: Callable[[Worker], None],
    ) -> None:
        self._lock = lock
        self._roster = roster
        self._clock = clock
        self._idle = idle  # is given workers back
        self._alarm: abc.DisposableBase | None = None

    def rests(self, worker: Worker) -> None:
        """*worker* is idle from now on.  Locked."""
        worker.idle_since = now = self._clock.now()
        block = None if worker.channel is None else worker.channel.block
        if block is not None and block.is_large:
            self._look_at(now + _RESTING)

    def stop(self) -> None:
        """Nothing is shrunk any more.  Locked."""
        if self._alarm is not None:
            self._alarm.dispose()
        self._alarm = None

    def forked(self) -> None:
        """The memory is the parent's."""
        self._alarm = None

    def _look_at(self, due: float) -> None:
        """Look at idle workers at *due*, unless that is going to be.  Locked."""
        if self._alarm is None and not self._roster.stopping:
            shrink = WeakMethod(self._shrink)  # nobody is to be kept for this

            def ring(now: float) -> None:
                if (method := shrink()) is not None:
                    method(now)

            with suppress(RuntimeError):  # no thread for timers
                self._alarm = self._clock.alarm(due, ring)

    def _shrink(self, now: float) -> None:
        """Give back the memory of those who have been idle for a while."""
        with self._lock:
            self._alarm = None
            idle = self._roster.idle
            blocks = [(w, w.channel.block) for w in idle if w.channel is not None]
            large = [w for w, block in blocks if block is not None and block.is_large]
            ripe = [worker for worker in large if worker.idle_since + _RESTING <= now]
            for worker in ripe:  # nobody gives them anything meanwhile
                idle.remove(worker)
            if rests := [worker.idle_since for worker in large if worker not in ripe]:
                self._look_at(min(rests) + _RESTING)
        for worker in ripe:
            if worker.channel is not None:
                worker.channel.shrink()
            self._idle(worker)
