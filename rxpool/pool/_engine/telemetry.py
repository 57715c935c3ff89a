"""`Telemetry`: what a pool tells of its work, as metric events and as records of attempts."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from reactivex.abc import DisposableBase, ObserverBase

from rxpool._core.broadcast import Broadcast
from rxpool._forks import afresh
from rxpool._log import log
from rxpool.errors import PoisonItem, WorkerCrashed
from rxpool.events import MetricEvent, Monitor
from rxpool.metrics._attempt_record import AttemptRecord
from rxpool.metrics.names import error_type
from rxpool.pool._engine.task_log import TaskLog
from rxpool.pool._engine.trace_lanes import TraceLanes
from rxpool.pool._state.batches import PartlyFailed
from rxpool.pool._state.effects import ATTEMPT, SETTLED, Note
from rxpool.pool._state.task import NOT_YET, Task
from rxpool.tasks import Progress

if TYPE_CHECKING:
    from rxpool.metrics import Resources
    from rxpool.policies import BreakerEvent, CircuitBreaker

__all__ = ("Telemetry",)

_OFTEN: Final = 0.01  #: seconds between two looks at gauges, unless something came to rest


class _Taker(ObserverBase[MetricEvent]):
    """The `monitor=` of a pool: it sees no end, as it may belong to several."""

    def __init__(self, monitor: Monitor) -> None:
        self._take: Any = getattr(monitor, "on_next", monitor)

    def on_next(self, value: MetricEvent) -> None:
        """Take one event."""
        self._take(value)

    def on_error(self, error: Exception) -> None:
        """Never called."""

    def on_completed(self) -> None:
        """The pool is closed."""


class Telemetry:
    """Turns notes of the state into events, for whoever listens.

    ``heard`` says whether anybody does; the state takes notes only then.  Notes come from
    any thread, with no lock held, and events go out on that thread.  ``_lock`` guards lanes
    and breakers, and nothing foreign is called under it.
    """

    def __init__(
        self,
        name: str,
        now: Callable[[], float],
        changed: Callable[[bool], object],
        lane: Callable[[Any], str | None],
    ) -> None:
        self.heard = False
        self.now = now
        self.task_log = TaskLog(name)
        self._name = name
        self.faults: Broadcast[BaseException] = Broadcast("faults")
        self.progressed: Broadcast[Progress[Any]] = Broadcast("progress")
        failed = partial(self.fault, "a subscriber of metrics")
        self.metrics: Broadcast[MetricEvent] = Broadcast("metrics", self.look, failed)
        self.attempts: Broadcast[AttemptRecord] = Broadcast("attempts", self.look, failed)
        self._changed = changed
        self._pool = {"pool": name}
        self._good = {"pool": name, "outcome": "success"}
        self._lock = afresh(threading.Lock())
        self._looking = afresh(threading.Lock())
        self._lane_of = lane
        self._lanes = TraceLanes(name)
        self._active = self._waiting = 0  # levels; these and the next under the engine's lock
        self._levels: deque[tuple[int, int | None]] = deque()  # changes that are to be told
        self._telling = threading.Lock()  # held by who tells them
        self._sampled = -_OFTEN
        self._cpu: dict[int, float] = {}  # seconds that are told
        self._breakers: dict[CircuitBreaker, tuple[int, DisposableBase]] = {}

    def fault(self, where: str, error: BaseException) -> None:
        """Publish an error that belongs to no item."""
        log.error("uncaught exception", pool=self._name, where=where, exc_info=error)
        self.faults.send(error)

    def progress(self, task: Task, fraction: float) -> None:
        """A task told how far it is."""
        if not task.settled:
            self.progressed.send(Progress(task.flow.binding.subject(task), fraction))

    def add(self, monitor: Monitor) -> None:
        """Give all events to *monitor* too."""
        self.metrics.subscribe_directly(_Taker(monitor))

    def look(self) -> None:
        """Somebody came or left, or may have set up logging."""
        with self._looking:  # who looks last has seen everything
            self.task_log.look()
            self.heard = self.metrics.heard or self.attempts.heard or self.task_log.wanted
            self._changed(self.heard)

    def forked(self) -> None:
        """In a child: nothing is told."""
        self.heard = False
        for stream in (self.faults, self.progressed, self.metrics, self.attempts):
            stream.forked()

    def complete(self) -> None:
        """The pool has ended."""
        self.metrics.complete()
        self.attempts.complete()

    def emit(self, name: str, value: float, unit: str, attributes: Any = None) -> None:
        """One event."""
        given = self._pool if attributes is None else attributes
        self.metrics.send(MetricEvent(name, value, unit, self.now(), given))

    # -- what the state noted ----------------------------------------------------------

    def tell(self, notes: Sequence[Note]) -> None:
        """Tell of what happened under the lock."""
        for kind, task, outcome, error, at in notes:
            if kind is ATTEMPT:
                self.attempt(task, outcome, error, self.now() if at is None else at)
            elif kind is SETTLED:
                self._settled(task, outcome, error)
            else:
                self._refused(task)

    def due(self, now: float) -> bool:
        """Whether it is time to look at levels again."""
        return now - self._sampled >= _OFTEN

    def note_levels(self, active: int, waiting: int, now: float) -> bool:
        """So many attempts run, and so many items wait; whether that is to be told.

        The engine's lock is held, so changes are noted in the order in which they were.
        """
        if not self.metrics.heard or (active, waiting) == (self._active, self._waiting):
            return False
        change = active - self._active
        queued = None if waiting == self._waiting else waiting
        self._active, self._waiting, self._sampled = active, waiting, now
        self._levels.append((change, queued))
        return True

    def tell_levels(self) -> None:
        """Tell what was noted, in its order: one thread at a time, nobody waits for it."""
        while self._levels and self._telling.acquire(False):
            try:
                self._tell_levels()
            finally:
                self._telling.release()

    def _tell_levels(self) -> None:
        while True:
            try:
                change, queued = self._levels.popleft()
            except IndexError:
                return
            if change:
                self.emit("rxpool.task.active", change, "{task}")
            if queued is not None:
                self.emit("rxpool.queue.size", queued, "{task}")

    def attempt(
        self, task: Task, outcome: str, error: BaseException | None, ended: float
    ) -> None:
        """An attempt ended."""
        started = task.started
        if started is NOT_YET:
            return  # it was going to start, no more
        took = max(0.0, ended - started)
        if isinstance(error, PartlyFailed):
            error = error.first
        crashed = isinstance(error, (WorkerCrashed, PoisonItem))
        if error is not None:
            self.task_log.failed(task, error, crashed)
        if self.metrics.heard:
            attributes: dict[str, str] = self._good
            if error is not None:
                kind = error_type(type(error))
                attributes = {"outcome": outcome, "error.type": kind} | self._pool
            elif outcome != "success":
                attributes = {"outcome": outcome} | self._pool
            self.emit("rxpool.task.duration", took, "s", attributes)
            if task.attempts <= 1 and task.extra.spent is None:
                self.emit("rxpool.task.wait", max(0.0, started - task.accepted), "s")
            if (held := task.extra.held) is not None:
                self.emit("rxpool.limit.wait", held, "s")
        if self.attempts.heard:
            self.attempts.send(
                AttemptRecord(
                    self._lane(task, started, ended),
                    task.flow.binding.name,
                    task.accepted,
                    started,
                    max(started, ended),
                    max(1, task.attempts),
                    "crashed" if crashed else outcome,  # type: ignore[arg-type]
                    None if error is None else f"{error_type(type(error))}: {error}",
                )
            )

    def starting(self, task: Task) -> None:
        """An attempt is about to run; only of some is this told, but always before its end."""
        self.task_log.started(task)

    def succeeded(self, task: Task, ended: float) -> None:
        """A task ended well without the lock."""
        self.attempt(task, "success", None, ended)
        self._settled(task, "success", None)

    def reordered(self, task: Task) -> None:
        """A result has its turn."""
        if self.metrics.heard and task.started is not NOT_YET:
            done = task.started + task.took
            self.emit("rxpool.reorder.wait", max(0.0, self.now() - done), "s")

    def retried(self, task: Task, error: BaseException, wait: float) -> None:
        """There will be another attempt in *wait* seconds."""
        self.task_log.retried(task, error, wait)
        if self.metrics.heard:
            kind = {"error.type": error_type(type(error))} | self._pool
            self.emit("rxpool.retry.attempts", 1, "{attempt}", kind)
            self.emit("rxpool.retry.wait", wait, "s")

    def replaced(self, reason: str) -> None:
        """A worker is gone, and another takes its place."""
        self.task_log.replaced(reason)
        self.emit("rxpool.worker.restarts", 1, "{restart}", {"reason": reason} | self._pool)

    def resources(self, pids: Sequence[int]) -> "dict[int, Resources]":
        """What the processes *pids* use, which is told too."""
        from rxpool.metrics import resources  # which few programs ask for

        found = resources(pids)
        with self._lock:
            before = self._cpu
            self._cpu = {pid: used.cpu for pid, used in found.items()}
        if self.metrics.heard:
            for pid, used in found.items():
                worker = {"worker": str(pid)} | self._pool
                more = max(0.0, used.cpu - before.get(pid, 0.0))
                self.emit("rxpool.worker.cpu", more, "s", worker)
                self.emit("rxpool.worker.memory", used.memory, "By", worker)
        return found

    def _settled(self, task: Task, outcome: str, error: BaseException | None) -> None:
        if not self.metrics.heard:
            return
        attributes = self._good
        if outcome != "success":
            attributes = {"outcome": outcome} | self._pool
            if error is not None:
                attributes["error.type"] = error_type(type(error))
        self.emit("rxpool.tasks", 1, "{task}", attributes)
        if outcome == "dropped":
            flow = task.flow
            policy = flow.capacity.overflow if flow.capacity.max_items is None else "newest"
            self.emit("rxpool.dropped", 1, "{item}", {"policy": policy} | self._pool)

    def _refused(self, task: Task) -> None:
        breaker = task.flow.gate.policies.breaker
        if breaker is not None and self.metrics.heard:
            attributes = {"breaker": breaker.name, "state": breaker.state}
            self.emit("rxpool.breaker.rejected", 1, "{call}", attributes)

    def _lane(self, task: Task, started: float, ended: float) -> str:
        if (lane := self._lane_of(task)) is not None:
            return lane
        with self._lock:
            return self._lanes.lane(started, ended)

    # -- breakers -------------------------------------------------------------------------

    def follow(self, breaker: "CircuitBreaker") -> None:
        """A flow has *breaker*: tell of its changes, once, however many flows have it."""
        with self._lock:
            known = self._breakers.get(breaker)
            if known is None:
                known = 0, breaker.events.subscribe(self._transition)
            self._breakers[breaker] = known[0] + 1, known[1]

    def unfollow(self, breaker: "CircuitBreaker") -> None:
        """One of its flows has ended."""
        with self._lock:
            known = self._breakers.pop(breaker, None)
            if known is None:
                return
            if known[0] > 1:
                self._breakers[breaker] = known[0] - 1, known[1]
                return
        known[1].dispose()

    def _transition(self, event: "BreakerEvent") -> None:
        attributes = {"breaker": event.breaker, "from": event.before, "to": event.after}
        self.emit("rxpool.breaker.transitions", 1, "{transition}", attributes)
