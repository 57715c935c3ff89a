"""`Assigner`: which worker runs what."""

import threading
from collections.abc import Callable
from functools import partial
from typing import Any

from rxpool.backends._runner import ChunkRunner
from rxpool.backends.processes._channel import ChannelClosed
from rxpool.backends.processes._idle_memory import IdleMemory
from rxpool.backends.processes._roster import Roster, Worker
from rxpool.timing import Clock

__all__ = ("Assigner",)


class Assigner:
    """Gives jobs to idle workers; else they wait for one, or for one that is started.

    ``_lock``, that of the pool's processes, guards the roster.  *spawn* is called under it, to
    start another worker if need be; what it answers goes to *without_worker*, unlocked.
    """

    def __init__(
        self,
        lock: threading.Lock,
        roster: Roster,
        runner: ChunkRunner,
        clock: Clock,
        spawn: Callable[[], RuntimeError | None],
        without_worker: Callable[[RuntimeError | None], None],
    ) -> None:
        self.memory = IdleMemory(lock, roster, clock, self.go_on)  #: of idle workers
        self._lock = lock
        self._roster = roster
        self._runner = runner
        self._spawn = spawn
        self._without_worker = without_worker

    def assign(self, job: Any, worker: Worker | None = None) -> None:
        """Have *job* run, by *worker* if that is given; else by any."""
        roster = self._roster
        while True:
            if worker is None:
                with self._lock:
                    roster.waiting.append(job)
                    error = None if roster.idle else self._spawn()
                    if roster.idle:
                        job, worker = roster.waiting.popleft(), roster.idle.pop()
                if worker is None:
                    self._without_worker(error)
                    return
            channel = worker.channel
            if channel is None or channel.leaving:
                self.requeue(job)
                return
            try:
                sent, refused = channel.send(job)
            except ChannelClosed:
                self.requeue(job)
                return
            # What was sent may be done by now, and the worker at rest: it is not ours any more.
            if sent:
                if refused:
                    self._runner.finish(refused, sent, self.requeue)
                return
            if not refused:  # it had been cancelled
                self.go_on(worker)
                return
            # They have failed; whoever is told that may need the worker.
            self._runner.finish(refused, (), partial(self._put_aside, worker))
            with self._lock:
                pair = roster.pair()
            if pair is None:
                return
            job, worker = pair

    def _put_aside(self, worker: Worker, job: Any) -> None:
        """*worker* rests, *job* waits for it or another."""
        with self._lock:
            if job is not None:
                self._roster.waiting.appendleft(job)
            channel = worker.channel
            if channel is None or channel.leaving:
                return
            if self._roster.rest(worker, bool(self._roster.waiting)):
                return
        channel.shut_down()

    def requeue(self, job: Any) -> None:
        """Leave *job*, if there is one, for the next worker that is ready."""
        if job is None:
            return
        with self._lock:
            self._roster.waiting.append(job)
            error = self._spawn()
        self._without_worker(error)
        self.assign_waiting()

    def assign_waiting(self) -> None:
        """Give jobs that wait to workers that are idle."""
        while True:
            with self._lock:
                pair = self._roster.pair()
            if pair is None:
                return
            self.assign(*pair)

    def go_on(self, worker: Worker, job: Any = None) -> None:
        """What *worker* had is done: *job* is next, one that waits, or rest, or its end."""
        roster, channel = self._roster, worker.channel
        if job is None:
            if channel is None or channel.in_flight.sent:
                return
            with self._lock:
                channel = worker.channel
                if channel is None or channel.leaving:
                    return
                if channel.in_flight.sent or worker in roster.idle:
                    return
                job = roster.waiting.popleft() if roster.waiting else None
                if job is None and roster.rest(worker):
                    self.memory.rests(worker)
                    return
        if job is not None:
            self.assign(job, worker)
        elif channel is not None:
            channel.shut_down()
