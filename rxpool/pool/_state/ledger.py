"""The books of a pool: what waits, runs and is done, and what may start next.

No clock, no thread, no Rx and no user code: the binding (`_engine`) calls this under its lock.
"""

from collections.abc import Sequence
from typing import Final

from rxpool.errors import Overflow
from rxpool.pool._state.flow_ledger import FlowLedger
from rxpool.pool._state.parking import GO, Parking
from rxpool.pool._state.task import Part, Task, Withdrawn, again

__all__ = (
    "DROPPED",
    "FULL",
    "STARTED",
    "WAITING",
    "FlowLedger",
    "Ledger",
    "Part",
    "Task",
    "Withdrawn",
)

# What `Ledger.accept` answers.
STARTED: Final = 0  #: a slot is taken for the task; start it
WAITING: Final = 1  #: the task waits
DROPPED: Final = 2  #: the policy dropped the task itself; its outcome is in the books
FULL: Final = 3  #: not taken: the producer must wait

#: so many outcomes of dropped items may wait for a slow subscriber before the producer waits
_MANY_DROPS: Final = 1024


class Ledger(Parking):
    """The slots of a pool and the flows that share them, in turn."""

    __slots__ = ()

    def accept(self, flow: FlowLedger, task: Task) -> int:
        """Take a task, or not; a FULL one was not."""
        crowded = flow.most is not None and flow.crowded()
        if self.free > 0 and not crowded and flow.may_start_at_once(task):
            flow.accepted += 1
            if flow.gate is not None:  # which is asked when the task is next
                flow.waiting.append(task)
                self.enlist(flow)
                return WAITING
            if flow.sorted is not None:
                flow.sorted.admit(task)
            self._start(flow, task)
            self.free -= 1
            task.slot = True
            return STARTED
        if crowded or flow.inside() >= flow.max_pending:
            if flow.overflow == "block" or len(flow.done) > flow.max_pending + _MANY_DROPS:
                return FULL
            if flow.overflow == "error":
                raise Overflow(f"more than max_pending={flow.max_pending} items wait")
            flow.accepted += 1
            if flow.overflow == "drop_newest" or not flow.waiting:
                self._drop(flow, task)
                return DROPPED
            if (oldest := flow.pop_oldest()) is not None:
                self._drop(flow, oldest)
        else:
            flow.accepted += 1
        flow.waiting.append(task)
        if not flow.listed:
            flow.listed = True
            self.ring.append(flow)
        return WAITING

    def accept_many(self, flow: FlowLedger, tasks: Sequence[Task]) -> tuple[int, int]:
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
        room = max(0, flow.max_pending - flow.inside())
        more = tasks[taken : taken + room]
        if more:
            flow.accepted += len(more)
            flow.waiting.extend(more)
            self.enlist(flow)
        return taken + len(more), started

    def next(self) -> Task | None:
        """Start a waiting task, flows taking turns, or None.  The slot is the caller's."""
        if self.free < 0:  # the slot is one too many
            return None
        ring = self.ring
        while ring:
            flow = ring[0]
            task = flow.pop_waiting() if flow.waiting and flow.may_run() else None
            if task is not None:
                if flow.gate is not None and not self.admits(flow, task):
                    continue
                if len(ring) > 1:
                    ring.rotate(-1)
                return self._start(flow, task)
            ring.popleft()
            flow.listed = False
        return None

    def fill(self) -> list[Task]:
        """Start waiting tasks in the slots that are free."""
        started: list[Task] = []
        while self.free > 0 and (task := self.next()) is not None:
            self.free -= 1
            task.slot = True
            started.append(task)
        return started

    def take(self, flow: FlowLedger, nested: bool) -> Task | None:
        """Start a waiting task of *flow* on a thread that would else wait; uses no slot.

        *nested*: the thread is busy with a task of the flow already, so that with the bound on
        threads the bound on running tasks is kept even so, unless the user set one.
        """
        if not flow.waiting:
            return None
        if not flow.may_run() and not (nested and flow.concurrency is None):
            return None
        waiting = flow.pop_waiting()
        if waiting is None or (flow.gate is not None and not self.admits(flow, waiting)):
            return None
        return self._start(flow, waiting)

    def start_directly(self, flow: FlowLedger, task: Task, nested: bool) -> bool:
        """Start a task that found no room on the thread that brings it; see `take`."""
        if flow.waiting or flow.gate is not None:
            return False
        if not flow.may_run() and not (nested and flow.concurrency is None):
            return False
        if not nested and flow.parked and flow.spare(flow.limit()) <= 0:
            return False
        flow.accepted += 1
        self._start(flow, task)
        return True

    def force(self, flow: FlowLedger, task: Task) -> None:
        """Let a task wait though there is no room."""
        flow.accepted += 1
        flow.waiting.append(task)
        self.enlist(flow)

    def take_this(self, task: Task) -> bool:
        """Start a task that waits, on the thread that needs its result; uses no slot."""
        if task.running or task.settled or task not in task.flow.waiting:
            return False
        if task.flow.gate is not None:  # which is asked when it is the task's turn
            return False
        task.flow.waiting.remove(task)
        self._start(task.flow, task)
        return True

    def hedge(self, task: Task, now: float) -> Task | None:
        """Start a second run of the item of *task*, if there is a slot to spare for it."""
        flow = task.flow
        task.own().hedged = True
        if self.free <= 0 or not flow.may_run() or task not in flow.tasks:
            return None
        if not flow.policies.hedges(now, flow.accepted - len(flow.waiting)):
            return None
        other = again(task)
        other.own().spent = task.extra.spent or 0.0
        if flow.gate is not None and flow.gate.admit(other) is not GO:
            flow.gate.leave(other)
            return None
        other.placed = True
        self._start(flow, other)
        other.placed = False
        self.free -= 1
        other.slot = other.own().hedged = True
        task.attempts = other.attempts
        task.own().rival, other.own().rival = other, task
        return other

    # -- lots: several tasks in one slot ----------------------------------------------

    def allot(self, task: Task, most: int, fairly: bool = True) -> list[Task]:
        """Take more tasks of the flow of *task*, to be run after it in the same slot.

        None if other flows wait for their turn; *fairly*: no more than a slot's share of
        what waits.
        """
        flow = task.flow
        waiting = flow.waiting
        if not (waiting and flow.divisible and flow.gate is None):
            return []
        if len(self.ring) > 1 or (self.ring and self.ring[0] is not flow):
            return []
        if fairly:
            most = min(most, -(-len(waiting) // flow.limit()))
        most = min(most, flow.to_start(flow.limit()))
        pop = waiting.popleft
        lot = [pop() for _ in range(min(most, len(waiting)))]
        if flow.results.ordered:
            for following in lot:
                flow.results.place(following)
        flow.tasks.update(lot)
        flow.allotted += len(lot)
        return lot

    def give_back(self, lot: Sequence[Task]) -> None:
        """Tasks of a lot that were not begun wait again, before all others."""
        for task in reversed(lot):
            flow = task.flow
            if task not in flow.tasks:
                continue
            flow.tasks.remove(task)
            if flow.gate is not None:
                flow.gate.cancelled(task)
            if task.extra.ending:
                task.extra.ending = False  # limits hold for it again
            if task.running:
                flow.running -= 1
                task.running = False
                task.attempts -= 1
                self.release(task)
            else:
                flow.allotted -= 1
            flow.waiting.appendleft(task)
            self.enlist(flow)

    def promote(self, lot: Sequence[Task], slot: bool) -> bool:
        """The first task of *lot* that is not settled is the one that runs now."""
        for task in lot:
            if task in task.flow.tasks:
                if not task.running:
                    task.running = True
                    task.attempts += 1
                    task.flow.allotted -= 1
                    task.flow.running += 1
                task.slot = slot
                return True
        return False

    def resize(self, slots: int) -> None:
        """Change the number of slots; running tasks run on."""
        self.free += slots - self.slots
        self.slots = slots
