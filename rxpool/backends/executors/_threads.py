"""A `ThreadPoolExecutor` as the place where work runs: its threads run tasks themselves."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from time import monotonic
from typing import Any, Final

from rxpool._forks import afresh, bury, end_child, heed
from rxpool._threads import was_refused
from rxpool.backends._awaiting import close_loop
from rxpool.backends._base import LocalBackend, Ticket, cpus
from rxpool.backends._initializer import Initializer
from rxpool.backends._runner import ThreadRunner
from rxpool.backends._threads import ThreadBackend
from rxpool.backends.executors._hand_over import HandOver
from rxpool.backends.executors._window import Window
from rxpool.errors import WorkerCrashed
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ThreadExecutorBackend",)

_INSIDE: Final = object()  #: the note of jobs that run on threads of the executor
_TURN: Final = 0.01  #: seconds until others who use the executor get their turn


def _initializer(executor: ThreadPoolExecutor) -> Initializer | None:
    """What each thread of *executor* calls first."""
    function = getattr(executor, "_initializer", None)
    if function is None:
        return None
    return Initializer(function, getattr(executor, "_initargs", ()))


class ThreadExecutorBackend(LocalBackend):
    """N slots on the threads of a `ThreadPoolExecutor`, which is never shut down here.

    A thread whose job is abandoned stays busy, and so does its slot, see `Window`.  One whose
    job waits for a flow of its own pool stays busy, and its slot is another's: where the
    executor has no more threads, one is started beside it for that time, with the executor's
    initializer.
    """

    def __init__(self, executor: ThreadPoolExecutor, name: str) -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._executor = executor
        self._name = name
        self._extra = ThreadBackend(name, _initializer(executor))
        self.dismiss = self._extra.dismiss
        self._lock = afresh(threading.Lock())  # for these:
        self._window = Window()
        self._inside = 0  # threads of the executor that this pool has, or has asked for
        self._lent: set[Any] = set()  # jobs that keep one, though their slots are others'
        self._ready: dict[Ticket, Any] = {}  # jobs that wait for a thread of the executor
        self._mine = threading.local()  # `job`: what this thread of the executor runs
        self._foreign = False
        heed(self)

    def forked(self) -> None:
        """The executor's threads are the parent's, but for one that forked."""
        self._foreign = True
        bury(self._ready, self._window.clear())
        self._ready.clear()

    @property
    def default_slots(self) -> int:
        """As many threads as the executor may have."""
        workers = getattr(self._executor, "_max_workers", None)
        return workers if isinstance(workers, int) and workers > 0 else cpus()

    @property
    def abandoned(self) -> int:
        """How many threads run work that nobody waits for."""
        with self._lock:
            held = self._window.abandoned + sum(bool(job.settled) for job in self._lent)
        return held + self._extra.abandoned

    def bind(self, runner: ThreadRunner, slots: int) -> None:
        """Run jobs with *runner*."""
        self._runner = runner
        self._slots = self._window.slots = slots
        self._extra.bind(runner, slots)

    def start(self, jobs: Sequence[Any]) -> None:
        """Hand the jobs over; those that are refused fail, and so may those after them."""
        hand_over = HandOver(self._lock, self._window)
        hand_over.offer(jobs)
        hand_over.run(self._begin)

    def _hand_over(self, admitted: Sequence[Any]) -> None:
        hand_over = HandOver(self._lock, self._window)
        hand_over.add(admitted)
        hand_over.run(self._begin)

    def _begin(self, job: Any, hand_over: HandOver) -> None:
        """Hand *job* over, to a thread in reserve if need be; it fails if that cannot be."""
        try:
            if not self._submit(job):
                hand_over.add(self._released(job))
                self._extra.start((job,))
        except RuntimeError as error:  # broken, or shut down
            hand_over.add(self._released(job))
            if was_refused(error):  # it has no more threads, but there are some in reserve
                self._extra.start((job,))
            else:
                self._fail(job, error, hand_over.go_on)

    def _submit(self, job: Any) -> bool:
        """Give *job* to the executor; False if its threads are kept by jobs that wait."""
        with self._lock:
            if self._lent and self._inside >= min(self._slots, self.default_slots):
                return False
            self._inside += 1
            ticket = Ticket(job)
            self._ready[ticket] = job
        try:
            future = self._executor.submit(self._enter, ticket)
        except BaseException:
            # If it could start no thread, the call is in its queue all the same.
            if not self._take_back(ticket):
                return True
            raise
        future.add_done_callback(partial(self._look, ticket, job))
        return True

    def _take(self, ticket: Ticket) -> Any:
        self._ready.pop(ticket, None)
        return ticket.take()

    def _take_back(self, ticket: Ticket) -> bool:
        """The executor need not run the job of *ticket*; False if it does."""
        if self._take(ticket) is None:
            return False
        with self._lock:
            self._inside -= 1
        return True

    def _released(self, job: Any) -> list[Any]:
        """*job* is not on a thread of the executor: those that may be handed over now."""
        with self._lock:
            self._lent.discard(job)
            job.handed(None)  # if it is abandoned now, that comes too late
            return self._window.release(job)

    def _look(self, ticket: Ticket, job: Any, future: "Future[None]") -> None:
        if future.cancelled() and self._take_back(ticket):
            self._hand_over(self._released(job))
            self._fail(job, None, self._go_on)

    def _go_on(self, job: Any) -> None:
        if job is not None:
            self.start((job,))

    def _fail(self, job: Any, error: Exception | None, go_on: Callable[[Any], object]) -> None:
        reason = "it was shut down" if error is None else str(error)
        crash = WorkerCrashed(f"pool {self._name!r}: the executor is broken: {reason}")
        crash.__cause__ = error
        job.began(self.clock.now())
        job.ended(None, crash, 0.0)
        self._runner.finish((job,), (), go_on)

    def _enter(self, ticket: Ticket) -> None:
        """A thread of the executor runs the job of *ticket*, unless that was taken back."""
        job = self._take(ticket)
        if job is not None:
            self._run(job)

    def _run(self, job: Any) -> None:
        until = monotonic() + _TURN
        try:
            while job is not None:
                self._mine.job = job
                following = self._runner.perform(job, _INSIDE)
                if self._foreign:
                    return
                job = self._next(job, following)
                if job is not None and monotonic() > until:
                    with suppress(RuntimeError):  # shut down: what it began it may finish
                        if self._submit(job):
                            return
                    until = monotonic() + _TURN
        finally:
            if self._foreign:
                end_child()  # the executor would have this thread wait for ever
            self._mine.job = None
            with self._lock:
                self._inside -= 1
            close_loop()

    def _next(self, job: Any, following: Any) -> Any:
        """What this thread is to do after *job*, by whose end *following* has a slot."""
        ready = self._released(job)
        if following is not None:
            with self._lock:
                if self._window.admit(following):
                    ready.append(following)
        if len(ready) > 1:
            self._hand_over(ready[1:])
        return ready[0] if ready else None

    def lend(self, jobs: Sequence[Any]) -> None:
        """The threads of *jobs* stay busy: others run what comes instead."""
        self._hand_over(self._lend(jobs))
        self._extra.lend([job for job in jobs if job.note is not _INSIDE])

    def _lend(self, jobs: Sequence[Any]) -> list[Any]:
        with self._lock:
            inside = [job for job in jobs if job.note is _INSIDE]
            self._lent.update(inside)
            return [ready for job in inside for ready in self._window.release(job)]

    def abandon(self, jobs: Sequence[Any]) -> None:
        """Take back those of *jobs* that have not begun; the others keep their slots."""
        chosen = set(jobs)
        for ticket, job in list(self._ready.items()):
            if job in chosen and self._take_back(ticket):
                chosen.discard(job)
                self._hand_over(self._released(job))
        with self._lock:
            chosen = {job for job in chosen if not self._window.give_up(job)} - self._lent
        self._extra.abandon(list(chosen))

    def waits(self) -> None:
        """If this is a thread of the executor, others run what comes instead."""
        job = getattr(self._mine, "job", None)
        if job is None:
            self._extra.waits()
            return
        ready = self._lend((job,))
        # It may be the only one, so those in the queue of the executor wait for it.
        for ticket, waiting in list(self._ready.items()):
            if self._take_back(ticket):
                ready += self._released(waiting)
                self._extra.start((waiting,))
        self._hand_over(ready)

    def resize(self, slots: int) -> None:
        """Those that waited for a slot may have one."""
        with self._lock:
            self._slots = slots
            admitted = self._window.resize(slots)
        self._extra.resize(slots)
        self._hand_over(admitted)

    def stop(self, wait: float | None) -> None:
        """End the threads beside the executor, which is the user's."""
        self._extra.stop(wait)
