"""A `ThreadPoolExecutor` as the place where work runs: its threads run tasks themselves."""

import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
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

_INSIDE: Final = object()  #: the note of jobs that run on threads of the executor
_TURN: Final = 0.01  #: seconds until others who use the executor get their turn


class ThreadExecutorBackend(LocalBackend):
    """N slots on the threads of a `ThreadPoolExecutor`, which is never shut down here.

    A thread whose job is abandoned, or waits for a flow of its own pool, stays busy.  Where
    the executor has no other, one is started beside it for that time.
    """

    def __init__(self, executor: ThreadPoolExecutor, name: str) -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._executor = executor
        self._name = name
        self._extra = ThreadBackend(name)
        self._lock = threading.Lock()  # for these:
        self._inside = 0  # threads of the executor that this pool has, or has asked for
        self._held: set[Any] = set()  # jobs that keep one, though their slots are free

    @property
    def default_slots(self) -> int:
        """As many threads as the executor may have."""
        workers = getattr(self._executor, "_max_workers", None)
        return workers if isinstance(workers, int) and workers > 0 else cpus()

    def bind(self, runner: Runner, slots: int) -> None:
        """Run jobs with *runner*."""
        self._runner = runner
        self._slots = slots
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
                if not self._submit(job):
                    self._extra.start((job,))
            except RuntimeError as error:  # broken, or shut down
                self._fail(job, error, go_on)

    def _submit(self, job: Any) -> bool:
        """Give *job* to the executor; False if its threads are kept by jobs that wait."""
        with self._lock:
            if self._held and self._inside >= min(self._slots, self.default_slots):
                return False
            self._inside += 1
        try:
            future = self._executor.submit(self._run, job)
        except BaseException:
            self._leave(job)
            raise
        future.add_done_callback(partial(self._look, job))
        return True

    def _leave(self, job: Any) -> None:
        with self._lock:
            self._inside -= 1
            self._held.discard(job)
            job.note = None  # if it is abandoned now, that comes too late

    def _look(self, job: Any, future: "Future[None]") -> None:
        if future.cancelled():
            self._leave(job)
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
            while True:
                following = self._runner.perform(job, _INSIDE)
                if following is None:
                    return
                job = following
                if monotonic() > until:
                    with suppress(RuntimeError):  # shut down: what it began it may finish
                        if self._submit(job):
                            return
                    until = monotonic() + _TURN
        finally:
            self._leave(job)
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

    def lend(self, jobs: Sequence[Any]) -> None:
        """The threads of *jobs* stay busy: others run what comes instead."""
        with self._lock:
            self._held.update(job for job in jobs if getattr(job, "note", None) is _INSIDE)
        self._extra.lend([job for job in jobs if getattr(job, "note", None) is not _INSIDE])

    abandon = lend

    def resize(self, slots: int) -> None:
        """The pool counts the slots."""
        self._slots = slots
        self._extra.resize(slots)

    def stop(self, wait: float | None) -> None:
        """End the threads beside the executor, which is the user's."""
        self._extra.stop(wait)
