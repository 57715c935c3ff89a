"""`TimeLimits`: which tasks of a flow should have ended, and when to look again."""

from collections.abc import Iterable
from typing import Any

from rxpool.pool._state.task import NOT_YET, Task, start_of

__all__ = ("TimeLimits",)


class TimeLimits:
    """The timeout and the deadline of a flow, and when second runs of its items begin.

    A pure state; the engine's lock guards it.  *tasks* that run, those that are *waiting* and
    those that are *parked* are the flow's.
    """

    __slots__ = (
        "_parked",
        "_tasks",
        "_waiting",
        "alarm",
        "armed",
        "deadline",
        "hedge",
        "timeout",
        "watched",
    )

    def __init__(
        self,
        timeout: float | None,
        deadline: float | None,
        tasks: set[Task],
        waiting: Iterable[Task],
        parked: dict[Task, Any],
    ) -> None:
        self.timeout = timeout  #: seconds that an attempt may run
        self.deadline = deadline  #: seconds from acceptance
        self.hedge: float | None = None  #: seconds until a second run of the same item
        self.watched = timeout is not None  #: something is to be done about long tasks
        self.armed = False  #: an alarm is set for one of these
        self.alarm: Any = None
        self._tasks, self._waiting, self._parked = tasks, waiting, parked

    def hedge_after(self, seconds: float | None) -> None:
        """Have second runs of what takes so long."""
        self.hedge = seconds
        self.watched = True

    def end(self, task: Task) -> None:
        """A task is going to end, as it was told or when its function has returned."""
        task.own().ending = True

    def goes_on(self, task: Task) -> bool:
        """Limits hold for a task again; whether they did not."""
        if not task.extra.ending:
            return False
        task.extra.ending = False
        return True

    def overdue(self, now: float) -> list[tuple[Task, str]]:
        """The tasks that should have ended by now, and which limit says so."""
        late: list[tuple[Task, str]] = []
        deadline, timeout = self.deadline, self.timeout
        for task in self._to_be_ended():
            dues: list[tuple[float, str]] = []  # of two, the one that came first
            if deadline is not None:
                dues.append((task.accepted + deadline, "deadline"))
            if timeout is not None and task.started is not NOT_YET:
                dues.append((task.started + timeout, "timeout"))
            if self.hedge is not None and task.started is not NOT_YET and not task.extra.hedged:
                dues.append((task.started + self.hedge, "hedge"))
            if dues and min(dues)[0] <= now:
                late.append((task, min(dues)[1]))
        if deadline is not None:
            idle = [*self._waiting, *self._parked]
            late += [(t, "deadline") for t in idle if t.accepted + deadline <= now]
        late.sort(key=lambda entry: entry[0].accepted)
        return late

    def missed(self, task: Task, now: float) -> str | None:
        """Which limit *task*, that is or was running, did not keep; None: it did."""
        due, which = float("inf"), ""
        if self.deadline is not None:
            due, which = task.accepted + self.deadline, "deadline"
        if self.timeout is not None and start_of(task, now) + self.timeout < due:
            due, which = start_of(task, now) + self.timeout, "timeout"
        return which if due <= now else None

    def next_due(self, now: float) -> float | None:
        """When `overdue` is to be asked again, the past included; None: nothing is inside."""
        dues: list[float] = []
        busy = self._to_be_ended()
        if self.timeout is not None:
            dues += [start_of(task, now) + self.timeout for task in busy]
        if self.hedge is not None:
            alone = [task for task in busy if not task.extra.hedged]
            dues += [start_of(task, now) + self.hedge for task in alone]
            if self._waiting or self._parked:
                dues.append(now + self.hedge)
        if self.deadline is not None:
            dues += [task.accepted + self.deadline for task in busy]
            idle = [task.accepted for task in (*self._waiting, *self._parked)]
            if idle:  # workers take some meanwhile
                dues.append(min(idle) + self.deadline)
                if self.timeout is not None:  # it may start at any moment
                    dues.append(now + self.timeout)
        return min(dues, default=None)

    def _to_be_ended(self) -> list[Task]:
        """The tasks that limits hold for; a copy, as workers change `tasks` meanwhile."""
        return [task for task in self._tasks.copy() if not task.extra.ending]
