"""No threads: each task runs at once, on the thread that brings it."""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

from rxpool import _forks
from rxpool.backends._awaiting import run_with, stop_turning
from rxpool.backends._base import Done, LocalBackend, Traits
from rxpool.backends._initializer import Initializer, fail
from rxpool.backends._runner import ThreadRunner
from rxpool.errors import InvalidArgument, WouldBlock
from rxpool.timing import Clock, TimerScheduler

__all__ = ("InlineBackend",)


class _Turn:
    """The right to run jobs: one thread has it at a time."""

    __slots__ = ()


class InlineBackend(LocalBackend):
    """One worker, which is whoever brings a job.

    ============================================  ==========================================
    the worker is free                            the job runs before `start` returns
    this thread runs one, which does not wait     the job runs after it, on this thread
    this thread runs one that waits for others    the job runs before `start` returns
    another thread runs one                       the job runs after it, on that thread
    another thread runs one that waits            the job runs before `start` returns
    a timer is due (a pause of a retry, a limit)  as above, on the timer's thread
    ============================================  ==========================================

    What runs cannot be ended: the pool judges its time when it has returned.
    """

    traits = Traits(runs_here=True, in_this_process=True, waits_out=True)

    def __init__(self, initializer: Initializer | None = None) -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._initializer = initializer
        self._lock = _forks.afresh(threading.Lock())  # for these:
        self._turn: _Turn | None = None  # of the thread that runs jobs
        self._jobs: deque[Any] = deque()  # for that thread, when it has run the present one
        self._stopping = False
        self._mine = threading.local()  # `turn`: the last one that this thread took
        self._loop: asyncio.Runner | None = None  # of all coroutines; whoever has the turn
        self._closing: Any = None  # its finaliser
        _forks.heed(self)

    def forked(self) -> None:
        """What waits in a child is the parent's, and so is the event loop."""
        _forks.bury(self._jobs, self._loop)
        self._jobs.clear()
        stop_turning(self._loop)
        self._loop = None
        if self._closing is not None:
            self._closing.detach()

    @property
    def default_slots(self) -> int:
        """One."""
        return 1

    def bind(self, runner: ThreadRunner, slots: int) -> None:
        """Run jobs with *runner*."""
        self.resize(slots)
        self._runner = runner

    def start(self, jobs: Sequence[Any]) -> None:
        """Run the jobs, unless a thread runs one: then it runs these next."""
        with self._lock:
            self._jobs.extend(jobs)
        self._serve()

    def _serve(self) -> None:
        """Run jobs until there are none, if nobody does."""
        turn, mine = _Turn(), self._mine
        job = self._take(turn, None)
        if job is None:
            return
        before: _Turn | None = getattr(mine, "turn", None)
        mine.turn = turn
        try:
            while job is not None:
                job = self._take(turn, self._run(job))
        finally:
            mine.turn = before
            self._give_up(turn)

    def _take(self, turn: _Turn, following: Any) -> Any:
        """The next job for who has *turn*, or asks for it; None: not now, or there is none."""
        with self._lock:
            if following is not None:
                self._jobs.append(following)
            if self._turn is not turn and self._turn is not None:
                return None  # another thread has it, and runs them
            if not self._jobs:
                self._turn = None
                return None
            self._turn = turn
            return self._jobs.popleft()

    def _give_up(self, turn: _Turn | None) -> bool:
        """*turn* is over; whether it was going on."""
        with self._lock:
            if turn is None or self._turn is not turn:
                return False
            self._turn = None
            loop = self._let_go_of_loop() if self._stopping else None
        if loop is not None:
            loop.close()
        return True

    def _run(self, job: Any) -> Any:
        if self._initializer is not None:
            why = self._initializer.refused()
            if why is not None:
                return fail(self._runner, job, why, self.clock.now())
        return self._runner.perform(job)

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """Run it to its end on the pool's own event loop."""
        try:
            if asyncio._get_running_loop() is not None:
                raise WouldBlock(
                    "on='inline' cannot run an async def on a thread whose event loop runs; "
                    "use on='asyncio'"
                )
            value = self._run_to_its_end(awaitable, context)
        except BaseException as error:
            if (close := getattr(awaitable, "close", None)) is not None:
                close()  # it was never begun, or has ended
            done(None, error)
        else:
            done(value, None)
        return None

    def _run_to_its_end(self, awaitable: Awaitable[Any], context: Context | None) -> Any:
        with self._lock:
            loop, self._loop = self._loop, None  # one thread at a time, however many wait
        if loop is None:
            loop = _forks.kept(asyncio.Runner())
        try:
            return run_with(loop, awaitable, context)
        finally:
            with self._lock:
                spare = self._stopping or self._loop is not None
                if not spare:
                    self._keep_loop(loop)
            if spare:
                loop.close()

    def _keep_loop(self, loop: asyncio.Runner) -> None:
        self._loop = loop
        if self._closing is not None:
            self._closing.detach()
        # Not every pool is closed.  Only the loop itself is closed then: the collector may
        # come while another loop runs on the thread.
        self._closing = weakref.finalize(self, loop.get_loop().close)

    def _let_go_of_loop(self) -> asyncio.Runner | None:
        loop, self._loop = self._loop, None
        if loop is not None and self._closing is not None:
            self._closing.detach()
        return loop

    def abandon(self, jobs: Sequence[Any]) -> None:
        """What runs is waited for: the jobs after it run when it has returned."""

    def lend(self, jobs: Sequence[Any]) -> None:
        """If this thread runs them, others may run what comes, or it does so itself."""
        self._give_up(getattr(self._mine, "turn", None))
        self._serve()

    def waits(self) -> None:
        """If this thread runs jobs, others may do that now; it runs what there is itself."""
        self._give_up(getattr(self._mine, "turn", None))
        self._serve()

    def resize(self, slots: int) -> None:
        """There is one worker."""
        if slots != 1:
            raise InvalidArgument(f"on='inline' has one worker, got workers={slots}")

    def stop(self, wait: float | None) -> None:
        """Close the event loop, or have the thread do that which is in it."""
        with self._lock:
            self._stopping = True
            loop = self._let_go_of_loop()
        if loop is not None:
            loop.close()
