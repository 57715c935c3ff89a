"""`Roster`: which workers there are, which of them are idle, and which jobs wait for one."""

import threading
from collections import deque
from contextlib import suppress
from typing import Any

from rxpool.backends.processes._channel import WorkerChannel
from rxpool.backends.processes._process import WorkerProcess

__all__ = ("Roster", "Worker")


class Worker:
    """A slot for a process: the processes in it follow one another.

    Its fields are written under the lock of the pool's processes; ``starting`` by its thread
    alone, without.
    """

    __slots__ = ("channel", "gone", "idle_since", "owner", "passing", "process", "starting")

    def __init__(self) -> None:
        self.channel: WorkerChannel | None = None  # None: no process that is ready
        self.process: WorkerProcess | None = None
        self.owner: threading.Thread | None = None  # serves it
        self.gone = False  # it was told to end
        self.idle_since = 0.0
        self.starting = False  # its thread starts a process, and cannot be told anything
        self.passing = False  # it ends as soon as it has nothing to do


class Roster:
    """Workers and the jobs that wait for them.

    A pure state; the lock of the pool's processes guards it.  `ProcessBackend.dismiss` alone
    takes no lock: it sets ``stopping`` and then takes out those that are idle.
    """

    def __init__(self) -> None:
        self.workers: list[Worker] = []
        self.idle: list[Worker] = []
        self.waiting: deque[Any] = deque()  # jobs for workers that are not ready
        self.slots = 0
        self.stopping = False

    def pair(self) -> tuple[Any, Worker] | None:
        """The next job that waits and an idle worker for it, if there are both."""
        if self.waiting and self.idle:
            return self.waiting.popleft(), self.idle.pop()
        return None

    def withdraw(self, job: Any) -> None:
        """*job* does not wait any more."""
        if job in self.waiting:
            self.waiting.remove(job)

    def rest(self, worker: Worker, wanted: bool = False) -> bool:
        """*worker* has nothing to do; False if it is to end, as it is not *wanted*."""
        too_many = len(self.workers) > self.slots and self.staying() > self.slots
        worker.gone = not wanted and (worker.passing or self.stopping or too_many)
        if worker.gone:
            return False
        self.idle.append(worker)
        if self.stopping:  # `dismiss`, which takes no lock, may have come too early for it
            with suppress(ValueError):
                self.idle.remove(worker)
                return False
        return True

    def staying(self) -> int:
        """How many workers were not told to end."""
        staying = 0
        for worker in self.workers:
            staying += not worker.gone
        return staying

    def has_ready(self) -> bool:
        """Whether there is a worker that takes jobs, or will."""
        return any(each.channel is not None and not each.gone for each in self.workers)

    def lacks_workers(self) -> bool:
        """Whether more jobs wait than workers are on their way, and there may be another."""
        starting = sum(each.channel is None and not each.gone for each in self.workers)
        return starting < len(self.waiting) and self.staying() < self.slots

    def resize(self, slots: int) -> list[Worker]:
        """There may be so many workers from now on; answers idle ones that are to end."""
        self.slots = slots
        surplus: list[Worker] = []
        while self.idle and self.staying() > slots:
            worker = self.idle.pop()
            worker.gone = True
            surplus.append(worker)
        return surplus

    def remove(self, worker: Worker) -> None:
        """*worker* is no more."""
        if worker in self.workers:
            self.workers.remove(worker)

    def lose_channel(self, worker: Worker) -> None:
        """Nothing can be sent to *worker*, which is not idle any more."""
        worker.channel = None
        if worker in self.idle:
            self.idle.remove(worker)
