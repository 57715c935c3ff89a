"""`Supervisor`: worker processes come and go, each slot watched by a thread of its own."""

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final, Protocol

from rxpool._forks import afresh
from rxpool._log import log
from rxpool.backends._runner import ChunkRunner
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._launch import Starter, wait_until_ready
from rxpool.backends.processes._process import PARTING
from rxpool.backends.processes._reaper import Reaper
from rxpool.backends.processes._roster import Roster, Worker
from rxpool.backends.processes._serving_threads import ServingThreads, join_all
from rxpool.backends.processes._start_failures import StartFailures
from rxpool.backends.processes._starts import Fails, Failure
from rxpool.errors import WouldBlock
from rxpool.timing import Clock

__all__ = ("Jobs", "Supervisor")

_LEAVING: Final = 5.0  #: seconds for idle workers to end when the pool does


class Jobs(Protocol):
    """What a supervisor needs of who gives jobs to workers.  All is called without the lock."""

    def go_on(self, worker: Worker, job: Any = None) -> None:
        """*worker* is ready, or what it had is done; *job* is next, if there is one."""

    def requeue(self, job: Any) -> None:
        """Leave *job*, if there is one, for the next worker that is ready."""


class Supervisor:
    """Starts processes, serves each until it ends, and sees what becomes of its items.

    A process that dies takes one attempt of one item with it: the one it was running.  What
    is finished is in the log it shares with its parent, what was not begun goes to others.
    If processes do not start, `StartFailures` sees to those who wait.

    ``_lock``, that of the pool's processes, guards the roster and every field; a channel's
    own locks are taken under it, never the other way round, and nothing foreign is called
    under either.
    """

    def __init__(
        self,
        name: str,
        lock: threading.Lock,
        roster: Roster,
        runner: ChunkRunner,
        clock: Clock,
        starter: Starter,
        jobs: Jobs,
        poison_after: int,
    ) -> None:
        self._name = name
        self._lock = lock
        self._wake = afresh(threading.Condition(lock))
        self._roster = roster
        self._runner = runner
        self._clock = clock
        self._starter = starter
        self._jobs = jobs
        self._threads = ServingThreads(name, self._give_up, self._thread_ended)
        self._reaper = Reaper(lock, runner, jobs.requeue, poison_after)
        self._failures = StartFailures(
            lock, roster, runner, clock, jobs.requeue, self._spawn_again
        )
        self._over = False  # the time for ends is up: processes are killed
        self._then: Callable[[], object] | None = None  # to be called when all have ended

    def forked(self) -> None:
        """The processes are the parent's, and nobody serves them in a child."""
        self._threads.forked()
        self._failures.forked()
        self._then = None

    # -- workers come -------------------------------------------------------------------

    def spawn(self) -> RuntimeError | None:
        """Start another worker if jobs wait and there may be one.  The lock is held.

        Answers why no thread can be started, if there is no worker either: that is for
        `without_worker`.
        """
        roster = self._roster
        if not roster.lacks_workers():
            return None
        worker = Worker()
        roster.workers.append(worker)
        try:
            self._threads.start(worker, self._supervise, len(roster.workers) == 1)
        except RuntimeError as error:
            roster.workers.remove(worker)
            return None if roster.staying() else error.with_traceback(None)
        except BaseException:  # Ctrl-C, on the main thread
            if worker.owner is None:
                roster.workers.remove(worker)
                self._failures.interrupted()
            raise
        self._failures.thread_started()
        return None

    def without_worker(self, error: RuntimeError | None) -> None:
        """If jobs wait and nobody can run them: that is tried again later, then they fail."""
        if error is None:
            return
        if "shutdown" in str(error):  # the interpreter is exiting: there will be no thread
            self._serve_here()
        else:
            self._failures.thread_refused(error)

    def _spawn_again(self) -> None:
        with self._lock:
            error = self.spawn()
        self.without_worker(error)

    def _serve_here(self) -> None:
        """Have what waits run, and wait for it."""
        worker = Worker()
        worker.passing = True
        worker.owner = threading.current_thread()
        with self._lock:
            self._roster.workers.append(worker)
        self._threads.serve_here(worker, self._supervise)

    # -- workers live -------------------------------------------------------------------

    def _supervise(self, worker: Worker) -> None:
        """Start process after process, and serve each until it ends."""
        tries, failing, me = 0, False, threading.current_thread()
        roster = self._roster
        while True:
            with self._lock:
                if worker.passing and roster.waiting:
                    worker.gone = False
                over = worker.gone or (not roster.waiting and (failing or roster.stopping))
                if not over:
                    self._failures.begins()
            if over:
                self._leave(worker)
                return
            failure = self._start_process(worker)
            if worker.owner is not me:
                return
            if failure is None:
                tries, failing = 0, False
                if not self._serve(worker) or worker.owner is not me:
                    return
                continue
            tries, failing = tries + 1, True
            if not roster.stopping:
                log.warning("worker did not start", pool=self._name, error=repr(failure.error))
            step = self._failures.process_failed(failure, tries)
            if step.fails is not Fails.NONE:
                tries = 0
                if worker.owner is not me:
                    return
            with self._lock:
                if roster.waiting:
                    self._wake.wait_for(lambda: roster.stopping, step.pause)

    def _start_process(self, worker: Worker) -> Failure | None:
        """Start a process for *worker*; the reason if that failed."""
        worker.starting = True
        started = self._starter.start(self._roster.slots)
        worker.starting = False
        if isinstance(started, Failure):
            return started
        process, conn, block = started
        with self._lock:
            worker.process = process
            if self._over:
                process.kill()
        lane = f"{self._name} process {process.pid}"
        channel = WorkerChannel(
            self._runner, conn, block, process.sentinel, process.goes_on, lane
        )
        failure = wait_until_ready(channel, process)
        if failure is not None:
            channel.close()
            self._reaper.part(worker)
            block.release()
            return failure
        with self._lock:
            worker.channel = channel
            self._failures.settled()
        self._jobs.go_on(worker)
        return None

    def _serve(self, worker: Worker) -> bool:
        """Serve a process until it ends; False if another thread does that now."""
        channel = worker.channel
        assert channel is not None
        try:
            if not channel.serve(partial(self._jobs.go_on, worker), worker):
                return False
        except BaseException as error:  # the worker talks nonsense, or a fault of ours
            with suppress(ReferenceError):  # the pool was dropped just now
                self._runner.fault("a worker", error)
            with self._lock:
                if worker.process is not None:
                    worker.process.kill()
        with self._lock:
            self._roster.lose_channel(worker)
        channel.in_flight.close()
        try:
            self._reaper.reap(worker, channel)
        except Exception as error:  # what it left makes no sense
            self._runner.fault("the end of a worker", error)
            self._reaper.give_up(channel.give_up(), error)
        if not self._roster.stopping and not worker.gone:
            kind = "recycled" if channel.leaving else "crashed"
            kind = "timeout" if channel.in_flight.verdict is not None else kind
            with suppress(ReferenceError):  # the pool was dropped just now
                self._runner.replaced(kind)
        return True

    def take_over(self) -> None:
        """If this thread serves a worker, and is going to wait, another one does that now.

        Raises:
            WouldBlock: If there are no more threads.
        """
        worker = self._threads.current()
        if worker is None or worker.owner is not threading.current_thread():
            return
        with self._lock:
            if worker not in self._roster.workers:
                return
            serve = self._supervise if worker.channel is None else self._resume
            try:
                self._threads.start(worker, serve)
            except RuntimeError as error:
                raise WouldBlock(
                    "this thread serves a worker, and no other can be started that "
                    f"does so while it waits: {error}"
                ) from error

    def _resume(self, worker: Worker) -> None:
        """Serve *worker* in place of a thread that has to wait."""
        if self._serve(worker) and worker.owner is threading.current_thread():
            self._supervise(worker)

    # -- workers go ---------------------------------------------------------------------

    def _leave(self, worker: Worker) -> None:
        """*worker* ends; if jobs have come meanwhile, there is another one."""
        with self._lock:
            self._roster.remove(worker)
            if not any(each.channel is None for each in self._roster.workers):
                self._failures.settled()
            error = self.spawn()
        self.without_worker(error)

    def _give_up(self, worker: Worker, error: BaseException) -> None:
        """A fault of ours: what *worker* had fails, or what it was to have."""
        with self._lock:
            channel, process = worker.channel, worker.process
            worker.process = None
            worker.gone = True
            self._roster.lose_channel(worker)
            waiting = self._roster.waiting
            jobs = [waiting.popleft()] if channel is None and waiting else []
        if process is not None:
            process.kill()
            process.ended(PARTING)
            process.close()
        if channel is not None:
            channel.close()
            jobs = channel.give_up()
        self._reaper.give_up(jobs, error)
        self._leave(worker)

    def _thread_ended(self) -> None:
        with self._lock:
            if self._roster.workers or self._then is None:
                return
            then, self._then = self._then, None
        then()

    def kill(self, channel: WorkerChannel, task: Any, after: float = 0.0) -> None:
        """End the process of *channel*, if it is at *task* in so many seconds."""
        if after:
            with suppress(RuntimeError):  # no thread for timers
                due = self._clock.now() + after
                self._clock.alarm(due, lambda _: self.kill(channel, task))
                return
        with self._lock:
            for worker in self._roster.workers:
                if worker.channel is channel and worker.process is not None:
                    with channel.in_flight.lock:
                        if channel.in_flight.is_at(task):
                            worker.process.kill()

    def dismiss(self, then: Callable[[], object]) -> None:
        """The processes end, and *then* is called.  It takes no lock, and waits for nothing."""
        self._then = then
        self._roster.stopping = True
        with suppress(IndexError):
            while True:
                worker = self._roster.idle.pop()
                if worker.channel is not None:
                    worker.channel.shut_down()

    def stop(self, wait: float | None) -> None:
        """End all processes, each when it has nothing to do; kill them when the time is up.

        Nothing that was accepted is left by now: idle workers end at once, others are killed
        after a while even if there is no limit.
        """
        roster = self._roster
        with self._lock:
            roster.stopping = True
            self._wake.notify_all()
            self._failures.stop()
            me = threading.current_thread()
            workers = [worker for worker in roster.workers if worker.owner is not me]
            channels = [each.channel for each in roster.idle if each.channel is not None]
            roster.idle.clear()
        for channel in channels:
            channel.shut_down()
        begun = monotonic()
        join_all(workers, begun + (PARTING if wait is None else min(wait, PARTING)))
        with self._lock:  # nobody needs those that are only starting
            doomed = [w.process for w in workers if w.channel is None and w.process is not None]
            for process in doomed:
                process.kill()
        join_all(workers, begun + (_LEAVING if wait is None else wait))
        with self._lock:
            self._over = True
            for worker in workers:
                if worker.process is not None:
                    worker.process.kill()
        join_all([w for w in workers if wait is not None or w.starting], monotonic() + PARTING)
        if wait is None:  # in the hands of a subscriber
            join_all([w for w in workers if not w.starting], None)
