"""What the parts of a flow's state know of the flow, and a flow of the pool's slots."""

from collections import deque
from typing import Any, Protocol

from rxpool.pool._state.counts import FlowCounts
from rxpool.pool._state.effects import Effects
from rxpool.pool._state.queues import SortedQueue
from rxpool.pool._state.results import ResultOrder
from rxpool.pool._state.task import Task

__all__ = ("Flow", "PoolSlots")


class PoolSlots(Protocol):
    """The slots that flows share."""

    total: int

    @property
    def free(self) -> int:
        """How many are free."""
        ...

    max_bytes: int | None

    guard: Any  #: makes what guards that which workers change without the engine's lock

    ring: deque[Any]
    effects: Effects

    def occupy(self, task: Task) -> None:
        """*task* runs in a slot that is free."""

    def release(self, task: Task) -> None:
        """Give back the slot of *task*, if it holds one."""


class Flow(Protocol):
    """`FlowState`, for its parts; see there."""

    slots: PoolSlots
    effects: Effects
    counts: FlowCounts
    sorted: SortedQueue | None
    waiting: deque[Task] | SortedQueue
    results: ResultOrder
    tasks: set[Task]
    without_slot: set[Task]
    uncommitted: set[Task]
    running: int
    reserved: int
    ended: bool
    gate: Any
    policies: Any
    parked: dict[Task, Any]
    parking: Any
    hedging: Any
    settlement: Any
    chunks: Any
    commits: Any
    times: Any
    emits_drops: bool
    capacity: Any

    @property
    def undelivered(self) -> int:
        """Done and not fetched."""
        ...

    def mark_runnable(self) -> None:
        """Remember that there may be something to start."""

    def pop_oldest(self) -> Task | None:
        """The task that has waited longest, or None."""
        ...

    def pop_waiting(self) -> Task | None:
        """The task that is to start next, or None."""
        ...

    def count_reserved(self, more: int) -> None:
        """So many more, or fewer, are inside and do not run."""

    def start(self, task: Task) -> Task:
        """An attempt begins."""
        ...

    def place(self, task: Task) -> None:
        """This is its place in the order of results, unless it has one."""

    def stop(self, task: Task) -> None:
        """An attempt, which was removed from `tasks`, is over."""

    def release_key(self, task: Task) -> None:
        """Another task of its key may start."""
