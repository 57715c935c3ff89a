"""`Slots`: the slots of a pool, and which flow has the next one."""

from collections import deque
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Final

from rxpool._forks import bury
from rxpool.errors import Overflow
from rxpool.pool._state.effects import Effects
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("DROPPED", "FULL", "STARTED", "WAITING", "Slots")

# What `Slots.accept` answers.
STARTED: Final = 0  #: a slot is taken for the task; start it
WAITING: Final = 1  #: the task waits
DROPPED: Final = 2  #: the policy dropped the task itself; its outcome is there
FULL: Final = 3  #: not taken: the producer must wait

#: so many outcomes of dropped items may wait for a slow subscriber before the producer waits
_MANY_DROPS: Final = 1024


class Slots:
    """The slots of a pool and the flows that share them, in turn."""

    __slots__ = ("effects", "free", "guard", "max_bytes", "reading", "ring", "total")

    def __init__(
        self, total: int, guard: Callable[[], AbstractContextManager[Any]] = nullcontext
    ) -> None:
        self.total = total
        #: makes what guards that which workers change without the engine's lock; a leaf
        self.guard: Any = guard
        #: of the items of one flow and of their results, where they are pickled
        self.max_bytes: int | None = None
        self.free: int = total  #: below 0 while more runs than a reduced number of slots
        self.ring: deque[FlowState] = deque()  # flows that may have something to start
        self.effects = Effects()
        #: flows whose readers may be waiting for the next item.  A reader leaves what it has
        #: read in `FlowState.ahead`, then looks for a free slot; a slot is free first, then
        #: `take_ahead` looks there: so one of the two sees the other
        self.reading: dict[FlowState, None] = {}

    # -- what comes in ----------------------------------------------------------------------

    def accept(self, flow: FlowState, task: Task) -> int:
        """Take a task, or not; a FULL one was not."""
        capacity, counts = flow.capacity, flow.counts
        crowded = capacity.max_items is not None and capacity.at_capacity()
        if self.free > 0 and not crowded and capacity.may_start_at_once(task):
            counts.accepted += 1
            if flow.gate is not None:  # which is asked when the task is next
                flow.waiting.append(task)
                flow.mark_runnable()
                return WAITING
            if flow.sorted is not None:
                flow.sorted.admit(task)
            flow.start(task)
            self.free -= 1
            task.slot = True
            return STARTED
        if crowded or capacity.occupied() >= capacity.max_pending:
            overflow = capacity.overflow
            if overflow == "block" or len(flow.done) > capacity.max_pending + _MANY_DROPS:
                return FULL
            if overflow == "error":
                raise Overflow(f"more than max_pending={capacity.max_pending} items wait")
            counts.accepted += 1
            if overflow == "drop_newest" or not flow.waiting:
                flow.settlement.drop(task)
                return DROPPED
            if (oldest := flow.pop_oldest()) is not None:
                flow.settlement.drop(oldest)
        else:
            counts.accepted += 1
        flow.waiting.append(task)
        if not flow.runnable:
            flow.runnable = True
            self.ring.append(flow)
        return WAITING

    def accept_many(self, flow: FlowState, tasks: Sequence[Task]) -> tuple[int, int]:
        """Take the first tasks, as many as there is room for: how many, and how many started.

        The flow's policy is to let producers wait.
        """
        taken = started = 0
        while taken < len(tasks) and self.free > 0 and flow.sorted is None:
            verdict = self.accept(flow, tasks[taken])
            if verdict == FULL:
                return taken, started
            started += verdict == STARTED
            taken += 1
        room = max(0, flow.capacity.max_pending - flow.capacity.occupied())
        more = tasks[taken : taken + room]
        if more:
            flow.counts.accepted += len(more)
            flow.waiting.extend(more)
            flow.mark_runnable()
        return taken + len(more), started

    def take_ahead(self) -> None:
        """There is a free slot: what readers have in hand may use it."""
        for flow in list(self.reading):
            flow.take_ahead()

    def force(self, flow: FlowState, task: Task) -> None:
        """Let a task wait though there is no room."""
        flow.counts.accepted += 1
        flow.waiting.append(task)
        flow.mark_runnable()

    # -- who is next ------------------------------------------------------------------------

    def next(self) -> Task | None:
        """Start a waiting task, flows taking turns, or None.  The slot is the caller's."""
        if self.free < 0:  # the slot is one too many
            return None
        ring = self.ring
        while ring:
            flow = ring[0]
            task = flow.pop_waiting() if flow.waiting and flow.capacity.may_run() else None
            if task is not None:
                if flow.gate is not None and not flow.parking.admits(task):
                    continue
                if len(ring) > 1:
                    ring.rotate(-1)
                return flow.start(task)
            ring.popleft()
            flow.runnable = False
        return None

    def fill(self) -> list[Task]:
        """Start waiting tasks in the slots that are free."""
        started: list[Task] = []
        while self.free > 0 and (task := self.next()) is not None:
            self.free -= 1
            task.slot = True
            started.append(task)
        return started

    def occupy(self, task: Task) -> None:
        """*task* runs in a slot that is free."""
        self.free -= 1
        task.slot = True

    def release(self, task: Task) -> None:
        """Give back the slot of *task*, if it holds one."""
        if task.slot:
            task.slot = False
            self.free += 1

    def pass_on(self, task: Task, rest: Sequence[Task] = ()) -> Task | None:
        """The next task for the slot of *task*; None: the slot is free, or *rest* have it.

        *rest* is what is left of the chunk of *task*.
        """
        if not task.slot:
            return None
        if rest and self.promote(rest, True):
            task.slot = False
            return None
        following = self.next() if self.ring else None
        task.slot = False
        if following is None:
            self.free += 1
            flow = task.flow
            # Only now: who makes room in the line of results looks for a free slot after that.
            if flow.waiting and flow.results.ordered and flow.capacity.may_run():
                flow.mark_runnable()
        else:
            following.slot = True
        return following

    def yield_slot(self, task: Task) -> None:
        """*task* runs on without a slot; unless the user set a bound, another may beside it."""
        if task.running and task.slot:
            self.release(task)
            task.flow.without_slot.add(task)
            task.flow.mark_runnable()

    def resize(self, total: int) -> None:
        """Change the number of slots; running tasks run on."""
        self.free += total - self.total
        self.total = total

    # -- on the thread of one that would else wait --------------------------------------------

    def take(self, flow: FlowState, nested: bool) -> Task | None:
        """Start a waiting task of *flow* on a thread that would else wait; uses no slot.

        *nested*: the thread is busy with a task of the flow already, so that with the bound on
        threads the bound on running tasks is kept even so, unless the user set one.
        """
        if not flow.waiting or not self._may_take(flow, nested):
            return None
        waiting = flow.pop_waiting(not nested or flow.capacity.concurrency is not None)
        if waiting is None or (flow.gate is not None and not flow.parking.admits(waiting)):
            return None
        return flow.start(waiting)

    def _may_take(self, flow: FlowState, nested: bool) -> bool:
        return flow.capacity.may_run() or (nested and flow.capacity.concurrency is None)

    def start_directly(self, flow: FlowState, task: Task, nested: bool) -> bool:
        """Start a task that found no room on the thread that brings it; see `take`."""
        if flow.waiting or flow.gate is not None or not self._may_take(flow, nested):
            return False
        capacity = flow.capacity
        if not nested and flow.parked and capacity.spare(capacity.limit()) <= 0:
            return False
        flow.counts.accepted += 1
        flow.start(task)
        return True

    def take_this(self, task: Task) -> bool:
        """Start a task that waits, on the thread that needs its result; uses no slot."""
        flow = task.flow
        if task.running or task.settled or task not in flow.waiting:
            return False
        if flow.gate is not None:  # which is asked when it is the task's turn
            return False
        flow.waiting.remove(task)
        flow.start(task)
        return True

    # -- chunks: several tasks in one slot ----------------------------------------------------

    def reserve(self, task: Task, most: int, fairly: bool = True) -> list[Task]:
        """Take more tasks of the flow of *task*, to be run after it in the same slot.

        None if other flows wait for their turn; *fairly*: no more than a slot's share of
        what waits.
        """
        flow: FlowState = task.flow
        waiting = flow.waiting
        if not (waiting and flow.chunkable):
            return []
        if flow.gate is not None and not flow.gate.share():
            return []
        if len(self.ring) > 1 or (self.ring and self.ring[0] is not flow):
            return []
        capacity = flow.capacity
        if fairly:
            most = min(most, -(-len(waiting) // capacity.limit()))
        most = min(most, capacity.to_reserve(capacity.limit(), task))
        if flow.sorted is None and flow.gate is None:
            pop = waiting.popleft
            chunk = [pop() for _ in range(min(most, len(waiting)))]
        else:
            chunk = flow.chunks.pop_admitted(task, most)
        flow.chunks.reserve(task, chunk)
        return chunk

    def give_back(self, chunk: Sequence[Task]) -> None:
        """Tasks of a chunk that were not begun wait again, before all others."""
        for task in reversed(chunk):
            if task in task.flow.tasks:
                task.flow.chunks.take_back(task)

    def promote(self, chunk: Sequence[Task], slot: bool) -> bool:
        """The first task of *chunk* that is not settled is the one that runs now."""
        for task in chunk:
            if task in task.flow.tasks:
                task.flow.promote(task)
                task.slot = slot
                return True
        return False

    def forsake(self) -> None:
        """In a forked child: nothing is going to start."""
        self.effects.forsake()
        bury(self.ring)
        self.ring.clear()
