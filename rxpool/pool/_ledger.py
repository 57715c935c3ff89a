"""The books of a pool: what waits, runs and is done, and what may start next.

No clock, no thread, no Rx and no user code: the binding (`_engine`) calls this under its lock.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from rxpool.errors import DeadlineExceeded, ItemDropped, Overflow, TaskCancelled
from rxpool.pool._flow_ledger import FlowLedger
from rxpool.pool._task import Part, Task, Withdrawn

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


def _halves(task: Task) -> list[Task]:
    """Two tasks for the two halves of a batch."""
    middle = len(task.item) // 2
    halves = task.item[:middle], task.item[middle:]
    parts = [Task(task.flow, half, task.accepted) for half in halves]
    for part in parts:
        part.context = None if task.context is None else task.context.copy()
    return parts


class Ledger:
    """The slots of a pool and the flows that share them, in turn."""

    __slots__ = ("free", "ring", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.free = slots  #: below 0 while more runs than a reduced number of slots
        self.ring: deque[FlowLedger] = deque()  # flows that may have something to start

    def accept(self, flow: FlowLedger, task: Task) -> int:
        """Take a task, or not; a FULL one was not."""
        if self.free > 0 and flow.may_start_at_once(task) and not flow.crowded():
            flow.accepted += 1
            if flow.sorted is not None:
                flow.sorted.admit(task)
            self._start(flow, task)
            self.free -= 1
            task.slot = True
            return STARTED
        if flow.inside() >= flow.max_pending or flow.crowded():
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
        return None if waiting is None else self._start(flow, waiting)

    def start_directly(self, flow: FlowLedger, task: Task, nested: bool) -> bool:
        """Start a task that found no room on the thread that brings it; see `take`."""
        if flow.waiting:
            return False
        if not flow.may_run() and not (nested and flow.concurrency is None):
            return False
        flow.accepted += 1
        self._start(flow, task)
        return True

    def enlist(self, flow: FlowLedger) -> None:
        """Remember that *flow* may have something to start."""
        if not flow.listed and flow.waiting:
            flow.listed = True
            self.ring.append(flow)

    def settle(self, task: Task, value: Any, error: BaseException | None, now: float) -> bool:
        """Note how a running task ended; False if it was settled before (cancelled)."""
        flow = task.flow
        try:
            flow.tasks.remove(task)
        except KeyError:
            return False
        if error is not None and self._can_be_halved(task, error):
            self._replace(task, _halves(task))
            return True
        if task.running is False:
            task.attempts += 1  # it ran behind another in the same lot
        self._leave(flow, task)
        task.settled = True
        task.took = max(0.0, now - getattr(task, "started", now))
        if error is None:
            task.value = value
            flow.counted += 1
        else:
            task.error = error
            if isinstance(error, Withdrawn):
                task.cancelled = True
                flow.cancelled += 1
            else:
                flow.failed += 1
        if flow.order is None:
            flow.done.append(task)
        else:
            flow.reordered += 1
        if flow.waiting and not flow.listed:
            self.enlist(flow)
        return True

    def close_cell(self, flow: FlowLedger, cell: list[int]) -> None:
        """A worker that went from task to task without the lock stops doing so."""
        for index, open_cell in enumerate(flow.cells):
            if open_cell is cell:
                del flow.cells[index]
                flow.counted += cell[0]
                return

    def force(self, flow: FlowLedger, task: Task) -> None:
        """Let a task wait though there is no room."""
        flow.accepted += 1
        flow.waiting.append(task)
        self.enlist(flow)

    def disown(self, task: Task) -> None:
        """Cancel a task that such a worker took while its flow was being cancelled."""
        flow = task.flow
        assert flow.cut_off is not None
        reason, keep = flow.cut_off
        self.release(task)
        task.took = 0.0
        self._cancel(flow, task, reason, keep)

    def add_part(self, task: Task, value: Any) -> bool:
        """Note one result of a running task that gives several; False if it was cancelled."""
        if task.settled:
            return False
        flow = task.flow
        if flow.order is None:
            flow.done.append(Part(value))
        else:
            if task.parts is None:
                task.parts = deque()
            task.parts.append(value)
            flow.reordered += 1
        return True

    def release(self, task: Task) -> None:
        """Give back the slot of *task*, if it holds one."""
        if task.slot:
            task.slot = False
            self.free += 1

    def lend(self, task: Task) -> None:
        """*task* runs on without a slot; unless the user set a bound, another may beside it."""
        if task.running and task.slot:
            self.release(task)
            task.flow.lent.add(task)
            self.enlist(task.flow)

    def take_this(self, task: Task) -> bool:
        """Start a task that waits, on the thread that needs its result; uses no slot."""
        if task.running or task.settled or task not in task.flow.waiting:
            return False
        task.flow.waiting.remove(task)
        self._start(task.flow, task)
        return True

    def withdraw(self, task: Task, reason: str) -> None:
        """Take a task that waits out of the books."""
        task.flow.waiting.remove(task)
        self._cancel(task.flow, task, reason, keep=False)

    def cancel_waiting(self, flow: FlowLedger, reason: str, keep: bool) -> None:
        """Cancel what waits; *keep* the outcomes to be fetched, else only count them."""
        while (task := flow.pop_oldest()) is not None:
            self._cancel(flow, task, reason, keep)

    def cancel_running(
        self, flow: FlowLedger, reason: str, keep: bool, now: float
    ) -> list[Task]:
        """Cancel what runs; answers the tasks whose work should be cut off."""
        flow.cut_off = reason, keep
        tasks: list[Task] = []
        while flow.tasks:
            try:
                tasks.append(flow.tasks.pop())
            except KeyError:  # a worker settled the last one
                break
        tasks.sort(key=lambda task: task.accepted)
        for task in tasks:
            self._leave(flow, task)
            task.took = max(0.0, now - getattr(task, "started", now))
            self.release(task)
            self._cancel(flow, task, reason, keep)
        return tasks

    # -- lots: several tasks in one slot ----------------------------------------------

    def allot(self, task: Task, most: int, fairly: bool = True) -> list[Task]:
        """Take more tasks of the flow of *task*, to be run after it in the same slot.

        None if other flows wait for their turn; *fairly*: no more than a slot's share of
        what waits.
        """
        flow = task.flow
        waiting = flow.waiting
        if not (waiting and flow.divisible) or (self.ring and self.ring[0] is not flow):
            return []
        if len(self.ring) > 1:
            return []
        if fairly:
            most = min(most, -(-len(waiting) // flow.limit()))
        if flow.order is not None:
            most = min(most, flow.window())
        pop = waiting.popleft
        lot = [pop() for _ in range(min(most, len(waiting)))]
        if flow.order is not None:
            for following in lot:
                self._place(flow, following)
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

    def fail_waiting(self, task: Task, error: BaseException) -> bool:
        """A task that waits has failed; False if it does not wait any more."""
        flow = task.flow
        if task.settled or task not in flow.waiting:
            return False
        flow.waiting.remove(task)
        self._fail(flow, task, error)
        return True

    def refuse(self, flow: FlowLedger, task: Task, error: BaseException) -> None:
        """An item failed before it could wait for anything; not in input order."""
        flow.accepted += 1
        self._fail(flow, task, error)

    def _can_be_halved(self, task: Task, error: BaseException) -> bool:
        """Whether it takes a smaller batch to know what is wrong, and there is time for it."""
        if not task.flow.bisects or isinstance(error, DeadlineExceeded):
            return False
        return isinstance(task.item, list) and len(task.item) > 1  # pyright: ignore[reportUnknownArgumentType, reportUnknownMemberType]

    def _replace(self, task: Task, parts: Sequence[Task]) -> None:
        """A task that ran is given up for others, which are to start next, in its place."""
        flow = task.flow
        self._stop(flow, task)
        task.settled = True
        flow.accepted += len(parts) - 1
        if flow.sorted is not None:
            flow.sorted.split(task, parts)
        else:
            flow.waiting.extendleft(reversed(parts))
        if flow.order is not None:
            place = flow.order.index(task)
            del flow.order[place]
            for part in reversed(parts):
                flow.order.insert(place, part)
                part.placed = True
        self.enlist(flow)

    def discard_done(self, flow: FlowLedger) -> None:
        """Forget what was not fetched."""
        flow.done.clear()
        if flow.order is not None:
            flow.order.clear()
        flow.reordered = flow.held = 0

    def resize(self, slots: int) -> None:
        """Change the number of slots; running tasks run on."""
        self.free += slots - self.slots
        self.slots = slots

    def _start(self, flow: FlowLedger, task: Task) -> Task:
        flow.running += 1
        self._place(flow, task)
        task.running = True
        task.attempts += 1
        flow.tasks.add(task)
        return task

    def _place(self, flow: FlowLedger, task: Task) -> None:
        """In input order: results come out in the order in which tasks start."""
        if flow.order is not None and not task.placed:
            flow.order.append(task)
            task.placed = True

    def _leave(self, flow: FlowLedger, task: Task) -> None:
        """A task that was removed from `tasks` does not run any more."""
        self._stop(flow, task)
        if flow.sorted is not None:
            flow.sorted.release(task)

    def _stop(self, flow: FlowLedger, task: Task) -> None:
        if task.running is False:
            flow.allotted -= 1
        else:
            flow.running -= 1
            task.running = False
            flow.lent.discard(task)

    def _fail(self, flow: FlowLedger, task: Task, error: BaseException) -> None:
        """The end of a task that did not run."""
        task.settled = True
        task.error = error
        task.took = 0.0
        flow.failed += 1
        if flow.order is None:
            flow.done.append(task)
            return
        flow.reordered += 1
        self._place(flow, task)

    def _cancel(self, flow: FlowLedger, task: Task, reason: str, keep: bool) -> None:
        task.settled = task.cancelled = True
        task.error = TaskCancelled(reason)
        if not task.attempts:
            task.took = 0.0
        flow.cancelled += 1
        if not keep:
            return
        if flow.order is None:
            flow.done.append(task)
            return
        flow.reordered += 1
        self._place(flow, task)

    def _drop(self, flow: FlowLedger, task: Task) -> None:
        task.settled = True
        if flow.most is not None:
            task.error = ItemDropped("another item waited or ran")
        else:
            task.error = ItemDropped(
                f"dropped by overflow={flow.overflow!r}: "
                f"max_pending={flow.max_pending} items waited"
            )
        task.took = 0.0
        flow.dropped += 1
        if flow.order is not None and task.placed:  # a part of a batch
            flow.order.remove(task)
        if flow.keeps_drops:
            # Out of turn in input order too: it waited for nobody before it.
            flow.done.append(task)
