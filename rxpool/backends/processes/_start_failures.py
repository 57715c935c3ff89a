"""`StartFailures`: threads and processes that do not start, and the jobs that wait for them."""

import threading
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from reactivex import abc

from rxpool.backends._runner import ChunkRunner
from rxpool.backends.processes._roster import Roster
from rxpool.backends.processes._starts import Fails, Failure, Starts, Step
from rxpool.errors import WorkerStartError
from rxpool.timing import Clock

__all__ = ("StartFailures",)


class StartFailures:
    """Has starts tried again, and those who wait fail, as `Starts` decides.

    ``_lock``, that of the pool's processes, guards the roster and every field.  *retry* is
    called without it, in a while; *requeue* is given what comes next in the slot of a job.
    """

    def __init__(
        self,
        lock: threading.Lock,
        roster: Roster,
        runner: ChunkRunner,
        clock: Clock,
        requeue: Callable[[Any], None],
        retry: Callable[[], None],
    ) -> None:
        self._lock = lock
        self._roster = roster
        self._runner = runner
        self._clock = clock
        self._requeue = requeue
        self._retry = retry
        self._starts = Starts(clock.now)
        self._refused = 0  # threads that could not be started, one after the other
        self._alarm: abc.DisposableBase | None = None  # when that is tried again

    def begins(self) -> None:
        """A process is going to be started.  Locked."""
        self._starts.begins()

    def settled(self) -> None:
        """A worker is ready, or nobody waits for one any more.  Locked."""
        self._starts.settled()

    def thread_started(self) -> None:
        """There are threads.  Locked."""
        self._refused = 0

    def interrupted(self) -> None:
        """Ctrl-C came while a thread was started: that is tried again at once.  Locked."""
        if self._alarm is None:
            with suppress(RuntimeError):
                self._alarm = self._clock.alarm(self._clock.now(), self._ring)

    def thread_refused(self, error: RuntimeError) -> None:
        """There is no worker, nor a thread for one: that is tried again, then jobs fail."""
        with self._lock:
            if self._alarm is not None:
                return
            self._refused += 1
            self._starts.begins()
            step = self._starts.failed(Failure.refused(error), self._refused, False)
            jobs = self._those_that_fail(step)
            all_fail = step.fails is Fails.ALL
            if jobs:
                self._refused = 0
            waiting = self._roster.waiting
            if waiting:
                try:
                    due = self._clock.now() + step.pause
                    self._alarm = self._clock.alarm(due, self._ring)
                except RuntimeError:  # no thread for that either
                    jobs.extend(waiting)
                    waiting.clear()
                    all_fail = True
            else:
                self._starts.settled()
        self._fail(jobs, error, all_fail)

    def _ring(self, _: float) -> None:
        with self._lock:
            self._alarm = None
        self._retry()

    def process_failed(self, failure: Failure, tries: int) -> Step:
        """Attempt number *tries* for a job failed; the job fails, too, if that is enough."""
        with self._lock:
            step = self._starts.failed(failure, tries, self._roster.has_ready())
            jobs = self._those_that_fail(step)
        self._fail(jobs, failure.error, step.fails is Fails.ALL)
        return step

    def _those_that_fail(self, step: Step) -> deque[Any]:
        """Take them from those that wait.  Locked."""
        waiting = self._roster.waiting
        if step.fails is Fails.NONE or not waiting:
            return deque()
        if step.fails is Fails.ONE:
            return deque([waiting.popleft()])
        jobs = waiting.copy()
        waiting.clear()
        return jobs

    def _fail(self, jobs: deque[Any], reason: BaseException, and_next: bool) -> None:
        """Workers do not start for *jobs*, nor, with *and_next*, for those that follow them."""

        def follow(job: Any) -> None:
            with self._lock:
                hopeless = and_next and not self._roster.has_ready()
            if hopeless and job is not None:
                jobs.append(job)
            else:
                self._requeue(job)

        while jobs:
            job = jobs.popleft()
            error = WorkerStartError(f"workers do not start: {reason}")
            error.__cause__ = reason
            self._runner.failed(job, error)
            self._runner.finish([job], (), follow)

    def stop(self) -> None:
        """Nothing is tried again.  Locked."""
        if self._alarm is not None:
            self._alarm.dispose()
        self._alarm = None

    def forked(self) -> None:
        """The jobs are the parent's."""
        self._alarm = None
