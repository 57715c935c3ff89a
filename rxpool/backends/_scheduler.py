"""A reactivex scheduler as the place where work runs, virtual time included."""

import asyncio
import threading
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any

from reactivex import abc
from reactivex.scheduler import ImmediateScheduler, TrampolineScheduler

from rxpool import _forks
from rxpool._threads import was_refused
from rxpool.backends._awaiting import (
    end_of,
    run_here_once,
    run_with,
    stop_turning,
)
from rxpool.backends._base import Done, LocalBackend, Ticket, Traits
from rxpool.backends._runner import ThreadRunner
from rxpool.backends._threads import ThreadBackend
from rxpool.errors import WouldBlock
from rxpool.timing import Clock

__all__ = ("SchedulerBackend",)


class _Mine(threading.local):
    """What a thread is about."""

    away: bool | None = None  #: whether it waits in the midst of a job; None: it runs none


class SchedulerBackend(LocalBackend):
    """N slots on a scheduler.

    A job whose function returns an Observable keeps its slot until that ends, so durations
    are those of the scheduler.  In virtual time one action runs all jobs of an instant.
    """

    traits = Traits(runs_here=True, in_this_process=True, keeps_slot=True)

    def __init__(self, scheduler: abc.SchedulerBase) -> None:
        self.scheduler: abc.SchedulerBase | None = scheduler
        self.clock = Clock(scheduler)
        self._target = scheduler
        self._calls_here = isinstance(scheduler, (ImmediateScheduler, TrampolineScheduler))
        self._jobs: deque[Any] = deque()
        self._pumping = False
        # Of a scheduler with threads of its own.  The lock guards what follows it.
        self._lock = _forks.afresh(threading.Lock())
        self._away = 0  # threads that wait for the pool in the midst of a job
        self._ready: dict[Ticket, None] = {}  # jobs that are scheduled and have not begun
        self._mine = _Mine()
        #: where no thread of the scheduler is to be had, as it waits, or the interpreter exits
        self._reserve = ThreadBackend("rxpool-scheduler")
        self._loop: asyncio.Runner | None = None  # in virtual time: of all coroutines
        self._closing: Any = None  # its finaliser
        self._foreign = False
        _forks.heed(self)

    def forked(self) -> None:
        """What waits in a child is the parent's, and so is the event loop."""
        _forks.bury(self._jobs, self._ready, self._loop)
        self._jobs.clear()
        self._ready.clear()
        stop_turning(self._loop)
        self._loop = None
        self._foreign = not (_forks.by_main or self._calls_here or self.clock.virtual)
        if self._closing is not None:
            self._closing.detach()

    def bind(self, runner: ThreadRunner, slots: int) -> None:
        """Run jobs with *runner*."""
        self._perform = runner.perform
        self._reserve.bind(runner, slots)

    def start(self, jobs: Sequence[Any]) -> None:
        """Schedule the jobs for this instant."""
        if not self.clock.virtual:
            for job in jobs:
                if not self._schedule(job):
                    self._reserve.start((job,))
            return
        self._jobs.extend(jobs)
        if not self._pumping:
            self._pumping = True
            self._target.schedule(self._pump)

    def _schedule(self, job: Any) -> bool:
        """Schedule a job; False if the scheduler has no thread for it now."""
        ticket = Ticket(job)
        if not self._calls_here:
            self._ready[ticket] = None
        try:
            self._target.schedule(self._run, ticket)
        except RuntimeError as error:
            # An executor that could start no thread has put it in its queue all the same.
            if not was_refused(error):
                raise
            self._ready.pop(ticket, None)
            return ticket.take() is None
        # First in, then look: `waits` does it the other way round.
        return not self._away or ticket.take() is None

    def _run(self, _: Any, ticket: Any = None) -> None:
        self._ready.pop(ticket, None)
        job = ticket.take()
        mine = self._mine
        while job is not None:
            before, mine.away = mine.away, False
            try:
                job = self._perform(job)
            finally:
                if mine.away:
                    with self._lock:
                        self._away -= 1
                mine.away = before
            if self._foreign:
                _forks.end_child()  # the thread is the scheduler's, and would wait for ever
            if job is not None and self._schedule(job):
                return  # others on the scheduler get their turn

    def _pump(self, _: abc.SchedulerBase, __: Any = None) -> None:
        try:
            while self._jobs:
                job = self._perform(self._jobs.popleft())
                if job is not None:
                    self._jobs.append(job)
        finally:
            self._pumping = False

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """On a running event loop as a task of it, else on a loop of its own."""
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is None:
            try:
                value = self._run_to_its_end(awaitable, context)
            except BaseException as error:
                done(None, error)
            else:
                done(value, None)
            return None
        task = loop.create_task(end_of(awaitable), context=context)

        def finished(ended: "asyncio.Future[tuple[Any, BaseException | None]]") -> None:
            if ended.cancelled():
                done(None, asyncio.CancelledError())
            else:
                done(*ended.result())

        task.add_done_callback(finished)
        return task.cancel

    def _run_to_its_end(self, awaitable: Awaitable[Any], context: Context | None) -> Any:
        if self.clock.virtual:
            if self._loop is None:
                self._loop = loop = _forks.kept(asyncio.Runner())
                # Tests do not always close their pools.  Only the loop itself is closed then:
                # the collector may come while another loop runs on the thread.
                self._closing = weakref.finalize(self, loop.get_loop().close)
            return run_with(self._loop, awaitable, context)
        return run_here_once(awaitable, context)

    def waits(self) -> None:
        """Refuse to wait for what happens in virtual time.

        While a thread of the scheduler waits, which may be its only one, jobs run on others.
        """
        if self.clock.virtual:
            raise WouldBlock(
                "virtual time stands still while this thread waits; advance the scheduler "
                "until the work is done"
            )
        if self._calls_here or self._mine.away is not False:
            return
        with self._lock:
            self._mine.away = True
            self._away += 1
            ready, self._ready = self._ready, {}
        jobs = [job for ticket in ready if (job := ticket.take()) is not None]
        if jobs:
            self._reserve.start(jobs)

    def abandon(self, jobs: Sequence[Any]) -> None:
        """Nothing beyond what the pool does: dispose and cancel what the job returned."""
        self._reserve.abandon(jobs)

    def lend(self, jobs: Sequence[Any]) -> None:
        """Threads in reserve do not count meanwhile."""
        self._reserve.lend(jobs)

    def resize(self, slots: int) -> None:
        """The pool counts the slots."""
        self._reserve.resize(slots)

    def stop(self, wait: float | None) -> None:
        """The scheduler is the user's, the event loop is not."""
        self._reserve.stop(wait)
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()
