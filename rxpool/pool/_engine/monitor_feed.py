"""`MonitorFeed`: how a pool's ``monitor=`` is told, in lots if it can take them."""

from collections.abc import Sequence
from typing import Any

from reactivex.abc import ObserverBase

from rxpool.events import MetricEvent, Monitor
from rxpool.metrics._monitor import intake_of
from rxpool.pool._state.task import NO_EXTRA, Task

__all__ = ("MonitorFeed",)


class MonitorFeed(ObserverBase[MetricEvent]):
    """The `monitor=` of a pool: it sees no end, as it may belong to several.

    A `PerformanceMonitor` is given numbers of tasks that went well the first time by `take`
    and `take_all`, and waits of their results by `take_wait`, all else as events.  They come
    from any thread, and no lock is needed.
    """

    def __init__(self, monitor: Monitor, pool: dict[str, str], good: dict[str, str]) -> None:
        self._take: Any = getattr(monitor, "on_next", monitor)
        measured = (("rxpool.task.duration", "s", good), ("rxpool.task.wait", "s", pool))
        self._intake = intake_of(monitor, measured, ("rxpool.tasks", "{task}", good))
        self._waits = intake_of(monitor, (("rxpool.reorder.wait", "s", pool),))

    def on_next(self, value: MetricEvent) -> None:
        """Take one event."""
        self._take(value)

    def on_error(self, error: Exception) -> None:
        """Never called."""

    def on_completed(self) -> None:
        """The pool is closed."""
        self.leave()

    @property
    def by_lots(self) -> bool:
        """Whether it takes numbers of tasks."""
        return self._intake is not None

    def take(self, task: Task, ended: float) -> None:
        """A task ended well, and there is no more to tell than its times."""
        intake = self._intake
        if intake is not None:
            started = task.started
            intake.put((ended - started, started - task.accepted, intake.now()))

    def take_all(self, tasks: Sequence[Task]) -> Sequence[Task]:
        """Tasks ended well; those of which there is more to tell."""
        intake = self._intake
        if intake is None:
            return tasks
        others: list[Task] = []
        rows: list[float] = []
        at = intake.now()
        for task in tasks:
            started, extra = task.started, task.extra
            if task.attempts > 1 or (extra is not NO_EXTRA and extra.has_more):
                others.append(task)
            else:
                rows += (task.took, started - task.accepted, at)
        intake.put(rows)
        return others

    def take_wait(self, waited: float) -> None:
        """A result has waited for its turn."""
        waits = self._waits
        if waits is not None:
            waits.put((waited, waits.now()))

    def leave(self) -> None:
        """Nothing more is told."""
        intakes = self._intake, self._waits
        self._intake = self._waits = None
        for intake in intakes:
            if intake is not None:
                intake.close()
