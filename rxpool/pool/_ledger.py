"""The books of a pool: what waits, runs and is done, and what may start next.

No clock, no thread, no Rx and no user code: the binding (`_engine`) calls this under its lock.
"""

from collections import deque
from collections.abc import Sequence
from typing import Any, Final

from rxpool.errors import ItemDropped, Overflow, TaskCancelled

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

_LARGE: Final = 256  #: from so many on, `max_pending` counts as large


class Withdrawn(TaskCancelled):
    """The user took the item back at the moment when a worker took it."""


class Task:
    """One item on its way through a flow."""

    __slots__ = (
        "accepted",
        "attempts",
        "cancelled",
        "collected",
        "error",
        "flow",
        "inner",
        "item",
        "note",
        "parts",
        "running",
        "settled",
        "slot",
        "started",
        "took",
        "value",
    )

    # Set when the task starts or is settled, as creating tasks is on the hot path.
    started: float
    took: float
    value: Any
    note: Any  #: what the backend remembers of it

    def __init__(self, flow: "FlowLedger", item: Any, now: float) -> None:
        self.flow = flow
        self.item = item
        self.accepted = now
        self.attempts = 0
        #: None: done, but counted as running until its worker stops (`Engine._swift`)
        self.running: bool | None = False
        self.slot = False  # holds a slot of the pool
        self.settled = False
        self.cancelled = False
        self.error: BaseException | None = None
        self.parts: deque[Any] | None = None  # ordered: results so far of an Observable
        self.collected: list[Any] | None = None  # results of an Observable, kept together
        self.inner: Any = None  # cancels what the function left running


class Part:
    """One result of a task that gives several, on its way out."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class FlowLedger:
    """The books of one flow.

    Inside are at most `concurrency` running tasks and, in completion order, `max_pending`
    others, be they waiting to start or done and not yet fetched.  In input order
    `max_pending` may wait, and `max_reorder` be started and not yet fetched.

    In completion order a worker may go from one task to the next without the engine's lock
    (`Engine._swift`): `waiting`, `done` and `tasks` are changed by single atomic operations,
    and whoever removes a task from `tasks` settles it.
    """

    __slots__ = (
        "accepted",
        "binding",
        "cancelled",
        "cells",
        "concurrency",
        "counted",
        "cut_off",
        "done",
        "dropped",
        "ended",
        "failed",
        "held",
        "keeps_drops",
        "ledger",
        "listed",
        "low_water",
        "max_pending",
        "max_reorder",
        "order",
        "overflow",
        "reordered",
        "running",
        "tasks",
        "waiting",
    )

    def __init__(
        self,
        ledger: "Ledger",
        *,
        concurrency: int | None = None,
        ordered: bool = False,
        max_pending: int = 1024,
        max_reorder: int | None = None,
        overflow: str = "block",
        keeps_drops: bool = False,
    ) -> None:
        self.ledger = ledger
        self.keeps_drops = keeps_drops  # whether the outcomes of dropped items are fetched
        self.concurrency = concurrency
        self.max_pending = max_pending
        self.max_reorder = max_reorder
        self.overflow = overflow
        # A producer that waits is woken when there is room for a few items: waking it for
        # each would cost more than short tasks do.
        slack = max_pending // 8 if max_pending >= _LARGE else 1
        self.low_water = max_pending - slack
        self.waiting: deque[Task] = deque()
        #: in input order: all tasks that were started and not fetched, in that order
        self.order: deque[Task] | None = deque() if ordered else None
        #: in completion order: what can be fetched; in input order: what is out of turn
        self.done: deque[Any] = deque()
        self.tasks: set[Task] = set()  # running
        self.running = 0
        self.reordered = 0  # in input order: done and not fetched
        self.held = 0  # fetched, but to be counted as if not
        self.cut_off: tuple[str, bool] | None = None  # cancelled: why, and outcomes kept?
        self.listed = False
        self.ended = False
        self.binding: Any = None
        self.accepted = self.counted = self.failed = self.dropped = self.cancelled = 0
        #: successes counted by workers that go on without the lock, a cell for each
        self.cells: list[list[int]] = []

    @property
    def succeeded(self) -> int:
        """How many tasks ended well."""
        return self.counted + sum(cell[0] for cell in tuple(self.cells))

    @property
    def in_flight(self) -> int:
        """Accepted and not settled."""
        return self.accepted - self.succeeded - self.failed - self.dropped - self.cancelled

    @property
    def undelivered(self) -> int:
        """Done and not fetched."""
        return len(self.done) + self.reordered + self.held

    @property
    def finished(self) -> bool:
        """The source ended, and everything that was accepted has been fetched."""
        return self.ended and not (self.waiting or self.running or self.undelivered)

    def limit(self) -> int:
        """How many tasks may run."""
        slots = self.ledger.slots
        return slots if self.concurrency is None else min(self.concurrency, slots)

    def may_run(self) -> bool:
        """Whether the flow's own bounds let one more task start."""
        if self.order is None:
            return self.running < self.limit()
        limit = self.limit()
        window = self.max_reorder or 8 * limit
        return self.running < limit and len(self.order) < max(window, 1)

    def has_room(self) -> bool:
        """Whether an item would be taken."""
        if self.ended:
            return True  # it would be refused, but nobody has to wait for that
        return self.inside() < self.max_pending or self.may_start_at_once()

    def pop_waiting(self) -> Task | None:
        """The task that has waited longest, or None."""
        try:
            return self.waiting.popleft()
        except IndexError:
            return None

    def fetch(self) -> Any:
        """The next `Task` or `Part` to deliver, or None."""
        if self.done:
            try:
                return self.done.popleft()
            except IndexError:  # a worker was faster
                return None
        if self.order:
            head = self.order[0]
            if head.parts:
                self.reordered -= 1
                return Part(head.parts.popleft())
            if head.settled:
                self.order.popleft()
                self.reordered -= 1
                self.ledger.enlist(self)  # another may start
                return head
        return None

    def has_drained(self) -> bool:
        """Whether a producer that waits for room should go on."""
        return self.ended or self.inside() <= self.low_water or self.may_start_at_once()

    def inside(self) -> int:
        """What counts against `max_pending`."""
        waiting = len(self.waiting)
        return waiting + len(self.done) + self.held if self.order is None else waiting

    def may_start_at_once(self) -> bool:
        """Whether a slot is free for an item that comes now."""
        if self.waiting or self.ledger.free <= 0 or not self.may_run():
            return False
        if self.order is not None:
            return True
        return self.running + self.undelivered < self.max_pending + self.limit()


class Ledger:
    """The slots of a pool and the flows that share them, in turn."""

    __slots__ = ("free", "ring", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.free = slots  #: below 0 while more runs than a reduced number of slots
        self.ring: deque[FlowLedger] = deque()  # flows that may have something to start

    def accept(self, flow: FlowLedger, task: Task) -> int:
        """Take a task, or not; a FULL one was not."""
        if self.free > 0 and flow.may_start_at_once():
            flow.accepted += 1
            self._start(flow, task)
            self.free -= 1
            task.slot = True
            return STARTED
        if flow.inside() >= flow.max_pending:
            if flow.overflow == "block" or len(flow.done) > flow.max_pending + _MANY_DROPS:
                return FULL
            if flow.overflow == "error":
                raise Overflow(f"more than max_pending={flow.max_pending} items wait")
            flow.accepted += 1
            if flow.overflow == "drop_newest" or not flow.waiting:
                self._drop(flow, task)
                return DROPPED
            if (oldest := flow.pop_waiting()) is not None:
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
        while taken < len(tasks) and self.free > 0:
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
        ring = self.ring
        while ring:
            flow = ring[0]
            if flow.waiting and flow.may_run():
                if len(ring) > 1:
                    ring.rotate(-1)
                if (task := flow.pop_waiting()) is not None:
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
        flow.running -= 1
        task.running = False
        task.settled = True
        task.took = now - task.started
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
        while (task := flow.pop_waiting()) is not None:
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
            flow.running -= 1
            task.running = False
            task.took = max(0.0, now - getattr(task, "started", now))
            self.release(task)
            self._cancel(flow, task, reason, keep)
        return tasks

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
        if flow.order is not None:
            flow.order.append(task)
        task.running = True
        task.attempts += 1
        flow.tasks.add(task)
        return task

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
        if task.attempts == 0:
            flow.order.append(task)

    def _drop(self, flow: FlowLedger, task: Task) -> None:
        task.settled = True
        task.error = ItemDropped(
            f"dropped by overflow={flow.overflow!r}: "
            f"max_pending={flow.max_pending} items waited"
        )
        task.took = 0.0
        flow.dropped += 1
        if flow.keeps_drops:
            # Out of turn in input order too: it waited for nobody before it.
            flow.done.append(task)
