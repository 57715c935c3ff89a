"""`FaceEngine`: what batching, throttling and debouncing of calls have in common."""

# A future and who gives it know each other.
# pyright: reportPrivateUsage=false

import os
from collections.abc import Sequence
from threading import Condition, RLock
from typing import Any, Protocol

from reactivex import abc

from rxpool import _checks as checks
from rxpool import _exit
from rxpool._core.drain import Drain
from rxpool._core.sleeper import Sleeper
from rxpool._core.waits import can_wait
from rxpool._forks import afresh, heed, held
from rxpool.errors import PoolClosed, TaskCancelled, WouldBlock
from rxpool.faces._counts import Counts
from rxpool.faces._future import CANCELLED, PENDING, FaceFuture, wake
from rxpool.faces._guest import Guest
from rxpool.faces._room import Room
from rxpool.faces._runner import Runner
from rxpool.pool import WorkerPool
from rxpool.timing import Clock
from rxpool.timing._alarm import Alarm

__all__ = ("FaceEngine", "Work", "clock_of")

_LOOK = 0.1  #: seconds between two looks at event loops, while the interpreter exits


class Work(Protocol):
    """What a face decides about its calls; all but `start` with the engine's lock held."""

    counts: Counts

    @property
    def due(self) -> float | None:
        """When to look again."""
        ...

    def expire(self, now: float) -> None:
        """The time has come for which the alarm was set; `take` follows."""

    def take(self, now: float) -> Sequence[Any]:
        """What is to start now, taken out of what waits."""
        ...

    def start(self, engine: "FaceEngine", taken: Any) -> None:
        """Start one of what `take` gave; without the lock."""

    def drain(self, now: float) -> None:
        """The face closes: what waits for more to come waits no more."""

    def gone(self, future: FaceFuture[Any]) -> None:
        """A waiting call was cancelled."""

    def cut(self) -> tuple[list[FaceFuture[Any]], list[FaceFuture[Any]]]:
        """Forget everything; the futures that waited, and those that ran."""
        ...

    def bury(self) -> None:
        """In a child: what waits or runs is the parent's, and is not finalised here."""


def clock_of(scheduler: abc.SchedulerBase | None) -> Clock:
    """The clock of a face.

    Raises:
        InvalidArgument: If that is no scheduler with a time.
    """
    checks.timing("scheduler", scheduler)
    return Clock.of(scheduler)


class FaceEngine:
    """A pure state (`work`), a clock, one timer, and what runs the calls.

    ``lock`` guards the work, the counts, the room and the fields here.  It is a leaf:
    neither the user's code nor the scheduler nor a future's callback runs under it.  One
    thread at a time starts calls, so they start in order; whoever finds it at work leaves
    the rest to it.

    While there is work it is kept, whether anybody else does or not, until that is done.
    In a forked child it works, without the calls that waited or ran at the fork.
    """

    rank = 0  #: see `Ending`: before the pools

    def __init__(
        self,
        name: str,
        work: Work,
        clock: Clock,
        *,
        workers: int,
        max_pending: int,
        pool: WorkerPool | None,
        scheduler: abc.SchedulerBase | None,
        waits_by: str = "",
    ) -> None:
        self.name = name
        self.work = work
        self.counts = work.counts
        self.now = clock.now
        self.max_pending = checks.count("max_pending", max_pending, least=1)
        self.closing = False
        self.kept = False  # while there is work
        self.lock = held(RLock())
        self.room = Room(self.lock)
        self._clock = clock
        self._waits_by = waits_by  # the method that waits for room on an event loop
        self._guest = Guest(self._is_over, self._begin_close, self.terminate)
        self.runner = Runner(name, pool, workers, clock, scheduler, self._guest)
        self.alarm = Alarm(clock, self._ring)
        self._changed = afresh(Condition(self.lock))  # for who waits for the end
        self._process = os.getpid()
        self._closers: list[Sleeper] = []
        self._starting = Drain()
        self._why_closed = ""  # for messages
        _exit.watch(self)
        heed(self)

    # -- starting calls -----------------------------------------------------------------------

    def _ring(self, now: float) -> None:
        """The time has come for which the alarm was set."""
        with self.lock:
            self.work.expire(now)
        self.pump(now)

    def pump(self, now: float = 0.0) -> None:
        """Start what may start; at *now*, or at the present if that is later."""
        if not self._starting.run(lambda: self._start_all(now)):
            return
        with self.lock:
            due = self.work.due
            over = self._over()
            self.keep()
        self.alarm.set(due)
        if over:
            self._shut()
            self._guest.tell()

    def _start_all(self, now: float) -> None:
        work, counts = self.work, self.counts
        while True:
            with self.lock:
                waited = counts.waiting
                taken = work.take(max(now, self.now()))
                self.room.free(waited - counts.waiting)
            if not taken:
                return
            for each in taken:
                work.start(self, each)

    def keep(self) -> None:
        """See that this is kept while there is work.  The lock is held."""
        works = not self.counts.idle
        if works is not self.kept:
            self.kept = works
            if works:
                _exit.hold(self)
            else:
                _exit.let_go(self)

    # -- taking calls -------------------------------------------------------------------------

    def check_open(self) -> None:
        """Refuse a call if this is closed."""
        if self.closing:
            raise PoolClosed(f"{self.name} is closed{self._why_closed}")

    def _full(self) -> bool:
        return self.counts.waiting >= self.max_pending and not self.closing

    def await_room(self) -> None:
        """Wait until fewer than `max_pending` wait."""
        with self.lock:
            if not can_wait(self._clock):
                raise WouldBlock(
                    f"{self.name}: {self.max_pending} calls wait already (max_pending), and "
                    "this thread cannot wait (virtual time, or a running event loop); use "
                    f"'{self.name}'.{self._waits_by}, or a larger max_pending"
                )
            self.room.wait(self._full)
            self.check_open()

    async def sleep_for_room(self) -> None:
        """The same for a coroutine; there may be none again when it returns."""
        await self.room.sleep(self._full)

    def withdraw(self, future: FaceFuture[Any]) -> bool:
        """See `Giver`."""
        with self.lock:
            if future._state is not PENDING:
                return False
            future.end(CANCELLED)
            self.counts.cancel(1)
            self.work.gone(future)
            self.room.free(1)
        self.pump()
        return True

    def waits(self) -> None:
        """See `Giver`."""
        if self._clock.virtual:
            raise WouldBlock(
                f"{self.name}: virtual time stands still while this thread waits; advance "
                "the scheduler until the call is done"
            )

    # -- the end ------------------------------------------------------------------------------

    def _over(self) -> bool:
        """Whether the end was reached; wakes who waits for it.  The lock is held."""
        if not self.closing or not self.counts.idle:
            return False
        self._changed.notify_all()
        for closer in self._closers:
            closer.wake()
        return True

    def _is_over(self) -> bool:
        with self.lock:
            return self.closing and self.counts.idle

    def _shut(self) -> None:
        self.alarm.cancel()
        self.runner.close()

    def close(self, limit: float | None) -> bool:
        """See `Face.close`."""
        self._begin_close()
        if not can_wait(self._clock):
            with self.lock:
                return self.counts.idle
        with self.lock:
            finished = self._changed.wait_for(lambda: self.counts.idle, limit)
        if not finished:
            self.terminate()
        self._shut()
        return finished

    async def aclose(self, limit: float | None) -> bool:
        """See `Face.aclose`."""
        closer = Sleeper()
        with self.lock:
            self._closers.append(closer)
        self._begin_close()
        with self.lock:
            idle = self.counts.idle
        if not idle:
            await closer.sleep(limit)
        with self.lock:
            self._closers.remove(closer)
            idle = self.counts.idle
        if not idle:
            self.terminate()
        else:
            self._shut()
        return idle

    def end_at_exit(self, hard: bool) -> None:
        """See `Ending`."""
        if not self.closing:
            self._why_closed = _exit.EXITING
        if not hard:
            self._begin_close()
            while can_wait(self._clock):
                self.runner.forsake()
                with self.lock:
                    if self._changed.wait_for(lambda: self.counts.idle, _LOOK):
                        break
        if hard or not self.counts.idle:
            self.terminate()  # nobody is left to finish it
        self._shut()

    def _begin_close(self) -> None:
        with self.lock:
            if not self.closing:
                self.closing = True
                self.work.drain(self.now())
                self.room.free_all()
        self.pump()

    def terminate(self, error: Exception | None = None) -> None:
        """Cancel what waits, or fail it with *error*; fail what runs."""
        with self.lock:
            self.closing = True
            waited, ran = self.work.cut()
            for future in waited:
                if error is None:
                    future.end(CANCELLED)
                else:
                    future.put(None, error)
            for future in ran:
                future.put(None, TaskCancelled(f"{self.name} was terminated"))
            self.counts.cut(failed=error is not None)
            self.room.free_all()
            self._over()
            self.keep()
        self.alarm.cancel()
        wake(waited)
        wake(ran)
        self.runner.abandon()
        self._guest.tell()

    def forked(self) -> None:
        """This is a child: what waits or runs is the parent's, and nobody is told here."""
        self.work.bury()
        waited, ran = self.work.cut()
        for future in (*waited, *ran):
            future.forked(
                f"{self.name}: this call was made in process {self._process} before a fork, "
                "and ends there: make it again in this process"
            )
        self.counts.cut(failed=False)
        self.kept = False
        self._starting.forked()
        self.room.forked()
        self._closers.clear()
        self.alarm.forked()
        self.runner.forked()
        self._process = os.getpid()
