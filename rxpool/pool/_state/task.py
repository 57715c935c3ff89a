"""`Task`: one attempt at an item on its way through a flow."""

from collections import deque
from typing import Any, Final

from rxpool.errors import TaskCancelled

__all__ = ("NOT_YET", "NO_EXTRA", "Extra", "Part", "Task", "Withdrawn", "again", "start_of")

NOT_YET: Final[Any] = None  #: in the place of a time or a result that is still to come


class Withdrawn(TaskCancelled):
    """The user took the item back at the moment when a worker took it."""


class Extra:
    """What only some tasks have: those that a policy, a limit in time or a log looks at."""

    __slots__ = (
        "asked",
        "collected",
        "crashes",
        "ending",
        "hedged",
        "held",
        "journalled",
        "number",
        "parts",
        "refused",
        "rival",
        "spent",
        "ticket",
        "unclaimed",
    )

    def __init__(self) -> None:
        self.ticket: Any = None  #: its place in the line of a limit, or why it can have none
        #: its id in the journal and, if it was finished, its result in a tuple; or what failed
        self.journalled: tuple[Any, Any] = (None, None)
        self.asked: float | None = None  #: when it first asked a limit that made it wait
        self.held: float | None = None  #: seconds that it waited for a limit
        self.refused = 0  #: how often a breaker let it not start
        self.spent: float | None = None  #: seconds of the attempts before this one
        self.crashes = 0  #: how many workers it has killed
        self.hedged = False  #: there is, or was to be, a second run
        self.rival: Any = None  #: the other run of the same item, until that is over
        self.unclaimed = False  #: its key was let go already
        self.ending = False  #: the backend was told to end it, and has not yet
        self.number: int | None = None  #: in the log
        self.parts: deque[Any] | None = None  #: ordered: results so far of an Observable
        self.collected: list[Any] | None = None  #: results of an Observable, kept together


class _NoExtra(Extra):
    """What all tasks share that have none of that: it is not written."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, name):
            raise AttributeError(f"{name} is of a task's own extra only, see Task.own")
        super().__setattr__(name, value)


NO_EXTRA: Final[Extra] = _NoExtra()


class Task:
    """One attempt at an item on its way through a flow."""

    __slots__ = (
        "accepted",
        "attempts",
        "cancelled",
        "context",
        "error",
        "extra",
        "flow",
        "future",
        "inner",
        "item",
        "key",
        "note",
        "permit",
        "placed",
        "rank",
        "running",
        "settled",
        "slot",
        "started",
        "took",
        "value",
    )

    def __init__(self, flow: Any, item: Any, now: float) -> None:
        self.flow = flow
        self.item = item
        self.accepted = now
        self.attempts = 0
        #: None: done, but counted as running until its worker stops (`ThreadRunner`)
        self.running: bool | None = False
        self.slot = False  # holds a slot of the pool
        self.placed = False  # has its place in the order of results
        self.settled = False
        self.cancelled = False
        self.started: float = NOT_YET
        self.took: float = NOT_YET
        self.value: Any = NOT_YET
        self.error: BaseException | None = None
        self.context: Any = None  # of variables, to be run in
        self.inner: Any = None  # cancels what the function left running
        self.note: Any = None  # what the backend remembers of it
        self.permit: int | None = None  # of a breaker, for the attempt that runs
        self.key: Any = None  # in order of keys
        self.rank: tuple[float, ...] = NOT_YET  # what comes first when tasks are sorted
        self.future: Any = None  # of one result
        self.extra = NO_EXTRA

    def own(self) -> Extra:
        """Its own extra, to be written to; what a gate has seen has one."""
        extra = self.extra
        if extra is NO_EXTRA:
            extra = self.extra = Extra()
        return extra


def start_of(task: Task, now: float) -> float:
    """When it started, or would if it did now."""
    return now if task.started is NOT_YET else task.started


def again(task: Task) -> Task:
    """The same item for another attempt: what is still to come of the one before is not it."""
    other = Task(task.flow, task.item, task.accepted)
    other.attempts = task.attempts
    other.placed = task.placed
    other.context = None if task.context is None else task.context.copy()
    other.key, other.rank, other.future = task.key, task.rank, task.future
    before, extra = task.extra, other.own()
    extra.spent = (before.spent or 0.0) + (task.took or 0.0)
    extra.ticket, extra.journalled = before.ticket, before.journalled
    extra.refused, extra.crashes = before.refused, before.crashes
    extra.number = before.number
    return other


class Part:
    """One result of a task that gives several, on its way out."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value
