"""Threads: started when they are needed, kept until the pool ends, replaced if they hang."""

import sys
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from time import monotonic
from typing import Any

from rxpool._log import report_uncaught
from rxpool.backends._awaiting import close_loop, run_here
from rxpool.backends._base import Done, LocalBackend, Runner, cpus
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ThreadBackend",)

#: Python 3.12 starts no thread any more when it begins to exit, which is when open pools are
#: closed; what they hold may need timers then, so the thread for them must be there already.
_KEEP_TIMERS = sys.version_info[:2] == (3, 12)


class _Worker:
    """A thread, the job it is given and the gate it waits at while it has none.

    From being given a job until it rests, a thread is in one shift; jobs note the shift
    they are run in.
    """

    __slots__ = ("abandoned", "gate", "job", "shift", "thread")

    def __init__(self, job: Any) -> None:
        self.job = job
        self.gate = threading.Lock()
        self.gate.acquire()
        self.abandoned = False
        self.shift = 0
        self.thread: threading.Thread | None = None


class ThreadBackend(LocalBackend):
    """N threads.

    A thread cannot be killed.  When its job is abandoned the thread no longer counts, so
    another may take its place; if it comes back it joins again or, if it has been replaced,
    ends.

    ``_lock`` guards every field; nothing foreign is called under it.  Idle workers are used
    last in, first out: with little to do few of them wake up.
    """

    def __init__(self, name: str = "rxpool") -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._name = name
        self._lock = threading.Lock()
        self._idle: list[_Worker] = []
        self._mail: deque[Any] = deque()  # jobs for workers that are about to be idle
        self._workers: set[_Worker] = set()
        self._usable = 0  # workers that are not abandoned
        self._started = 0
        self._stopping = False
        self._slots = 0

    @property
    def default_slots(self) -> int:
        """Some more than CPUs, as threads wait most of the time."""
        return min(32, cpus() + 4)

    @property
    def abandoned(self) -> int:
        """How many threads still run work that nobody waits for."""
        with self._lock:
            return len(self._workers) - self._usable

    def bind(self, runner: Runner, slots: int) -> None:
        """Run jobs with *runner*, on at most *slots* threads."""
        self._runner = runner
        self._slots = slots
        if _KEEP_TIMERS:
            TimerScheduler.singleton().keep_thread()

    def start(self, jobs: Sequence[Any]) -> None:
        """Give each job to an idle thread, a new one, or the next that has nothing to do."""
        with self._lock:
            for job in jobs:
                if self._idle:
                    worker = self._idle.pop()
                    worker.job = job
                    worker.gate.release()
                elif self._usable >= self._slots or not self._try_to_hire(job):
                    self._mail.append(job)

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """Run it on the event loop of this thread; the thread is busy meanwhile."""
        try:
            value = run_here(awaitable, context)
        except BaseException as error:
            done(None, error)
        else:
            done(value, None)
        return None

    def abandon(self, jobs: Sequence[Any]) -> int:
        """Stop counting the threads that run *jobs*; answers how many those are."""
        gone = 0
        with self._lock:
            for job in jobs:
                worker, shift = getattr(job, "note", None) or (None, 0)
                if worker is not None and worker.shift == shift and not worker.abandoned:
                    worker.abandoned = True
                    self._usable -= 1
                    gone += 1
            while self._mail and self._usable < self._slots:
                if not self._try_to_hire(self._mail[0]):
                    break
                self._mail.popleft()
        return gone

    def lend(self, jobs: Sequence[Any]) -> None:
        """The threads of *jobs* do not count while these wait."""
        self.abandon(jobs)

    def lane(self, job: Any) -> str | None:
        """The name of the thread that runs *job*."""
        worker, _ = getattr(job, "note", None) or (None, 0)
        return None if worker is None or worker.thread is None else worker.thread.name

    def resize(self, slots: int) -> None:
        """Idle threads beyond the new number end now, the others when they are idle."""
        with self._lock:
            self._slots = slots
            while self._idle and self._usable > slots:
                worker = self._idle.pop()
                worker.job = None
                self._usable -= 1
                worker.abandoned = True
                worker.gate.release()

    def stop(self, wait: float | None) -> None:
        """End the idle threads, and each other one when its job is done."""
        with self._lock:
            if _KEEP_TIMERS and not self._stopping:
                TimerScheduler.singleton().let_thread_go()
            self._stopping = True
            for worker in self._idle:
                worker.job = None
                worker.gate.release()
            self._idle.clear()
            threads = [w.thread for w in self._workers if not w.abandoned]
        deadline = None if wait is None else monotonic() + wait
        for thread in threads:
            if thread is not None and thread is not threading.current_thread():
                thread.join(None if deadline is None else max(0.0, deadline - monotonic()))

    def _try_to_hire(self, job: Any) -> bool:
        """Start a thread with *job*; False if that is impossible and others can run it."""
        try:
            self._hire(job)
        except RuntimeError:  # no more threads, or the interpreter is exiting
            if not self._usable:
                raise
            return False
        return True

    def _hire(self, job: Any) -> None:
        """Start a thread with *job*.  The lock is held."""
        worker = _Worker(job)
        name = f"{self._name}-{self._started}"
        worker.thread = threading.Thread(
            target=self._work, args=(worker,), name=name, daemon=True
        )
        self._started += 1
        self._usable += 1
        self._workers.add(worker)
        try:
            worker.thread.start()
        except BaseException:
            if worker.thread.ident is None:  # else it runs, and this is a KeyboardInterrupt
                self._usable -= 1
                self._workers.discard(worker)
            raise

    def _work(self, worker: _Worker) -> None:
        work = self._runner.work
        job = worker.job
        try:
            while job is not None:
                note = worker, worker.shift
                try:
                    work(job, note)
                except BaseException as error:
                    # The errors of users do not come out here; this one is ours.
                    report_uncaught(threading.current_thread().name, error)
                del job
                job = self._rest(worker)
        finally:
            close_loop()

    def _rest(self, worker: _Worker) -> Any:
        """Wait for a job; None ends the thread."""
        with self._lock:
            worker.job = None
            worker.shift += 1
            if worker.abandoned and self._usable < self._slots and not self._stopping:
                worker.abandoned = False
                self._usable += 1
            if self._mail and not worker.abandoned:
                return self._mail.popleft()
            if self._stopping or worker.abandoned or self._usable > self._slots:
                return self._leave(worker)
            self._idle.append(worker)
        worker.gate.acquire()
        if worker.job is None:
            with self._lock:
                return self._leave(worker)
        return worker.job

    def _leave(self, worker: _Worker) -> None:
        self._workers.discard(worker)
        if not worker.abandoned:
            worker.abandoned = True
            self._usable -= 1
