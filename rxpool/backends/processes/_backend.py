"""`ProcessBackend`: worker processes, each watched by a thread of its own."""

import threading
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context
from functools import partial
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Final

from reactivex import abc

from rxpool.backends._base import Done, Runner, cpus
from rxpool.backends.processes._crew import PARTING, Crew, Worker
from rxpool.backends.processes._link import Link, LinkDead

__all__ = ("ProcessBackend",)

_GRACE: Final = 0.05  #: seconds for a short item that was cancelled, before it is killed


class ProcessBackend(Crew):
    """N processes, each with a connection and a thread that serves it.

    Here is which worker runs what; how processes start and end is in `Crew`.
    """

    scheduler: abc.SchedulerBase | None = None
    keeps_slot = True
    runs_here = False
    helps = False
    ends_itself = True

    @property
    def default_slots(self) -> int:
        """As many as there are CPUs."""
        return cpus()

    @property
    def processes(self) -> list[BaseProcess]:
        """Those that are alive."""
        with self._lock:
            return [w.process for w in self._workers if w.process is not None]

    def bind(self, runner: Runner, slots: int) -> None:
        """Run jobs for *runner*, in at most *slots* processes."""
        self._runner = runner
        self._slots = slots

    # -- jobs ---------------------------------------------------------------------------

    def start(self, jobs: Sequence[Any]) -> None:
        """Give each job to an idle worker, or the next one that has nothing to do."""
        for job in jobs:
            self._launch(job)

    def _launch(self, job: Any, worker: Worker | None = None) -> None:
        """Have *job* run, by *worker* if that is given; else by any."""
        while True:
            if worker is None:
                with self._lock:
                    self._mail.append(job)
                    if not self._idle:
                        self._hire()
                        return
                    job, worker = self._mail.popleft(), self._idle.pop()
            link = worker.link
            if link is None or link.leaving:
                self._post(job)
                return
            try:
                sent, refused = link.give(job)
            except LinkDead:
                self._post(job)
                return
            # What was sent may be done by now, and the worker at rest: it is not ours any more.
            if sent:
                if refused:
                    self._runner.finish(refused, sent, self._post_next)
                return
            if not refused:  # it had been cancelled
                self._rest(worker)
                return
            # They have failed; whoever is told that may need the worker.
            self._runner.finish(refused, (), partial(self._put_aside, worker))
            with self._lock:
                if not (self._mail and self._idle):
                    return
                job, worker = self._mail.popleft(), self._idle.pop()

    def _put_aside(self, worker: Worker, job: Any) -> None:
        """*worker* rests, *job* waits for it or another."""
        with self._lock:
            if job is not None:
                self._mail.appendleft(job)
            link = worker.link
            if link is None or link.leaving:
                return
            worker.gone = not self._mail and self._is_too_many()
            if not worker.gone:
                self._idle.append(worker)
                return
        link.farewell()

    def _post(self, job: Any) -> None:
        """Leave *job* for the next worker that is ready, as its own is not."""
        with self._lock:
            self._mail.append(job)
            self._hire()
        self._deal()

    def _deal(self) -> None:
        """Give jobs that wait to workers that are idle."""
        while True:
            with self._lock:
                if not (self._mail and self._idle):
                    return
                job, worker = self._mail.popleft(), self._idle.pop()
            self._launch(job, worker)

    def _rest(self, worker: Worker) -> None:
        """*worker* has nothing to do: a job that waits, or rest, or end."""
        with self._lock:
            link = worker.link
            if link is None or link.leaving or link.out or worker in self._idle:
                return
            job = self._mail.popleft() if self._mail else None
            if job is None:
                worker.gone = self._is_too_many()
                if not worker.gone:
                    self._idle.append(worker)
                    return
        if job is not None:
            self._launch(job, worker)
        else:
            link.farewell()

    def _go_on(self, worker: Worker, job: Any) -> None:
        """The lot of *worker* is done; *job* is next, if there is one."""
        if job is not None:
            self._launch(job, worker)
        elif worker.link is not None and not worker.link.out:
            self._rest(worker)

    # -- what the pool asks for ---------------------------------------------------------

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """Never called: functions return in their process."""
        raise AssertionError(awaitable)

    def abandon(self, jobs: Sequence[Any]) -> None:
        """End the processes that run *jobs*; short items are given a moment to end."""
        for link in {link for job in jobs if (link := getattr(job, "note", None)) is not None}:
            with link.lock:
                task = link.running()
                if task is None or not task.settled:
                    if link.out and link.out[-1] is not None and link.out[-1].settled:
                        link.stop_before_next()
                    continue
                link.stop_before_next()
            if link.short:
                due = self.clock.now() + _GRACE
                self.clock.alarm(due, partial(self._kill, link, task))
            else:
                self._kill(link, task)
        with self._lock:
            for job in jobs:
                if job in self._mail:
                    self._mail.remove(job)

    def _kill(self, link: Link, task: Any, _: float = 0.0) -> None:
        """End the process of *link*, if it still runs *task*."""
        with self._lock:
            for worker in self._workers:
                if worker.link is link and worker.process is not None:
                    with link.lock:
                        if link.running() is task:
                            worker.process.kill()

    def look_at(self, jobs: Collection[Any]) -> None:
        """Read from the shared memory what runs, and since when."""
        with self._lock:
            links = [worker.link for worker in self._workers if worker.link is not None]
        for link in links:
            task, since = link.running_since()
            if task is not None:
                task.started = since

    def end(self, job: Any, error: BaseException) -> None:
        """Kill the process that runs *job*; it fails with *error*."""
        link = getattr(job, "note", None)
        if link is not None:
            with link.lock:
                link.stop_before_next()  # if it ends just now, no other dies in its place
                runs = link.running() is job
                if runs:
                    link.verdict = job, error
            if runs:
                self._kill(link, job)
                return
            if hasattr(job, "took") or link.has_ended(job):
                return
        with self._lock:
            if job in self._mail:
                self._mail.remove(job)
        self._runner.failed(job, error)
        self._runner.finish([job], (), self._post_next)

    def lend(self, jobs: Sequence[Any]) -> None:
        """Never called: tasks of processes cannot use the pool."""
        raise AssertionError(jobs)

    def help(self, job: Any) -> None:
        """Never called: see `helps`."""
        raise AssertionError(job)

    def waits(self) -> None:
        """If this thread serves a worker, another does; jobs put aside go on."""
        worker: Worker | None = getattr(self._mine, "worker", None)
        if worker is not None and worker.owner is threading.current_thread():
            with self._lock:
                if worker in self._workers:
                    serve = self._live if worker.link is None else self._resume
                    self._serve_on_new_thread(worker, serve)
        self._deal()

    def resize(self, slots: int) -> None:
        """Idle workers beyond the new number end now, others when they are idle."""
        surplus: list[Link] = []
        with self._lock:
            self._slots = slots
            while self._idle and self._staying() > slots:
                worker = self._idle.pop()
                worker.gone = True
                if worker.link is not None:
                    surplus.append(worker.link)
        for link in surplus:
            link.farewell()

    def stop(self, wait: float | None) -> None:
        """End all processes, each when it has nothing to do; kill them when the time is up."""
        with self._lock:
            self._stopping = True
            self._wake.notify_all()
            workers = list(self._workers)
            links = [worker.link for worker in self._idle if worker.link is not None]
            self._idle.clear()
        for link in links:
            link.farewell()
        deadline = None if wait is None else monotonic() + wait
        for worker in workers:
            owner = worker.owner
            if owner is not None and owner is not threading.current_thread():
                owner.join(None if deadline is None else max(0.0, deadline - monotonic()))
                if owner.is_alive():
                    with self._lock:
                        if worker.process is not None:
                            worker.process.kill()
                    owner.join(PARTING)
