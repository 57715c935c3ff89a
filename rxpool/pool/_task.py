"""`Task`: one item on its way through a flow."""

from collections import deque
from typing import Any

from rxpool.errors import TaskCancelled

__all__ = ("Part", "Task", "Withdrawn", "again")


class Withdrawn(TaskCancelled):
    """The user took the item back at the moment when a worker took it."""


class Task:
    """One item on its way through a flow."""

    __slots__ = (
        "accepted",
        "asked",
        "attempts",
        "cancelled",
        "collected",
        "context",
        "crashes",
        "ending",
        "error",
        "flow",
        "future",
        "hedged",
        "held",
        "inner",
        "item",
        "journalled",
        "key",
        "note",
        "number",
        "parts",
        "permit",
        "placed",
        "rank",
        "refused",
        "rival",
        "running",
        "settled",
        "slot",
        "spent",
        "started",
        "ticket",
        "took",
        "unclaimed",
        "value",
    )

    # Set when the task starts or is settled, as creating tasks is on the hot path.
    started: float
    took: float
    value: Any
    note: Any  #: what the backend remembers of it
    crashes: int  #: how many workers it has killed
    ending: bool  #: the backend was told to end it, and has not yet
    key: Any  #: in order of keys
    asked: float  #: when it first asked a limit that made it wait
    future: Any  #: of one result
    held: float  #: seconds that it waited for a limit
    number: int  #: in the log
    rank: tuple[float, ...]  #: what comes first when tasks are sorted
    ticket: Any  #: its place in the line of a limit, or why it can have none
    permit: int | None  #: of a breaker, for the attempt that runs
    refused: int  #: how often a breaker let it not start
    journalled: Any  #: its id in the journal and, if it was finished, its result in a tuple
    hedged: bool  #: there is, or was to be, a second run
    rival: Any  #: the other run of the same item, None when that is over
    unclaimed: bool  #: its key was let go already
    spent: float  #: seconds that attempts before this one took

    def __init__(self, flow: Any, item: Any, now: float) -> None:
        self.flow = flow
        self.item = item
        self.accepted = now
        self.attempts = 0
        #: None: done, but counted as running until its worker stops (`Engine._swift`)
        self.running: bool | None = False
        self.slot = False  # holds a slot of the pool
        self.placed = False  # has its place in the order of results
        self.context: Any = None  # of variables, to be run in
        self.settled = False
        self.cancelled = False
        self.error: BaseException | None = None
        self.parts: deque[Any] | None = None  # ordered: results so far of an Observable
        self.collected: list[Any] | None = None  # results of an Observable, kept together
        self.inner: Any = None  # cancels what the function left running


def again(task: Task) -> Task:
    """The same item for another attempt: what is still to come of the one before is not it."""
    other = Task(task.flow, task.item, task.accepted)
    other.attempts = task.attempts
    other.placed = task.placed
    other.context = None if task.context is None else task.context.copy()
    other.spent = getattr(task, "spent", 0.0) + getattr(task, "took", 0.0)
    for name in (
        "key",
        "rank",
        "ticket",
        "crashes",
        "refused",
        "journalled",
        "number",
        "future",
    ):
        if hasattr(task, name):
            setattr(other, name, getattr(task, name))
    return other


class Part:
    """One result of a task that gives several, on its way out."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value
