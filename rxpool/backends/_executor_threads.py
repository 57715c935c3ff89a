"""A `ThreadPoolExecutor` as the place where work runs: its threads run tasks themselves."""

from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context
from functools import partial
from time import monotonic
from typing import Any, Final

from rxpool.backends._awaiting import close_loop, run_here
from rxpool.backends._base import Done, LocalBackend, Runner, cpus
from rxpool.backends._threads import ThreadBackend
from rxpool.errors import WorkerCrashed
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ThreadExecutorBackend",)

_TURN: Final = 0.01  #: seconds until others who use the executor get their turn


class ThreadExecutorBackend(LocalBackend):
    """N slots on the threads of a `ThreadPoolExecutor`, which is never shut down here.

    A thread that runs a job that is abandoned stays busy, and the executor has one less
    meanwhile.  If a job waits for a flow of its own pool, another thread is started for it.
    """

    def __init__(self, executor: ThreadPoolExecutor, name: str) -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._executor = executor
        self._name = name
        self._extra = ThreadBackend(name)
        #: one for each slot of a job that waits, whose thread is therefore busy
        self._owed: deque[None] = deque()

    @property
    def default_slots(self) -> int:
        """As many threads as the executor may have."""
        workers = getattr(self._executor, "_max_workers", None)
        return workers if isinstance(workers, int) and workers > 0 else cpus()

    def bind(self, runner: Runner, slots: int) -> None:
        """Run jobs with *runner*."""
        self._runner = runner
        self._extra.bind(runner, slots)

    def start(self, jobs: Sequence[Any]) -> None:
        """Hand the jobs over; those that are refused fail, and so may those after them."""
        left = deque(jobs)

        def go_on(following: Any) -> None:
            if following is not None:
                left.append(following)

        while left:
            job = left.popleft()
            try:
                if self._takes_extra():
                    self._extra.start((job,))
                else:
                    self._submit(job)
            except RuntimeError as error:  # broken, or shut down
                self._fail(job, error, go_on)

    def _takes_extra(self) -> bool:
        try:
            self._owed.pop()
        except IndexError:
            return False
        return True

    def _submit(self, job: Any) -> None:
        future = self._executor.submit(self._run, job)
        future.add_done_callback(partial(self._look, job))

    def _look(self, job: Any, future: "Future[None]") -> None:
        if future.cancelled():
            self._fail(job, None, self._go_on)

    def _go_on(self, job: Any) -> None:
        if job is not None:
            self.start((job,))

    def _fail(self, job: Any, error: Exception | None, go_on: Callable[[Any], object]) -> None:
        job.started, job.took = self.clock.now(), 0.0
        reason = "it was shut down" if error is None else str(error)
        job.error = WorkerCrashed(f"pool {self._name!r}: the executor is broken: {reason}")
        job.error.__cause__ = error
        self._runner.finish((job,), (), go_on)

    def _run(self, job: Any) -> None:
        until = monotonic() + _TURN
        try:
            while job is not None:
                job = self._runner.perform(job)
                if job is not None and monotonic() > until:
                    try:
                        self._submit(job)
                        return
                    except RuntimeError:  # shut down: what it has begun it may finish
                        until = monotonic() + _TURN
        finally:
            close_loop()

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """Run it on an event loop of this thread, which is busy meanwhile."""
        try:
            value = run_here(awaitable, context)
        except BaseException as error:
            done(None, error)
        else:
            done(value, None)
        return None

    def abandon(self, jobs: Sequence[Any]) -> None:
        """Nothing: jobs that were not begun are passed over, others cannot be ended."""

    def lend(self, jobs: Sequence[Any]) -> None:
        """The threads of *jobs* stay busy: others run what comes instead."""
        self._owed.extend([None] * len(jobs))

    def resize(self, slots: int) -> None:
        """The pool counts the slots."""
        self._extra.resize(slots)

    def stop(self, wait: float | None) -> None:
        """End the threads beside the executor, which is the user's."""
        self._extra.stop(wait)
