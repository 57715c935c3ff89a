"""Threads: started when they are needed, kept until the pool ends, replaced if they hang."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any
from weakref import ref

from rxpool._forks import afresh, bury, end_child, heed
from rxpool._log import report_uncaught
from rxpool._threads import DaemonThread
from rxpool.backends._awaiting import close_loop
from rxpool.backends._base import LocalBackend, cpus
from rxpool.backends._initializer import Initializer, fail
from rxpool.backends._runner import ThreadRunner
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ThreadBackend",)


class _Worker:
    """A thread, the job it is given and the gate it waits at while it has none.

    From being given a job until it rests, a thread is in one shift; jobs note the shift
    they are run in.
    """

    __slots__ = ("abandoned", "gate", "job", "ready", "shift", "thread")

    def __init__(self, job: Any) -> None:
        self.job = job
        self.gate = threading.Lock()
        self.gate.acquire()
        self.abandoned = False
        self.ready = False  # its initializer has run
        self.shift = 0
        self.thread: DaemonThread | None = None


class ThreadBackend(LocalBackend):
    """N threads.

    A thread cannot be killed.  When its job is abandoned the thread no longer counts, so
    another may take its place; if it comes back it joins again or, if it has been replaced,
    ends.

    ``_lock`` guards every field; nothing foreign is called under it.  Idle workers are used
    last in, first out: with little to do few of them wake up.

    Threads without a job do not keep the runner; it is a job that does.
    """

    def __init__(self, name: str = "rxpool", initializer: Initializer | None = None) -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._name = name
        self._initializer = initializer
        self._lock = afresh(threading.Lock())
        self._idle: list[_Worker] = []
        self._mail: deque[Any] = deque()  # jobs for workers that are about to be idle
        self._workers: set[_Worker] = set()
        self._usable = 0  # workers that are not abandoned
        self._started = 0
        self._stopping = False
        self._then: Callable[[], object] | None = None  # to be called by the last thread
        self._slots = 0
        self._foreign = False
        self._mine = threading.local()  # `worker`: whose thread this is
        heed(self)

    def forked(self) -> None:
        """A child has none of the threads but the one that forked, if that is one of these."""
        self._foreign = self._stopping = True
        self._usable = 0
        bury(self._mail, self._workers)
        self._idle.clear()
        self._mail.clear()
        self._workers.clear()

    @property
    def default_slots(self) -> int:
        """Some more than CPUs, as threads wait most of the time."""
        return min(32, cpus() + 4)

    @property
    def abandoned(self) -> int:
        """How many threads still run work that nobody waits for."""
        with self._lock:
            return len(self._workers) - self._usable

    def bind(self, runner: ThreadRunner, slots: int) -> None:
        """Run jobs with *runner*, on at most *slots* threads."""
        self._runner = ref(runner)
        self._slots = slots

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

    def abandon(self, jobs: Sequence[Any]) -> int:
        """Stop counting the threads that run *jobs*; answers how many those are."""
        gone = 0
        with self._lock:
            for job in jobs:
                worker, shift = job.note or (None, 0)
                if worker is not None and worker.shift == shift and not worker.abandoned:
                    self._discount(worker)
                    gone += 1
            self._replace()
        return gone

    def waits(self) -> None:
        """If this is one of the threads, another may take its place."""
        worker: _Worker | None = getattr(self._mine, "worker", None)
        if worker is not None:
            with self._lock:
                if not worker.abandoned:
                    self._discount(worker)
                self._replace()

    def _discount(self, worker: _Worker) -> None:
        worker.abandoned = True
        self._usable -= 1

    def _replace(self) -> None:
        """Start threads for jobs that waited for one that does not count any more."""
        with suppress(RuntimeError):  # no more threads: they wait for one that comes back
            while self._mail and self._usable < self._slots:
                self._hire(self._mail[0])
                self._mail.popleft()

    def lend(self, jobs: Sequence[Any]) -> None:
        """The threads of *jobs* do not count while these wait."""
        self.abandon(jobs)

    def lane(self, job: Any) -> str | None:
        """The name of the thread that runs *job*."""
        worker, _ = job.note or (None, 0)
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
            self._send_home()
            threads = [w.thread for w in self._workers if not w.abandoned]
        deadline = None if wait is None else monotonic() + wait
        for thread in threads:
            if thread is not None and thread is not threading.current_thread():
                thread.join(None if deadline is None else max(0.0, deadline - monotonic()))

    def dismiss(self, then: Callable[[], object]) -> None:
        """No job will come any more: the threads end, and the last one calls *then*.

        For finalisers: it takes no lock, and waits for nothing.
        """
        self._then = then
        self._send_home()

    def _send_home(self) -> None:
        """End the idle threads; the others see that they are to end."""
        self._stopping = True
        with suppress(IndexError):
            while True:
                worker = self._idle.pop()
                worker.job = None
                worker.gate.release()

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
        worker.thread = DaemonThread(self._work, name, (worker,))
        self._started += 1
        self._usable += 1
        self._workers.add(worker)
        try:
            worker.thread.start(vital=self._usable == 1)
        except BaseException:
            if worker.thread.ident is None:  # else it runs, and this is a KeyboardInterrupt
                self._usable -= 1
                self._workers.discard(worker)
            raise

    def _work(self, worker: _Worker) -> None:
        job = worker.job
        self._mine.worker = worker
        try:
            while job is not None:
                note = worker, worker.shift
                try:
                    self._run(job, note, worker)
                except BaseException as error:
                    # The errors of users do not come out here; this one is ours.
                    report_uncaught(threading.current_thread().name, error)
                del job
                job = self._rest(worker)
        finally:
            close_loop()
            self._go_home()

    def _run(self, job: Any, note: Any, worker: _Worker) -> None:
        runner = self._runner()
        assert runner is not None  # as there is a job
        if self._initializer is not None:
            job = self._initialized(self._initializer, job, worker, runner)
        if job is not None:
            runner.work(job, note)

    def _initialized(
        self, initializer: Initializer, job: Any, worker: _Worker, runner: ThreadRunner
    ) -> Any:
        """*job*, if this thread is ready for it; else others do it, or all that waits fails."""
        why = initializer.refused()
        worker.ready = why is None
        if why is None:
            return job
        with self._lock:
            others = any(other.ready and not other.abandoned for other in self._workers)
        if others:
            self._hand_over(job)
            return None
        while job is not None:
            job = fail(runner, job, why, self.clock.now())
        return None

    def _hand_over(self, job: Any) -> None:
        """Have a thread that is ready do *job*, as soon as one has nothing else to do."""
        with self._lock:
            if self._idle:
                worker = self._idle.pop()
                worker.job = job
                worker.gate.release()
            else:
                self._mail.append(job)

    def _go_home(self) -> None:
        """A thread ends."""
        with self._lock:
            if self._usable or self._then is None:
                return
            then, self._then = self._then, None
        then()

    def _rest(self, worker: _Worker) -> Any:
        """Wait for a job; None ends the thread."""
        if self._foreign:
            end_child()  # what this thread did has forked
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
            # First in, then look: `dismiss` does it the other way round, without the lock.
            if self._stopping:
                with suppress(ValueError):  # it was found there
                    self._idle.remove(worker)
                    return self._leave(worker)
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
