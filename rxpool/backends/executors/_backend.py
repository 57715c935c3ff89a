"""Executors of `concurrent.futures` as places where work runs."""

import threading
from collections.abc import Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from rxpool._exit import stay_first
from rxpool._forks import afresh, bury, heed
from rxpool.backends._base import Backend, Traits, cpus
from rxpool.backends._runner import SEVERAL, Chunk, ChunkRunner
from rxpool.backends._threads import ThreadBackend
from rxpool.backends.executors._call import Arrived, Errand, Payload, explain, is_of_batches
from rxpool.backends.executors._hand_over import HandOver
from rxpool.backends.executors._lots import Lots
from rxpool.backends.executors._window import Window
from rxpool.errors import NotPicklable, WorkerCrashed
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ExecutorBackend",)


class _Landing:
    """A call that ended, on its way to a thread that delivers."""

    def __init__(self, chunk: Chunk, future: "Future[Any]", following: Sequence[Any]) -> None:
        self.note: Any = None
        self.chunk = chunk
        self.future = future
        self.following = following  #: jobs that waited for its slot

    def handed(self, note: Any, at: float | None = None) -> None:
        """See `Job`."""
        self.note = note


class ExecutorBackend(Backend):
    """A window of N futures on any executor: processes, Dask, Ray, loky, MPI.

    Each attempt is a call of its own, or several of short work are one, see `Errand`; workers
    need nothing of rxpool.  What an ``async def`` returns is awaited by the worker, the items
    of an Observable are collected there.  Variables of contexts do not travel.  A timeout
    counts from the hand-over; where there is one, calls are of one attempt.  What
    is over, by that or as it was cancelled, is cancelled at the executor if it has not begun
    there; else its slot is free when the work has ended, see `Window`.

    Results are delivered by a thread of the pool's own, as the executor's is needed to
    bring others; if it has to wait, another takes its place.  The executor is the user's:
    it is never shut down here.
    """

    traits = Traits(keeps_slot=True, begins_together=True)

    def __init__(self, executor: Executor, name: str) -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._executor = executor
        self._payload = Payload(executor)
        # Dask's futures can be cancelled while their work goes on, and seem to wait till then.
        self._tells = type(executor).__module__.partition(".")[0] != "distributed"
        self._lock = afresh(threading.Lock())
        self._window = Window()
        self._lots = Lots()
        self._name = name
        self._here = threading.local()
        self._crew = ThreadBackend(f"{name}-results")
        self._crew.bind(self, 1)  # type: ignore[arg-type]
        self.dismiss = self._crew.dismiss
        heed(self)

    def forked(self) -> None:
        """What is with the executor is the parent's."""
        bury(self._window.clear())

    @property
    def default_slots(self) -> int:
        """As many workers as the executor says that it has, else as there are CPUs."""
        workers = getattr(self._executor, "_max_workers", None)
        return workers if isinstance(workers, int) and workers > 0 else cpus()

    def bind(self, runner: ChunkRunner, slots: int) -> None:
        """Give results to *runner*; at most *slots* calls are with the executor."""
        self._runner = runner
        self._window.resize(slots)

    @property
    def abandoned(self) -> int:
        """How many slots have work that nobody waits for."""
        with self._lock:
            return self._window.abandoned

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
        """Hand *job* over, and perhaps others behind it; it fails if that cannot be."""
        runner = self._runner
        at = self.clock.now()
        job.began(at)
        chunk: Chunk | None = None
        try:
            chunk = runner.next_chunk(job, self._most(job))
            if chunk is None:
                hand_over.add(self._released(job))
                return
            future = self._submit(chunk)
            stay_first()  # some executors register their hook with their first call
        except Exception as error:
            if chunk is None:
                job.ended(None, error, 0.0)
            else:
                runner.give_back(chunk.jobs[1:])
                job.ended(None, self._explain(job, chunk.items[0], error, refused=True), 0.0)
            hand_over.add(self._released(job))
            runner.finish((job,), (), hand_over.go_on)
            return
        for each in chunk.jobs:
            each.handed(future, at)
        future.add_done_callback(partial(self._landed, chunk))
        settled = [each for each in chunk.jobs if each.settled]
        if len(settled) == len(chunk.jobs):  # abandoned before the future was known
            self.abandon(settled)

    def _most(self, job: Any) -> int:
        """How many jobs to hand over with *job*, itself included."""
        function = self._runner.function(job)
        if is_of_batches(function):
            return 1
        with self._lock:
            return self._lots.most(function)

    def _released(self, job: Any) -> list[Any]:
        """*job* is not with the executor: those that may be handed over now."""
        with self._lock:
            return self._window.release(job)

    def _submit(self, chunk: Chunk) -> "Future[Any]":
        function, (job, *_), items, _ = chunk
        if is_of_batches(function) and not isinstance(items[0], list):
            function(items[0])  # it refuses that
        errand = Errand(self._payload, function, items, self._runner.function(job))
        # Beside what is called, what it is called with differs, too: some look at that alone.
        return self._executor.submit(errand, errand.ident)

    def _landed(self, chunk: Chunk, future: "Future[Any]") -> None:
        following = self._released(chunk.jobs[0])
        if following or not all(job.settled for job in chunk.jobs):
            self._crew.start((_Landing(chunk, future, following),))

    def work(self, landing: _Landing, note: Any) -> None:
        """Deliver a result on this thread; `ThreadBackend` calls this."""
        landing.note = note
        self._here.landing = landing
        try:
            self._hand_over(landing.following)
            self._deliver(landing.chunk, landing.future)
        finally:
            self._here.landing = None

    def _deliver(self, chunk: Chunk, future: "Future[Any]") -> None:
        jobs = [job for job in chunk.jobs if not job.settled]
        if not jobs:
            return
        now = self.clock.now()
        answers: list[Any] = []
        error = self._why_none(future)
        if error is None:
            answers = _answers(future.result(), len(chunk.jobs))
        elif len(chunk.jobs) > 1 and isinstance(
            self._explain(jobs[0], chunk.items[0], error, refused=False), NotPicklable
        ):
            # Nothing of it was sent: alone each can say for itself what is wrong.
            with self._lock:
                self._lots.one_by_one(self._runner.function(jobs[0]))
            self._runner.give_back(chunk.jobs)
            return
        for number, job in enumerate(chunk.jobs):
            if job.settled:
                continue
            item = chunk.items[number]
            if error is not None:
                failure = self._explain(job, item, error, refused=False)
                job.ended(None, failure, now - job.started)
            else:
                self._take(job, item, answers[number], now)
        seconds = sum(job.took for job in jobs)
        with self._lock:
            self._lots.ran(self._runner.function(jobs[0]), len(jobs), seconds)
        self._runner.finish(jobs, (), self._go_on)

    def _why_none(self, future: "Future[Any]") -> BaseException | None:
        """Why *future* has no result, if it has none."""
        if future.cancelled():
            return WorkerCrashed(f"pool {self._name!r}: the executor has cancelled the call")
        return future.exception()

    def _take(self, job: Any, item: Any, given: Any, now: float) -> None:
        try:
            answer = Arrived(self._name, given)
        except TypeError:
            failure = WorkerCrashed(
                f"pool {self._name!r}: the executor has answered with {given!r}"
            )
            job.ended(None, failure, now - job.started)
            return
        value, error = answer.value, answer.error
        # The worker's clock may be that of another machine.
        if job.started <= answer.began <= now - answer.took:
            job.began(answer.began)
        else:
            job.began(max(job.started, now - answer.took))
        function: Any = self._runner.function(job)
        if answer.several:
            for part in value:
                self._runner.part(job, part)
            value = SEVERAL
        elif is_of_batches(function) and error is None:
            try:
                value = function.check(value, item)
            except Exception as wrong:
                job.ended(None, wrong, answer.took)
                return
        job.ended(value, error, answer.took)

    def _explain(
        self, job: Any, item: Any, error: BaseException, refused: bool
    ) -> BaseException:
        function = self._runner.function(job)
        return explain(self._name, self._executor, function, item, error, refused)

    def _go_on(self, job: Any) -> None:
        if job is not None:
            self.start((job,))

    def abandon(self, jobs: Sequence[Any]) -> None:
        """Cancel those of *jobs* that have not begun; the others keep their slots."""
        for job in jobs:
            future: Any = job.note
            if not (isinstance(future, Future) and self._cancel(future)):  # pyright: ignore[reportUnknownArgumentType]
                with self._lock:
                    self._window.give_up(job)

    def _cancel(self, future: "Future[Any]") -> bool:
        """Whether *future* is not going to be run."""
        try:
            return self._tells and future.cancel()
        except Exception:  # not all executors can
            return False

    def waits(self) -> None:
        """If this thread delivers results, another takes its place."""
        landing = getattr(self._here, "landing", None)
        if landing is not None:
            self._crew.lend((landing,))

    def resize(self, slots: int) -> None:
        """Those that waited for a slot may have one."""
        with self._lock:
            admitted = self._window.resize(slots)
        self._hand_over(admitted)

    def stop(self, wait: float | None) -> None:
        """End the thread that delivers; the executor is the user's."""
        self._crew.stop(wait)


def _answers(given: Any, calls: int) -> list[Any]:
    """What came home for each of so many calls; not what was expected stands for each."""
    if calls > 1 and isinstance(given, list) and len(given) == calls:  # pyright: ignore[reportUnknownArgumentType]
        return given  # pyright: ignore[reportUnknownVariableType]
    return [given] * calls
