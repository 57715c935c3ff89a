"""`Reaper`: what becomes of a process that has ended, and of its items."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from rxpool.backends._runner import ChunkRunner
from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._process import PARTING, WorkerProcess
from rxpool.backends.processes._roster import Worker
from rxpool.errors import PoisonItem, WorkerCrashed

__all__ = ("Reaper",)


class Reaper:
    """Takes leave of processes, and tells the pool which items went with them.

    It has no state.  ``_lock``, that of the pool's processes, guards which process a worker
    has; it is not held here otherwise, as the pool delivers results.  The slots of items that
    have failed go on: *requeue* is given what comes next there.
    """

    def __init__(
        self,
        lock: threading.Lock,
        runner: ChunkRunner,
        requeue: Callable[[Any], None],
        poison_after: int,
    ) -> None:
        self._lock = lock
        self._runner = runner
        self._requeue = requeue
        self._poison_after = poison_after

    def reap(self, worker: Worker, channel: WorkerChannel) -> None:
        """A process has ended: see what became of its items.

        It takes one attempt of one of them with it: the one it was running.
        """
        process = worker.process
        assert process is not None
        try:
            channel.close()
            self.part(worker, channel.leaving)
            channel.recover_results(self._requeue)
        except BaseException as error:  # a fault of ours: no item is to wait for ever
            with suppress(ReferenceError):
                self._runner.fault("a worker that ended", error)
        in_flight = channel.in_flight
        lost = in_flight.stranded()
        for task in lost:
            self._runner.failed(task, _result_lost(process))
        task, unbegun = in_flight.split_unfinished()
        channel.retire()
        verdict = in_flight.verdict
        if task is None and verdict is not None and verdict[0] in unbegun:
            task = verdict[0]  # it was due before it was begun
            unbegun.remove(task)
        if unbegun:
            self._runner.give_back(unbegun)
        if task is not None:
            if verdict is not None and verdict[0] is task:
                self._runner.failed(task, verdict[1])
            else:
                self._runner.failed(task, self._crash(task, process))
            lost.append(task)
        for task in lost:
            self._runner.finish([task], (), self._requeue)

    def part(self, worker: Worker, on_purpose: bool = False) -> None:
        """The process of *worker* is to have ended; *on_purpose*: by itself, as was agreed."""
        process = worker.process
        assert process is not None
        if not process.ended(PARTING):
            if on_purpose:
                process.kill_alone()
            else:
                process.kill()
            process.ended(PARTING)
        with self._lock:
            worker.process = None
        if not on_purpose:  # else what its tasks left running was left on purpose
            process.end_group()
        process.close()

    def _crash(self, task: Any, process: WorkerProcess) -> BaseException:
        crashes = task.killed_worker()
        ending, exitcode = process.ending, process.exitcode
        if crashes >= self._poison_after:
            return PoisonItem(f"killed its worker {crashes} times, at last: {ending}", exitcode)
        return WorkerCrashed(f"the worker process ended while it ran this: {ending}", exitcode)

    def give_up(self, jobs: Sequence[Any], error: BaseException) -> None:
        """A fault of ours has cost the worker of *jobs*."""
        for job in jobs:
            failure = WorkerCrashed(f"the worker was given up: {error!r}")
            failure.__cause__ = error
            self._runner.failed(job, failure)
        if jobs:
            self._runner.finish(jobs, (), self._requeue)


def _result_lost(process: WorkerProcess) -> WorkerCrashed:
    return WorkerCrashed(
        f"the worker process ended before it sent the result of this: {process.ending}",
        process.exitcode,
    )
