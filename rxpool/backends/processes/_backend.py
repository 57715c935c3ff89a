"""`ProcessBackend`: worker processes, each watched by a thread of its own."""

import signal
import threading
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context
from functools import partial
from multiprocessing.process import BaseProcess
from time import monotonic
from typing import Any, Final

from reactivex import abc

from rxpool._log import log, report_uncaught
from rxpool.backends._base import Done, Runner, cpus
from rxpool.backends.processes._link import Link, LinkDead
from rxpool.backends.processes._logs import levels
from rxpool.backends.processes._memory import Block
from rxpool.backends.processes._messages import Settings
from rxpool.backends.processes._resident import check_that_known
from rxpool.backends.processes._starting import start_worker
from rxpool.errors import PoisonItem, WorkerCrashed, WorkerStartError
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ProcessBackend",)

_STARTS: Final = 3  #: attempts to start a worker, if its initializer raises, before tasks fail
_DEATHS: Final = 6  #: the same if the process ends before it is ready
_BACK_OFF: Final = 0.05  #: seconds before the second attempt; doubles
_GRACE: Final = 0.05  #: seconds for a short item that was cancelled, before it is killed
_PARTING: Final = 1.0  #: seconds for a process that was told to end


class _Worker:
    """A slot for a process: the processes in it follow one another."""

    __slots__ = ("gone", "link", "owner", "process", "started", "thread")

    def __init__(self) -> None:
        self.link: Link | None = None  # None: no process that is ready
        self.process: BaseProcess | None = None
        self.owner: threading.Thread | None = None  # serves it
        self.gone = False


class ProcessBackend:
    """N processes, each with a connection and a thread that serves it.

    A process that dies takes one attempt of one item with it: the one it was running.  What
    is finished is in the journal it shares with its parent, what was not begun goes to others.

    ``_lock`` guards every field; a link's own lock is taken under it, never the other way
    round, and nothing foreign is called under either.
    """

    scheduler: abc.SchedulerBase | None = None
    keeps_slot = True
    runs_here = False
    helps = False
    ends_itself = True

    def __init__(
        self,
        name: str = "rxpool",
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        max_tasks_per_worker: int | None = None,
        max_memory_per_worker: int | None = None,
        poison_after: int = 2,
    ) -> None:
        if max_memory_per_worker is not None:
            check_that_known()
        self.clock = Clock(TimerScheduler.singleton())
        self._name = name
        self._initializer = initializer
        self._initargs = tuple(initargs)
        self._max_tasks = max_tasks_per_worker
        self._max_memory = max_memory_per_worker
        self._poison_after = poison_after
        self._lock = threading.Lock()
        self._wake = threading.Condition(self._lock)
        self._idle: list[_Worker] = []
        self._mail: deque[Any] = deque()  # jobs for workers that are not ready
        self._workers: list[_Worker] = []
        self._slots = 0
        self._hired = 0
        self._stopping = False
        self._mine = threading.local()  # the worker that a thread serves

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

    def _launch(self, job: Any, worker: _Worker | None = None) -> None:
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

    def _put_aside(self, worker: _Worker, job: Any) -> None:
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

    def _rest(self, worker: _Worker) -> None:
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

    def _go_on(self, worker: _Worker, job: Any) -> None:
        """The lot of *worker* is done; *job* is next, if there is one."""
        if job is not None:
            self._launch(job, worker)
        elif worker.link is not None and not worker.link.out:
            self._rest(worker)

    def _hire(self) -> None:
        """Start another worker if jobs wait and there may be one.  The lock is held."""
        starting = sum(1 for each in self._workers if each.link is None and not each.gone)
        if starting >= len(self._mail) or self._staying() >= self._slots:
            return
        worker = _Worker()
        self._workers.append(worker)
        try:
            self._serve_on_new_thread(worker, self._live)
        except RuntimeError:  # no more threads, or the interpreter is exiting
            self._workers.remove(worker)
            if not self._workers:
                raise

    def _staying(self) -> int:
        """How many workers were not told to end.  The lock is held."""
        return sum(not worker.gone for worker in self._workers)

    def _is_too_many(self) -> bool:
        """Whether a worker that has nothing to do is to end.  The lock is held."""
        return self._stopping or self._staying() > self._slots

    def _serve_on_new_thread(self, worker: _Worker, target: Callable[[_Worker], None]) -> None:
        name = f"{self._name}-{self._hired}"
        self._hired += 1
        thread = threading.Thread(target=self._guard, args=(worker, target), name=name)
        thread.daemon = True
        worker.owner = thread
        thread.start()

    # -- the life of a worker -------------------------------------------------------------

    def _guard(self, worker: _Worker, target: Callable[[_Worker], None]) -> None:
        self._mine.worker = worker
        try:
            target(worker)
        except BaseException as error:
            # The errors of users do not come out here; this one is ours.
            report_uncaught(threading.current_thread().name, error)
            with self._lock:
                if worker in self._workers:
                    self._workers.remove(worker)

    def _live(self, worker: _Worker) -> None:
        """Start process after process, and serve each until it ends."""
        failures, me = 0, threading.current_thread()
        while True:
            with self._lock:
                if worker.gone or (self._stopping and not self._mail):
                    self._workers.remove(worker)
                    return
            error = self._start_process(worker)
            if worker.owner is not me:
                return
            if error is None:
                failures = 0
                if not self._serve(worker) or worker.owner is not me:
                    return
                continue
            failures += 1
            if not self._stopping:
                log.warning("worker did not start", pool=self._name, error=repr(error))
            if failures >= (_DEATHS if isinstance(error, WorkerStartError) else _STARTS):
                self._give_up(worker, error)
                return
            with self._lock:
                if not self._stopping:
                    self._wake.wait(_BACK_OFF * 2 ** (failures - 1))

    def _start_process(self, worker: _Worker) -> BaseException | None:
        """Start a process for *worker*; the reason if that failed."""
        block = Block()
        settings = Settings(
            self._name,
            self._initializer,
            self._initargs,
            self._max_tasks,
            self._max_memory,
            levels(),
        )
        try:
            process, conn = start_worker(settings, block)
        except BaseException as reason:
            block.close()
            return reason
        block.close()
        worker.process = process
        link = Link(self._runner, conn, block, self.clock.now)
        try:
            error = link.await_ready()
        except (EOFError, OSError):
            process.join(_PARTING)
            error = WorkerStartError(f"the process ended ({_ending(process.exitcode)})")
        if error is not None:
            self._bury(worker, link)
            return error
        with self._lock:
            worker.link = link
        self._rest(worker)
        return None

    def _give_up(self, worker: _Worker, reason: BaseException) -> None:
        """Workers do not start: what waits for one fails.  Later items are tried again."""
        with self._lock:
            self._workers.remove(worker)
            others = any(each.link is not None and not each.gone for each in self._workers)
            jobs = [] if others else list(self._mail)
            if not others:
                self._mail.clear()
        self._deal()
        while jobs:
            job = jobs.pop()
            error = WorkerStartError(f"workers do not start: {reason}")
            error.__cause__ = reason
            self._runner.failed(job, error)
            following: list[Any] = []
            self._runner.finish([job], (), following.append)
            jobs += [job for job in following if job is not None]

    def _serve(self, worker: _Worker) -> bool:
        """Serve a process until it ends; False if another thread does that now."""
        link = worker.link
        assert link is not None
        me = threading.current_thread()

        def go_on(job: Any) -> None:
            self._go_on(worker, job)

        try:
            if not link.serve(go_on, lambda: worker.owner is me):
                return False
        except Exception as error:  # the worker talks nonsense, or this is a fault of ours
            self._runner.fault("a worker", error)
            with self._lock:
                if worker.process is not None:
                    worker.process.kill()
        with self._lock:
            worker.link = None
            if worker in self._idle:
                self._idle.remove(worker)
        with link.lock:
            link.dead = True
        self._bury(worker, link)
        return True

    def _resume(self, worker: _Worker) -> None:
        """Serve *worker* in place of a thread that has to wait."""
        if self._serve(worker) and worker.owner is threading.current_thread():
            self._live(worker)

    def _bury(self, worker: _Worker, link: Link) -> None:
        """A process has ended: see what became of its items."""
        process = worker.process
        assert process is not None
        link.close()
        process.join(_PARTING)
        if process.exitcode is None:
            process.kill()
            process.join()
        exitcode = process.exitcode
        with self._lock:
            worker.process = None
        process.close()
        link.harvest(self._post_next)
        task, unbegun = link.remains()
        if unbegun:
            self._runner.give_back(unbegun)
        if task is not None:
            self._runner.failed(task, self._cause(link, task, exitcode))
            self._runner.finish([task], (), self._post_next)

    def _post_next(self, job: Any) -> None:
        """The worker has ended, its slot goes on."""
        if job is not None:
            self._post(job)

    def _cause(self, link: Link, task: Any, exitcode: int | None) -> BaseException:
        if link.verdict is not None and link.verdict[0] is task:
            return link.verdict[1]
        task.crashes = crashes = getattr(task, "crashes", 0) + 1
        ending = _ending(exitcode)
        if crashes >= self._poison_after:
            return PoisonItem(f"killed its worker {crashes} times, at last: {ending}", exitcode)
        return WorkerCrashed(f"the worker process ended while it ran this: {ending}", exitcode)

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
        worker: _Worker | None = getattr(self._mine, "worker", None)
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
                    owner.join(_PARTING)


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        try:
            return f"killed by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"killed by signal {-exitcode}"
    return f"exit code {exitcode}"
