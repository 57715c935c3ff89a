"""`Face`: what batching, throttling and debouncing of calls have in common."""

# A future and who gives it know each other.
# pyright: reportPrivateUsage=false

import asyncio
import os
from collections import deque
from collections.abc import Sequence
from threading import Condition, RLock
from types import TracebackType
from typing import Any, Self

from reactivex import abc

from rxpool import _checks as checks
from rxpool import _exit
from rxpool._core.sleeper import Sleeper
from rxpool._core.waits import LOOK, can_wait
from rxpool._forks import afresh, held
from rxpool.errors import PoolClosed, TaskCancelled, WouldBlock
from rxpool.faces._future import CANCELLED, PENDING, FaceFuture, wake
from rxpool.faces._guest import Guest
from rxpool.faces._runner import Runner
from rxpool.pool import WorkerPool
from rxpool.timing import Clock
from rxpool.timing._alarm import Alarm

__all__ = ("Face",)

_LOOK = 0.1  #: seconds between two looks at event loops, while the interpreter exits


class Face:
    """A pure state, a clock, one timer, and what runs the calls.

    ``_lock`` guards the state and the counts.  It is a leaf: neither the user's code nor
    the scheduler nor a future's callback runs under it.  One thread at a time starts calls
    (``_pumping``), so they start in order; whoever finds it at work leaves the rest to it.

    While there is work it is kept, whether anybody else does or not, until that is done.
    In a forked child it works, without the calls that waited or ran at the fork.
    """

    rank = 0  #: see `Ending`: before the pools
    _name = ""

    def __init__(
        self,
        workers: int,
        max_pending: int,
        pool: WorkerPool | None,
        scheduler: abc.SchedulerBase | None,
    ) -> None:
        checks.timing("scheduler", scheduler)
        self._clock = Clock.of(scheduler)
        self._now = self._clock.now
        self._guest = Guest(self._is_over, self._begin_close, self._terminate)
        self._runner = Runner(self._name, pool, workers, self._clock, scheduler, self._guest)
        self._alarm = Alarm(self._clock, self._ring)
        self._lock = held(RLock())
        self._room = afresh(Condition(self._lock))
        self._changed = afresh(Condition(self._lock))  # for who waits for the end
        self._process = os.getpid()
        self._sleepers: deque[Sleeper] = deque()  # coroutines that wait for room
        self._closers: list[Sleeper] = []
        self._max_pending = checks.count("max_pending", max_pending, least=1)
        self._waiting: int = 0
        self._pumping = False
        self._closing = False
        self._why_closed = ""  # for messages
        self._kept = False
        self._accepted: int = 0
        self._succeeded: int = 0
        self._failed: int = 0
        self._cancelled: int = 0
        _exit.watch(self)

    # -- what each of them decides, the lock held -------------------------------------------

    def _take(self, now: float) -> Sequence[Any]:
        """What is to start now, taken out of what waits."""
        raise NotImplementedError

    def _due(self) -> float | None:
        """When to look again."""
        raise NotImplementedError

    def _start(self, work: Any) -> None:
        """Start one of what `_take` gave; without the lock."""
        raise NotImplementedError

    def _drain(self, now: float) -> None:
        """The face closes: what waits for more to come waits no more."""

    def _busy(self) -> bool:
        """Whether something runs."""
        raise NotImplementedError

    def _cut(self) -> tuple[list[FaceFuture[Any]], list[FaceFuture[Any]]]:
        """Forget everything; the futures that waited, and those that ran."""
        raise NotImplementedError

    def _gone(self, future: FaceFuture[Any]) -> None:
        """A waiting call was cancelled."""

    # -- the engine -------------------------------------------------------------------------

    def _ring(self, now: float) -> None:
        """The time has come for which the alarm was set."""
        self._pump(now)

    def _pump(self, now: float = 0.0) -> None:
        """Start what may start; at *now*, or at the present if that is later."""
        with self._lock:
            if self._pumping:
                return
            self._pumping = True
        try:
            while True:
                with self._lock:
                    work = self._take(max(now, self._now()))
                    if not work:
                        self._pumping = False
                        due = self._due()
                        over = self._over()
                        self._keep()
                        break
                for each in work:
                    self._start(each)
        except BaseException:
            self._pumping = False
            raise
        self._alarm.set(due)
        if over:
            self._shut()
            self._guest.tell()

    def _over(self) -> bool:
        """Whether the end was reached; wakes who waits for it.  The lock is held."""
        if not self._closing or not self._idle():
            return False
        self._changed.notify_all()
        for closer in self._closers:
            closer.wake()
        return True

    def _is_over(self) -> bool:
        with self._lock:
            return self._closing and self._idle()

    def _keep(self) -> None:
        """See that this is kept while there is work.  The lock is held."""
        works = not self._idle()
        if works is not self._kept:
            self._kept = works
            if works:
                _exit.hold(self)
            else:
                _exit.let_go(self)

    def _idle(self) -> bool:
        return not self._waiting and not self._busy()

    def _shut(self) -> None:
        self._alarm.cancel()
        self._runner.close()

    # -- taking calls -------------------------------------------------------------------------

    def _check_open(self) -> None:
        if self._closing:
            raise PoolClosed(f"{self._name} is closed{self._why_closed}")

    def _await_room(self) -> None:
        """Wait until fewer than `max_pending` wait.  The lock is held."""
        if not can_wait(self._clock):
            raise WouldBlock(
                f"{self._name}: {self._max_pending} calls wait already (max_pending), and "
                "this thread cannot wait (virtual time, or a running event loop); use "
                f"'{self._name}'.{self._waits_by}, or a larger max_pending"
            )
        while self._waiting >= self._max_pending and not self._closing:
            self._room.wait(LOOK)
        self._check_open()

    _waits_by = ""  #: the method that waits for room on an event loop

    async def _sleep_for_room(self) -> None:
        """The same for a coroutine; without the lock, so there may be none again."""
        with self._lock:
            if self._waiting < self._max_pending or self._closing:
                return
            sleeper = Sleeper()
            self._sleepers.append(sleeper)
        try:
            await sleeper.sleep()
        except asyncio.CancelledError:
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
                else:
                    self._free(1)  # another takes the room that this one was given
            raise

    def _free(self, count: int) -> None:
        """There is room for *count* more.  The lock is held."""
        self._room.notify(count)
        sleepers = self._sleepers
        while sleepers and count > 0:
            sleepers.popleft().wake()
            count -= 1

    def _refuse(self) -> None:
        """Nobody needs to wait for room any more.  The lock is held."""
        self._room.notify_all()
        self._free(len(self._sleepers))

    def withdraw(self, future: FaceFuture[Any]) -> bool:
        """See `Giver`; use the future's `cancel`."""
        with self._lock:
            if future._state is not PENDING:
                return False
            future.end(CANCELLED)
            self._waiting -= 1
            self._cancelled += 1
            self._gone(future)
            self._free(1)
        self._pump()
        return True

    def waits(self) -> None:
        """See `Giver`."""
        if self._clock.virtual:
            raise WouldBlock(
                f"{self._name}: virtual time stands still while this thread waits; advance "
                "the scheduler until the call is done"
            )

    @property
    def pending(self) -> int:
        """How many calls wait."""
        return self._waiting

    # -- the end ------------------------------------------------------------------------------

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Take no more calls, finish those that were taken, end the threads.

        Args:
            timeout: Seconds or a timedelta; then what waits is cancelled, and what runs
                fails with `TaskCancelled`, though a thread runs on.

        Returns:
            Whether everything finished.  On a running event loop and in virtual time nobody
            can wait: there it answers how things stand, and the rest ends by itself.
        """
        limit = checks.patience("timeout", timeout)
        self._begin_close()
        if not can_wait(self._clock):
            with self._lock:
                return self._idle()
        with self._lock:
            finished = self._changed.wait_for(self._idle, limit)
        if not finished:
            self._terminate()
        self._shut()
        return finished

    async def aclose(self, timeout: checks.Seconds | None = None) -> bool:
        """Like `close`, for coroutines: waits without blocking the event loop."""
        limit = checks.patience("timeout", timeout)
        closer = Sleeper()
        with self._lock:
            self._closers.append(closer)
        self._begin_close()
        with self._lock:
            idle = self._idle()
        if not idle:
            await closer.sleep(limit)
        with self._lock:
            self._closers.remove(closer)
            idle = self._idle()
        if not idle:
            self._terminate()
        else:
            self._shut()
        return idle

    def end_at_exit(self, hard: bool) -> None:
        """See `Ending`."""
        if not self._closing:
            self._why_closed = _exit.EXITING
        if not hard:
            self._begin_close()
            while can_wait(self._clock):
                self._runner.forsake()
                with self._lock:
                    if self._changed.wait_for(self._idle, _LOOK):
                        break
        if hard or not self._idle():
            self._terminate()  # nobody is left to finish it
        self._shut()

    def _begin_close(self) -> None:
        with self._lock:
            if not self._closing:
                self._closing = True
                self._drain(self._now())
                self._refuse()
        self._pump()

    def _terminate(self, error: Exception | None = None) -> None:
        """Cancel what waits, or fail it with *error*; fail what runs."""
        with self._lock:
            self._closing = True
            waited, ran = self._cut()
            for future in waited:
                if error is None:
                    future.end(CANCELLED)
                else:
                    future.put(None, error)
            for future in ran:
                future.put(None, TaskCancelled(f"{self._name} was terminated"))
            if error is None:
                self._cancelled += len(waited)
            else:
                self._failed += len(waited)
            self._failed += len(ran)
            self._waiting = 0
            self._refuse()
            self._over()
            self._keep()
        self._alarm.cancel()
        wake(waited)
        wake(ran)
        self._runner.abandon()
        self._guest.tell()

    def forked(self) -> None:
        """This is a child: what waits or runs is the parent's, and nobody is told here."""
        waited, ran = self._cut()
        for future in (*waited, *ran):
            future.forked(
                f"{self._name}: this call was made in process {self._process} before a fork, "
                "and ends there: make it again in this process"
            )
        self._cancelled += len(waited)
        self._failed += len(ran)
        self._waiting = 0
        self._pumping = self._kept = False
        self._sleepers.clear()
        self._closers.clear()
        self._alarm.forked()
        self._runner.forked()
        self._process = os.getpid()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._terminate()
        else:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._terminate()
        else:
            await self.aclose()
