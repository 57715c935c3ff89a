"""What takes the results of a flow, and what this thread is busy with."""

import threading
from collections.abc import Callable, Collection, Sequence
from typing import Any, Final, Protocol

from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task
from rxpool.tasks import find_with, held

__all__ = ("NO_VALUE", "Binding", "Here", "OpenFlow", "TaskHandle", "busy_here", "here")

NO_VALUE: Final[Any] = object()  #: the value of a task whose results went out one by one


class Binding(Protocol):
    """What takes the results of a flow: a subscription, calls of `submit`, an iterator."""

    state: FlowState
    fn: Any  # the user's function, of one item
    collects: bool  # whether the results of an Observable are one list
    #: delivers a task that ended, without the engine's lock, and answers whether that took
    #: time on this thread; None if only `begin_delivery` may deliver
    emit_lock_free: Callable[[Task], bool] | None

    def emit_many(self, tasks: Sequence[Task], cell: list[int]) -> None:
        """Deliver tasks that ended well, without the lock, counting each in *cell* first."""

    name: str
    engine: Any

    def function(self, task: Task) -> Callable[..., Any]:
        """The user's function that runs for *task*."""
        ...

    def subject(self, task: Task) -> Any:
        """What *task* is called in `Progress`: its item, or the future of a call."""
        ...

    def job(self, task: Task) -> tuple[Callable[[Any], Any], Any]:
        """The function and its argument, for a backend that runs it elsewhere."""
        ...

    def begin_delivery(self) -> Any:
        """What to deliver now, or None.  The engine's lock is held."""

    def next_delivery(self) -> Any:
        """What to deliver after the last, or None.  The engine's lock is held."""

    def send(self, entry: Any) -> None:
        """Deliver; the lock is not held."""

    def delivering(self) -> bool:
        """Whether results wait for whoever takes them."""
        ...

    def leads_to(self, flows: Collection[FlowState]) -> bool:
        """Whether this is one of *flows*, or its results go into one of them."""
        ...

    def blocker(self) -> FlowState | None:
        """The flow of this pool that keeps this one's results from going on."""


class OpenFlow(Protocol):
    """What a pool has open: a subscription, calls of `submit`, an iterator."""

    state: FlowState

    def condemn(self, error: Exception, fed: bool) -> None:
        """Everything is going to be cancelled: take nothing more.  The lock is held.

        Unless each item's outcome is told, the end is *error*; *fed*: so are those of others
        that were on their way to this flow.
        """

    def terminate(self, reason: str) -> None:
        """Settle everything now, as cancelled."""

    def forked(self, why: str) -> None:
        """This is a forked child, in which nothing more comes of this, and *why*."""


class Here(threading.local):
    """The tasks that this thread is busy with, innermost last.

    A settled one is being delivered.  `flows` are those of which it delivers other entries,
    `depths` how long the stack was when it began with each.  `held` are the tasks that it
    will run when it is done with what it does: each in a list of its own, so that it can be
    taken.
    """

    def __init__(self) -> None:
        self.stack: list[Task] = []
        self.flows: list[FlowState] = []
        self.depths: list[int] = []
        self.held: list[list[Task]] = []

    def delivers(self) -> FlowState | None:
        """The flow of which the caller's thread is giving a subscriber an entry."""
        stack, flows = self.stack, self.flows
        if flows and self.depths[-1] == len(stack):
            return flows[-1]
        return stack[-1].flow if stack and stack[-1].settled else None


here = Here()


class TaskHandle:
    """See `rxpool.tasks.Handle`."""

    __slots__ = ("task",)

    def __init__(self, task: Task) -> None:
        self.task = task

    def cancelled(self) -> bool:
        """Settled before its function has returned, or going to be when it has."""
        return self.task.settled or self.task.extra.ending

    def progress(self, fraction: float) -> None:
        """Tell the pool."""
        self.task.flow.binding.engine.telemetry.progress(self.task, fraction)


def busy_here() -> Sequence[Task]:
    """The tasks that the caller works for.

    Those of this thread, and the one that a coroutine belongs to which that task's
    coroutine started.
    """
    stack, handle = here.stack, held.get()
    if isinstance(handle, TaskHandle) and not handle.task.settled:
        return stack if handle.task in stack else [*stack, handle.task]
    return stack


def _task_here() -> TaskHandle | None:
    stack = here.stack
    return TaskHandle(stack[-1]) if stack else None


find_with(_task_here)
