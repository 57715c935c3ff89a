"""A reactivex scheduler as the place where work runs, virtual time included."""

import asyncio
import weakref
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any

from reactivex import abc
from reactivex.scheduler import NewThreadScheduler

from rxpool.backends._awaiting import as_coroutine
from rxpool.backends._base import Done, LocalBackend, Runner
from rxpool.errors import WouldBlock
from rxpool.timing import Clock, TimerScheduler

__all__ = ("SchedulerBackend",)


class SchedulerBackend(LocalBackend):
    """N slots on a scheduler.

    A job whose function returns an Observable keeps its slot until that ends, so durations
    are those of the scheduler.  In virtual time one action runs all jobs of an instant.
    """

    keeps_slot = True

    def __init__(self, scheduler: abc.SchedulerBase) -> None:
        self.scheduler: abc.SchedulerBase | None = scheduler
        # An alarm would keep a thread of these waiting, also once it is disposed.
        threads = isinstance(scheduler, NewThreadScheduler)
        self.clock = Clock(TimerScheduler.singleton() if threads else scheduler)
        self._target = scheduler
        self._jobs: deque[Any] = deque()
        self._pumping = False
        self._loop: asyncio.Runner | None = None  # in virtual time: of all coroutines

    def bind(self, runner: Runner, slots: int) -> None:
        """Run jobs with *runner*."""
        self._perform = runner.perform

    def start(self, jobs: Sequence[Any]) -> None:
        """Schedule the jobs for this instant."""
        if not self.clock.virtual:
            for job in jobs:
                self._target.schedule(self._run, job)
            return
        self._jobs.extend(jobs)
        if not self._pumping:
            self._pumping = True
            self._target.schedule(self._pump)

    def _run(self, _: abc.SchedulerBase, job: Any = None) -> None:
        job = self._perform(job)
        if job is not None:
            self._target.schedule(self._run, job)  # others on the scheduler get their turn

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
                value = self._run_to_its_end(as_coroutine(awaitable), context)
            except BaseException as error:
                done(None, error)
            else:
                done(value, None)
            return None
        task = loop.create_task(as_coroutine(awaitable), context=context)

        def finished(ended: "asyncio.Future[Any]") -> None:
            if ended.cancelled():
                done(None, asyncio.CancelledError())
            else:
                error = ended.exception()
                done(None if error is not None else ended.result(), error)

        task.add_done_callback(finished)
        return task.cancel

    def _run_to_its_end(self, work: Coroutine[Any, Any, Any], context: Context | None) -> Any:
        if self.clock.virtual:
            if self._loop is None:
                self._loop = loop = asyncio.Runner()
                # Tests do not always close their pools.  Only the loop itself is closed then:
                # the collector may come while another loop runs on the thread.
                weakref.finalize(self, loop.get_loop().close)
            return self._loop.run(work, context=context)
        # Nobody tells when a thread of the scheduler ends, so that no loop can be kept there.
        with asyncio.Runner() as runner:
            return runner.run(work, context=context)

    def waits(self) -> None:
        """Refuse to wait for what happens in virtual time."""
        if self.clock.virtual:
            raise WouldBlock(
                "virtual time stands still while this thread waits; advance the scheduler "
                "until the work is done"
            )

    def abandon(self, jobs: Sequence[Any]) -> None:
        """Nothing beyond what the pool does: dispose and cancel what the job returned."""

    lend = abandon

    def resize(self, slots: int) -> None:
        """The pool counts the slots."""

    def stop(self, wait: float | None) -> None:
        """The scheduler is the user's, the event loop is not."""
        loop, self._loop = self._loop, None
        if loop is not None:
            loop.close()
