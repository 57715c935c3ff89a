"""`Crew`: worker processes come and go, each slot watched by a thread of its own."""

import signal
import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing.process import BaseProcess
from typing import Any, Final

from rxpool._log import log, report_uncaught
from rxpool.backends._base import Runner
from rxpool.backends.processes._link import Link
from rxpool.backends.processes._logs import levels
from rxpool.backends.processes._memory import Block
from rxpool.backends.processes._messages import Settings
from rxpool.backends.processes._resident import check_that_known
from rxpool.backends.processes._starting import ended, start_worker
from rxpool.errors import PoisonItem, WorkerCrashed, WorkerStartError
from rxpool.timing import Clock, TimerScheduler

__all__ = ("PARTING", "Crew", "Worker")

_STARTS: Final = 3  #: attempts to start a worker, if its initializer raises, before tasks fail
_DEATHS: Final = 6  #: the same if the process ends before it is ready
_BACK_OFF: Final = 0.05  #: seconds before the second attempt; doubles
PARTING: Final = 1.0  #: seconds for a process that was told to end


class Worker:
    """A slot for a process: the processes in it follow one another."""

    __slots__ = ("gone", "link", "owner", "process", "started", "thread")

    def __init__(self) -> None:
        self.link: Link | None = None  # None: no process that is ready
        self.process: BaseProcess | None = None
        self.owner: threading.Thread | None = None  # serves it
        self.gone = False


class Crew:
    """Starts processes, serves each until it ends, and sees what becomes of its items.

    A process that dies takes one attempt of one item with it: the one it was running.  What
    is finished is in the journal it shares with its parent, what was not begun goes to others.

    ``_lock`` guards every field; a link's own lock is taken under it, never the other way
    round, and nothing foreign is called under either.
    """

    _runner: Runner

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
        self._idle: list[Worker] = []
        self._mail: deque[Any] = deque()  # jobs for workers that are not ready
        self._workers: list[Worker] = []
        self._slots = 0
        self._hired = 0
        self._stopping = False
        self._mine = threading.local()  # the worker that a thread serves

    def lane(self, job: Any) -> str | None:
        """The process that runs *job*, or ran it."""
        return getattr(getattr(job, "note", None), "lane", None)

    def pids(self) -> list[int]:
        """The processes that are there now."""
        with self._lock:
            processes = [worker.process for worker in self._workers]
            return [each.pid for each in processes if each is not None and each.pid]

    def _rest(self, worker: Worker) -> None:
        """*worker* has nothing to do."""
        raise NotImplementedError

    def _go_on(self, worker: Worker, job: Any) -> None:
        """The lot of *worker* is done; *job* is next, if there is one."""
        raise NotImplementedError

    def _post(self, job: Any) -> None:
        """Leave *job* for the next worker that is ready."""
        raise NotImplementedError

    def _deal(self) -> None:
        """Give jobs that wait to workers that are idle."""
        raise NotImplementedError

    def _hire(self) -> None:
        """Start another worker if jobs wait and there may be one.  The lock is held."""
        starting = sum(1 for each in self._workers if each.link is None and not each.gone)
        if starting >= len(self._mail) or self._staying() >= self._slots:
            return
        worker = Worker()
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

    def _serve_on_new_thread(self, worker: Worker, target: Callable[[Worker], None]) -> None:
        name = f"{self._name}-{self._hired}"
        self._hired += 1
        thread = threading.Thread(target=self._guard, args=(worker, target), name=name)
        thread.daemon = True
        worker.owner = thread
        thread.start()

    def _guard(self, worker: Worker, target: Callable[[Worker], None]) -> None:
        self._mine.worker = worker
        try:
            target(worker)
        except BaseException as error:
            # The errors of users do not come out here; this one is ours.
            report_uncaught(threading.current_thread().name, error)
            with self._lock:
                if worker in self._workers:
                    self._workers.remove(worker)

    def _live(self, worker: Worker) -> None:
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

    def _start_process(self, worker: Worker) -> BaseException | None:
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
        link = Link(self._runner, conn, block)
        link.lane = f"{self._name} process {process.pid}"
        try:
            error = link.await_ready()
        except (EOFError, OSError):
            code = process.exitcode if ended(process, PARTING) else None
            error = WorkerStartError(f"the process ended ({_ending(code)})")
        except Exception as reason:  # it talks nonsense
            process.kill()
            error = reason
        if error is not None:
            self._bury(worker, link)
            return error
        with self._lock:
            worker.link = link
        self._rest(worker)
        return None

    def _give_up(self, worker: Worker, reason: BaseException) -> None:
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

    def _serve(self, worker: Worker) -> bool:
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
        if not self._stopping and not worker.gone:
            kind = "recycled" if link.leaving else "crashed"
            self._runner.replaced("timeout" if link.verdict is not None else kind)
        return True

    def _resume(self, worker: Worker) -> None:
        """Serve *worker* in place of a thread that has to wait."""
        if self._serve(worker) and worker.owner is threading.current_thread():
            self._live(worker)

    def _bury(self, worker: Worker, link: Link) -> None:
        """A process has ended: see what became of its items."""
        process = worker.process
        assert process is not None
        link.close()
        if not ended(process, PARTING):
            process.kill()
            ended(process, PARTING)
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


def _ending(exitcode: int | None) -> str:
    if exitcode is not None and exitcode < 0:
        try:
            return f"killed by {signal.Signals(-exitcode).name}"
        except ValueError:
            return f"killed by signal {-exitcode}"
    return f"exit code {exitcode}"
