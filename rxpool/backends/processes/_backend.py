"""`ProcessBackend`: worker processes, each watched by a thread of its own."""

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final
from weakref import proxy

from rxpool._forks import afresh, bury, heed
from rxpool.backends._base import Backend, Traits
from rxpool.backends._runner import ChunkRunner
from rxpool.backends.processes._assigner import Assigner
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._launch import Starter
from rxpool.backends.processes._process import WorkerProcess
from rxpool.backends.processes._roster import Roster
from rxpool.backends.processes._rss import check_that_known
from rxpool.backends.processes._supervisor import Supervisor
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ProcessBackend",)

_MAX_BYTES: Final = 48 * 1024 * 1024  #: of the items of a flow, and their results
_GRACE: Final = 0.05  #: seconds for a short item that was cancelled, before it is killed
_UNHEEDED: Final = 1.0  #: seconds in which a worker begins what it is given, unless it hangs


class ProcessBackend(Backend):
    """N processes, each with a connection and a thread that serves it.

    The `Supervisor` has processes start and end, the `Assigner` says which worker runs what.
    Both work on one `Roster`, which ``_lock`` guards; they have it from here.
    """

    traits = Traits(keeps_slot=True, ends_itself=True)

    # Made by `bind`, which is called before anything else.
    _runner: ChunkRunner
    _assigner: Assigner
    _supervisor: Supervisor

    def __init__(
        self,
        name: str = "rxpool",
        *,
        initializer: Callable[..., object] | None = None,
        initargs: Sequence[Any] = (),
        max_tasks_per_worker: int | None = None,
        max_memory_per_worker: int | None = None,
        max_bytes: int | None = _MAX_BYTES,
        poison_after: int = 2,
        process_groups: bool = True,
    ) -> None:
        if max_memory_per_worker is not None:
            check_that_known()
        self.clock = Clock(TimerScheduler.singleton())
        self.max_bytes = max_bytes  #: for the pool, which gives items
        self._name = name
        self._starter = Starter(
            self.clock,
            name,
            initializer,
            initargs,
            max_tasks_per_worker,
            max_memory_per_worker,
            process_groups,
        )
        self._poison_after = poison_after
        self._lock = afresh(threading.Lock())
        self._roster = Roster()

    @property
    def processes(self) -> list[WorkerProcess]:
        """Those that are alive."""
        with self._lock:
            return [w.process for w in self._roster.workers if w.process is not None]

    def pids(self) -> list[int]:
        """The processes that are there now."""
        return [process.pid for process in self.processes if process.pid]

    def lane(self, job: Any) -> str | None:
        """The process that runs *job*, or ran it."""
        channel = _channel_of(job)
        return None if channel is None else channel.lane

    def bind(self, runner: ChunkRunner, slots: int) -> None:
        """Run jobs for *runner*, in at most *slots* processes."""
        self._runner = runner = proxy(runner)  # the threads do not keep it; jobs do
        self._roster.slots = slots
        self._assigner = Assigner(
            self._lock,
            self._roster,
            runner,
            self.clock,
            lambda: self._supervisor.spawn(),
            lambda error: self._supervisor.without_worker(error),
        )
        self._supervisor = Supervisor(
            self._name,
            self._lock,
            self._roster,
            runner,
            self.clock,
            self._starter,
            self._assigner,
            self._poison_after,
        )
        heed(self)

    def forked(self) -> None:
        """The processes are the parent's, and nobody serves them in a child."""
        self._supervisor.forked()
        self._assigner.memory.forked()
        roster = self._roster
        roster.stopping = True
        for worker in roster.workers:
            worker.owner = None
        bury(roster.waiting, roster.workers)
        roster.idle.clear()
        roster.waiting.clear()
        roster.workers.clear()

    # -- jobs ---------------------------------------------------------------------------

    def start(self, jobs: Sequence[Any]) -> None:
        """Give each job to an idle worker, or the next one that has nothing to do."""
        for job in jobs:
            self._assigner.assign(job)

    def abandon(self, jobs: Sequence[Any]) -> None:
        """End the processes that run *jobs*; short items are given a moment to end."""
        for channel in {each for job in jobs if (each := _channel_of(job)) is not None}:
            task, begun = channel.in_flight.stop_cancelled()
            if task is not None:
                grace = _UNHEEDED if not begun else _GRACE if channel.short else 0.0
                self._supervisor.kill(channel, task, grace)
        with self._lock:
            for job in jobs:
                self._roster.withdraw(job)

    def look_at(self, jobs: Collection[Any]) -> None:
        """Read from the shared memory what runs, and since when."""
        with self._lock:
            channels = [w.channel for w in self._roster.workers if w.channel is not None]
        for channel in channels:
            task, since = channel.in_flight.running_since()
            if task is None:
                task, since = channel.in_flight.unanswered(_UNHEEDED)
            if task is not None:
                task.began(since)

    def end(self, job: Any, error: BaseException) -> None:
        """Kill the process that runs *job*; it fails with *error*."""
        channel = _channel_of(job)
        if channel is not None:
            if channel.in_flight.condemn(job, error):
                self._supervisor.kill(channel, job)
                return
            if job.took is not None or channel.in_flight.has_ended(job):
                return
        with self._lock:
            self._roster.withdraw(job)
        self._runner.failed(job, error)
        self._runner.finish([job], (), self._assigner.requeue)

    def waits(self) -> None:
        """If this thread serves a worker, another does; jobs put aside go on."""
        self._supervisor.take_over()
        self._assigner.assign_waiting()

    # -- workers ------------------------------------------------------------------------

    def resize(self, slots: int) -> None:
        """Idle workers beyond the new number end now, others when they are idle."""
        with self._lock:
            surplus = self._roster.resize(slots)
            channels = [w.channel for w in surplus if w.channel is not None]
        for channel in channels:
            channel.shut_down()

    def dismiss(self, then: Callable[[], object]) -> None:
        """No job will come any more: the processes end, and *then* is called.

        For finalisers: it takes no lock, and waits for nothing.
        """
        self._supervisor.dismiss(then)

    def stop(self, wait: float | None) -> None:
        """End all processes, each when it has nothing to do; kill them when the time is up."""
        with self._lock:
            self._roster.stopping = True
            self._assigner.memory.stop()
        self._supervisor.stop(wait)


def _channel_of(job: Any) -> WorkerChannel | None:
    """Where *job* was sent; unknown before."""
    channel: WorkerChannel | None = job.note
    return channel
