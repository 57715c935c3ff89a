"""`Telemetry`: what a pool tells of its work, as metric events and as records of attempts."""

import threading
from collections.abc import Callable, Sequence
from functools import partial
from itertools import islice, zip_longest
from typing import TYPE_CHECKING, Any

from reactivex.abc import DisposableBase

from rxpool._core.broadcast import Broadcast
from rxpool._core.measured import measured
from rxpool._forks import afresh
from rxpool._log import log
from rxpool.errors import PoisonItem, WorkerCrashed
from rxpool.events import MetricEvent, Monitor
from rxpool.metrics._attempt_record import AttemptRecord
from rxpool.metrics.names import error_type
from rxpool.pool._engine.levels import Levels
from rxpool.pool._engine.task_log import TaskLog
from rxpool.pool._engine.trace_lanes import TraceLanes
from rxpool.pool._state.batches import PartlyFailed
from rxpool.pool._state.effects import ATTEMPT, SETTLED, Note
from rxpool.pool._state.task import NO_EXTRA, NOT_YET, Task
from rxpool.tasks import Progress

if TYPE_CHECKING:
    from rxpool.metrics import Resources
    from rxpool.policies import BreakerEvent, CircuitBreaker
    from rxpool.pool._engine.monitor_feed import MonitorFeed

__all__ = ("Telemetry",)


class Telemetry:
    """Turns notes of the state into events, for whoever listens.

    ``heard`` says whether anybody does; the state takes notes only then.  Whoever runs tasks
    tells of those that went well if ``measuring``, and of starts if ``logs_starts``.  Notes
    come from any thread, with no lock held, and events go out on that thread.  ``_lock``
    guards lanes and breakers, and nothing foreign is called under it.
    """

    def __init__(
        self,
        name: str,
        now: Callable[[], float],
        changed: Callable[[bool], object],
        lane: Callable[[Any], str | None],
    ) -> None:
        self.heard = self.measuring = self.logs_starts = False
        self.now = now
        self.task_log = TaskLog(name)
        self._name = name
        self.faults: Broadcast[BaseException] = Broadcast("faults")
        self.progressed: Broadcast[Progress[Any]] = Broadcast("progress")
        failed = partial(self.fault, "a subscriber of metrics")
        self.metrics: Broadcast[MetricEvent] = Broadcast("metrics", self.look, failed)
        self.attempts: Broadcast[AttemptRecord] = Broadcast("attempts", self.look, failed)
        self._feed: MonitorFeed | None = None  # as long as it takes lots
        self._others = False  # whether somebody else is told of tasks that went well
        self._changed = changed
        self._pool = {"pool": name}
        self._good = {"pool": name, "outcome": "success"}
        self._lock = afresh(threading.Lock())
        self._looking = afresh(threading.Lock())
        self._lane_of = lane
        self._lanes = TraceLanes(name)
        self.levels = Levels(self.emit)
        self.due = self.levels.due
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
        from rxpool.pool._engine.monitor_feed import MonitorFeed  # which few pools need

        feed = MonitorFeed(monitor, self._pool, self._good)
        if feed.by_lots:
            self._feed = feed
        self.metrics.subscribe_directly(feed)

    def look(self) -> None:
        """Somebody came or left, or may have set up logging."""
        with self._looking:  # who looks last has seen everything
            self.task_log.look()
            self.logs_starts = self.task_log.detailed
            feed = self._feed
            if feed is not None and not self.metrics.heard_by(feed):
                self._feed = None  # it raised
                feed.leave()
            lots = self._feed is not None
            self._others = self.metrics.subscribers > lots or self.attempts.heard
            self.measuring = lots or self._others
            self.heard = self.measuring or self.task_log.wanted
            self._changed(self.heard)

    def forked(self) -> None:
        """In a child: nothing is told."""
        self.heard = self.measuring = self.logs_starts = False
        self._feed = None
        for stream in (self.faults, self.progressed, self.metrics, self.attempts):
            stream.forked()

    def complete(self) -> None:
        """The pool has ended."""
        self.metrics.complete()
        self.attempts.complete()

    def emit(self, name: str, value: float, unit: str, attributes: Any = None) -> None:
        """One event."""
        given = self._pool if attributes is None else attributes
        self.metrics.send(measured(name, value, unit, self.now(), given))

    # -- what the state noted ----------------------------------------------------------

    def tell(self, notes: Sequence[Note]) -> None:
        """Tell of what happened under the lock."""
        told = False
        for note, following in zip_longest(notes, islice(notes, 1, None)):
            kind, task, outcome, error, at = note
            if told:  # with the note before this one
                told = False
            elif kind is ATTEMPT:
                ended = self.now() if at is None else at
                told = outcome == "success" and _settles(following, task)
                if told:
                    self.succeeded(task, ended)
                else:
                    self.attempt(task, outcome, error, ended)
            elif kind is SETTLED:
                self._settled(task, outcome, error)
            else:
                self._refused(task)

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
            self._record(task, "crashed" if crashed else outcome, error, ended)

    def _record(
        self, task: Task, outcome: str, error: BaseException | None, ended: float
    ) -> None:
        started = task.started
        self.attempts.send(
            AttemptRecord(
                self._lane(task, started, ended),
                task.flow.binding.name,
                task.accepted,
                started,
                max(started, ended),
                max(1, task.attempts),
                outcome,  # type: ignore[arg-type]
                None if error is None else f"{error_type(type(error))}: {error}",
            )
        )

    def starting(self, task: Task) -> None:
        """An attempt is about to run; only of some is this told, but always before its end."""
        self.task_log.started(task)

    def succeeded(self, task: Task, ended: float) -> None:
        """A task ended well."""
        extra = task.extra
        if (
            task.attempts > 1
            or (extra is not NO_EXTRA and extra.has_more)
            or task.started is NOT_YET
        ):
            self.attempt(task, "success", None, ended)
            self._settled(task, "success", None)
            return
        feed = self._feed
        if feed is not None:
            try:
                feed.take(task, ended)
            except BaseException as error:
                self.metrics.let_go(feed, error)
        if self._others:
            self._tell_simple(task, ended, feed)

    def _tell_simple(self, task: Task, ended: float, but: "MonitorFeed | None") -> None:
        """A task ended well, of which there is no more to tell than its times."""
        took, waited = ended - task.started, task.started - task.accepted
        at, good = self.now(), self._good
        events = (
            measured("rxpool.task.duration", max(0.0, took), "s", at, good),
            measured("rxpool.task.wait", max(0.0, waited), "s", at, self._pool),
            measured("rxpool.tasks", 1, "{task}", at, good),
        )
        self.metrics.send_all(events, but)
        if self.attempts.heard:
            self._record(task, "success", None, ended)

    def succeeded_all(self, tasks: Sequence[Task]) -> None:
        """Tasks ended well elsewhere, each after as long as it took."""
        feed = self._feed
        if feed is not None and not self._others:
            try:
                tasks = feed.take_all(tasks)
            except BaseException as error:
                self.metrics.let_go(feed, error)
                return
        for task in tasks:
            self.succeeded(task, task.started + task.took)

    def reordered(self, task: Task) -> None:
        """A result has its turn."""
        if not self.metrics.heard or task.started is NOT_YET:
            return
        at = self.now()
        waited = max(0.0, at - task.started - task.took)
        feed = self._feed
        if feed is not None:
            try:
                feed.take_wait(waited)
            except BaseException as error:
                self.metrics.let_go(feed, error)
        if self._others:
            event = measured("rxpool.reorder.wait", waited, "s", at, self._pool)
            self.metrics.send_all((event,), feed)

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


def _settles(note: Note | None, task: Task) -> bool:
    """Whether *note* says that *task* was settled well."""
    return note is not None and note[1] is task and note[0] is SETTLED and note[2] == "success"
