"""Executors of `concurrent.futures` as places where work runs."""

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from concurrent.futures import Executor, Future
from contextvars import Context
from functools import partial
from typing import Any

from reactivex import abc

from rxpool.backends._awaiting import run_here
from rxpool.backends._base import SEVERAL, Done, Runner, cpus
from rxpool.backends._executor_call import Answer, call, explain
from rxpool.backends._threads import ThreadBackend
from rxpool.errors import WorkerCrashed
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ExecutorBackend",)


class _Landing:
    """A call that ended, on its way to a thread that delivers."""

    def __init__(self, job: Any, item: Any, future: "Future[Any]") -> None:
        self.note: Any = None
        self.job = job
        self.item = item
        self.future = future


class ExecutorBackend:
    """A window of N futures on any executor: processes, Dask, Ray, loky, MPI.

    Function and item travel as the executor sends them.  What an ``async def`` returns is
    awaited by the worker, the items of an Observable are collected there.  Variables of
    contexts do not travel.  A timeout counts from the hand-over to the executor, and the
    future is cancelled then; work that runs already goes on, but its slot is free.

    Results are delivered by a thread of the pool's own, as the executor's is needed to
    bring others; if it has to wait, another takes its place.  The executor is the user's:
    it is never shut down here.
    """

    scheduler: abc.SchedulerBase | None = None
    keeps_slot = True
    runs_here = False
    helps = False
    ends_itself = False

    def __init__(self, executor: Executor, name: str) -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._executor = executor
        self._name = name
        self._here = threading.local()
        self._crew = ThreadBackend(f"{name}-results")
        self._crew.bind(self, 1)  # type: ignore[arg-type]

    @property
    def default_slots(self) -> int:
        """As many workers as the executor says that it has, else as there are CPUs."""
        workers = getattr(self._executor, "_max_workers", None)
        return workers if isinstance(workers, int) and workers > 0 else cpus()

    def bind(self, runner: Runner, slots: int) -> None:
        """Give results to *runner*."""
        self._runner = runner

    def start(self, jobs: Sequence[Any]) -> None:
        """Hand the jobs over; those that are refused fail, and so may those after them."""
        runner, left = self._runner, deque(jobs)

        def go_on(following: Any) -> None:
            if following is not None:
                left.append(following)

        while left:
            job = left.popleft()
            at = job.started = self.clock.now()
            begun: tuple[Callable[[Any], Any], Any] | None = None
            try:
                begun = runner.begin(job)
                if begun is None:
                    continue
                runner.started(job, at)
                future = self._executor.submit(call, *begun)
            except Exception as error:
                job.took = 0.0
                job.error = error
                if begun is not None:
                    job.error = self._explain(job, begun[1], error, refused=True)
                runner.finish((job,), (), go_on)
                continue
            job.note = future
            future.add_done_callback(partial(self._landed, job, begun[1]))
            if job.settled:  # abandoned before the future was known
                future.cancel()

    def _landed(self, job: Any, item: Any, future: "Future[Any]") -> None:
        if not job.settled:
            self._crew.start((_Landing(job, item, future),))

    def work(self, landing: _Landing, note: Any) -> None:
        """Deliver a result on this thread; `ThreadBackend` calls this."""
        landing.note = note
        self._here.landing = landing
        try:
            self._deliver(landing.job, landing.item, landing.future)
        finally:
            self._here.landing = None

    def _deliver(self, job: Any, item: Any, future: "Future[Any]") -> None:
        if job.settled:
            return
        now = self.clock.now()
        if future.cancelled():
            error: BaseException | None = WorkerCrashed(
                f"pool {self._name!r}: the executor has cancelled the call"
            )
        else:
            error = future.exception()
        if error is not None:
            job.took = now - job.started
            job.error = self._explain(job, item, error, refused=False)
        else:
            self._take(job, future.result(), now)
        self._runner.finish((job,), (), self._go_on)

    def _take(self, job: Any, answer: Answer, now: float) -> None:
        job.took = answer.took
        # The worker's clock may be that of another machine.
        if job.started <= answer.began <= now - answer.took:
            job.started = answer.began
        else:
            job.started = max(job.started, now - answer.took)
        if answer.several:
            for part in answer.value:
                self._runner.part(job, part)
            job.value, job.error = SEVERAL, answer.error
        else:
            job.value = answer.value

    def _explain(
        self, job: Any, item: Any, error: BaseException, refused: bool
    ) -> BaseException:
        function = self._runner.function(job)
        return explain(self._name, self._executor, function, item, error, refused)

    def _go_on(self, job: Any) -> None:
        if job is not None:
            self.start((job,))

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """Run it on this thread."""
        try:
            value = run_here(awaitable, context)
        except BaseException as error:
            done(None, error)
        else:
            done(value, None)
        return None

    def abandon(self, jobs: Sequence[Any]) -> None:
        """Cancel the futures of *jobs*; those that run already go on."""
        for job in jobs:
            future = getattr(job, "note", None)
            if isinstance(future, Future):
                future.cancel()

    def lend(self, jobs: Sequence[Any]) -> None:
        """Jobs that run elsewhere cannot use the pool."""

    def help(self, job: Any) -> None:
        """Never called: see `helps`."""
        raise AssertionError(job)

    def waits(self) -> None:
        """If this thread delivers results, another takes its place."""
        landing = getattr(self._here, "landing", None)
        if landing is not None:
            self._crew.lend((landing,))

    def look_at(self, jobs: Collection[Any]) -> None:
        """Jobs start when they are handed over."""

    def end(self, job: Any, error: BaseException) -> None:
        """Never called: see `ends_itself`."""
        raise AssertionError(job)

    def resize(self, slots: int) -> None:
        """The pool counts the slots."""

    def stop(self, wait: float | None) -> None:
        """End the thread that delivers; the executor is the user's."""
        self._crew.stop(wait)
