"""Executors of `concurrent.futures` as places where work runs."""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future
from functools import partial
from typing import Any

from rxpool._exit import stay_first
from rxpool._forks import afresh, bury, heed
from rxpool.backends._base import Backend, Traits, cpus
from rxpool.backends._runner import SEVERAL, ChunkRunner
from rxpool.backends._threads import ThreadBackend
from rxpool.backends.executors._call import Arrived, Errand, Payload, explain, is_of_batches
from rxpool.backends.executors._hand_over import HandOver
from rxpool.backends.executors._window import Window
from rxpool.errors import WorkerCrashed
from rxpool.timing import Clock, TimerScheduler

__all__ = ("ExecutorBackend",)


class _Landing:
    """A call that ended, on its way to a thread that delivers."""

    def __init__(
        self, job: Any, item: Any, future: "Future[Any]", following: Sequence[Any]
    ) -> None:
        self.note: Any = None
        self.job = job
        self.item = item
        self.future = future
        self.following = following  #: jobs that waited for its slot


class ExecutorBackend(Backend):
    """A window of N futures on any executor: processes, Dask, Ray, loky, MPI.

    Each attempt is a call of its own, see `Errand`; workers need nothing of rxpool.  What an
    ``async def`` returns is awaited by the worker, the items of an Observable are collected
    there.  Variables of contexts do not travel.  A timeout counts from the hand-over.  What
    is over, by that or as it was cancelled, is cancelled at the executor if it has not begun
    there; else its slot is free when the work has ended, see `Window`.

    Results are delivered by a thread of the pool's own, as the executor's is needed to
    bring others; if it has to wait, another takes its place.  The executor is the user's:
    it is never shut down here.
    """

    traits = Traits(keeps_slot=True)

    def __init__(self, executor: Executor, name: str) -> None:
        self.clock = Clock(TimerScheduler.singleton())
        self._executor = executor
        self._payload = Payload(executor)
        # Dask's futures can be cancelled while their work goes on, and seem to wait till then.
        self._tells = type(executor).__module__.partition(".")[0] != "distributed"
        self._lock = afresh(threading.Lock())
        self._window = Window()
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
        """Hand *job* over; it fails if that cannot be."""
        runner = self._runner
        at = self.clock.now()
        job.began(at)
        begun: tuple[Callable[[Any], Any], Any] | None = None
        try:
            begun = runner.begin(job)
            if begun is None:
                hand_over.add(self._released(job))
                return
            runner.started(job, at)
            future = self._submit(job, *begun)
            stay_first()  # some executors register their hook with their first call
        except Exception as error:
            if begun is None:
                job.ended(None, error, 0.0)
            else:
                job.ended(None, self._explain(job, begun[1], error, refused=True), 0.0)
            hand_over.add(self._released(job))
            runner.finish((job,), (), hand_over.go_on)
            return
        job.handed(future)
        future.add_done_callback(partial(self._landed, job, begun[1]))
        if job.settled:  # abandoned before the future was known
            self.abandon((job,))

    def _released(self, job: Any) -> list[Any]:
        """*job* is not with the executor: those that may be handed over now."""
        with self._lock:
            return self._window.release(job)

    def _submit(self, job: Any, function: Any, item: Any) -> "Future[Any]":
        if is_of_batches(function) and not isinstance(item, list):
            function(item)  # it refuses that
        errand = Errand(self._payload, function, item, self._runner.function(job))
        # Beside what is called, what it is called with differs, too: some look at that alone.
        return self._executor.submit(errand, errand.ident)

    def _landed(self, job: Any, item: Any, future: "Future[Any]") -> None:
        following = self._released(job)
        if following or not job.settled:
            self._crew.start((_Landing(job, item, future, following),))

    def work(self, landing: _Landing, note: Any) -> None:
        """Deliver a result on this thread; `ThreadBackend` calls this."""
        landing.note = note
        self._here.landing = landing
        try:
            self._hand_over(landing.following)
            self._deliver(landing.job, landing.item, landing.future)
        finally:
            self._here.landing = None

    def _deliver(self, job: Any, item: Any, future: "Future[Any]") -> None:
        if job.settled:
            return
        now = self.clock.now()
        if future.cancelled():
            error: BaseException | None = WorkerCrashed(
                f"pool {self._name!r}: the executor has cancelled the call"
            )
        else:
            error = future.exception()
        if error is not None:
            failure = self._explain(job, item, error, refused=False)
            job.ended(None, failure, now - job.started)
        else:
            self._take(job, item, future.result(), now)
        self._runner.finish((job,), (), self._go_on)

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
