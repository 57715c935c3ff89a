"""The books of a pool: what waits, runs and is done, and what may start next.

No clock, no thread, no Rx and no user code: the binding (`_engine`) calls this under its lock.
"""

from collections import deque
from typing import Any, Final

from rxpool.errors import ItemDropped, Overflow, TaskCancelled

__all__ = ("DROPPED", "FULL", "STARTED", "WAITING", "FlowLedger", "Ledger", "Part", "Task", "Withdrawn")

# What `Ledger.accept` answers.
STARTED: Final = 0  #: a slot is taken for the task; start it
WAITING: Final = 1  #: the task waits
DROPPED: Final = 2  #: the policy dropped the task itself; its outcome is in the books
FULL: Final = 3  #: not taken: the producer must wait

#: so many outcomes of dropped items may wait for a slow subscriber before the producer waits
_MANY_DROPS: Final = 1024


class Withdrawn(TaskCancelled):
    """The user took the item back at the moment when a worker took it."""


class Task:
    """One item on its way through a flow."""

    __slots__ = (
        "accepted",
        "attempts",
        "backend",
        "cancelled",
        "collected",
        "error",
        "flow",
        "item",
        "parts",
        "running",
        "settled",
        "slot",
        "started",
        "took",
        "value",
    )

    def __init__(self, flow: "FlowLedger", item: Any, now: float) -> None:
        self.flow = flow
        self.item = item
        self.accepted = now
        self.started = now
        self.took = 0.0
        self.attempts = 0
        self.running = False
        self.slot = False  # holds a slot of the pool
        self.settled = False
        self.cancelled = False
        self.value: Any = None
        self.error: BaseException | None = None
        self.parts: deque[Any] | None = None  # ordered: results so far of an Observable
        self.collected: list[Any] | None = None  # results of an Observable, kept together
        self.backend: Any = None  # what the backend remembers of it


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
    """

    __slots__ = (
        "accepted",
        "binding",
        "cancelled",
        "concurrency",
        "done",
        "dropped",
        "ended",
        "failed",
        "keeps_drops",
        "ledger",
        "listed",
        "max_pending",
        "max_reorder",
        "order",
        "overflow",
        "running",
        "succeeded",
        "tasks",
        "undelivered",
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
        self.waiting: deque[Task] = deque()
        #: in input order: all tasks that were started and not fetched, in that order
        self.order: deque[Task] | None = deque() if ordered else None
        #: in completion order: what can be fetched; in input order: what is out of turn
        self.done: deque[Any] = deque()
        self.tasks: set[Task] = set()  # running
        self.running = 0
        self.undelivered = 0  # done and not fetched
        self.listed = False
        self.ended = False
        self.binding: Any = None
        self.accepted = self.succeeded = self.failed = self.dropped = self.cancelled = 0

    @property
    def in_flight(self) -> int:
        """Accepted and not settled."""
        return len(self.waiting) + self.running

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
        if self.order is None:
            if len(self.waiting) + self.undelivered < self.max_pending:
                return True
        elif len(self.waiting) < self.max_pending:
            return True
        return self._may_start_at_once()

    def fetch(self) -> Any:
        """The next `Task` or `Part` to deliver, or None."""
        if self.done:
            self.undelivered -= 1
            return self.done.popleft()
        if self.order:
            head = self.order[0]
            if head.parts:
                self.undelivered -= 1
                return Part(head.parts.popleft())
            if head.settled:
                self.order.popleft()
                self.undelivered -= 1
                self.ledger.enlist(self)  # another may start
                return head
        return None

    def _may_start_at_once(self) -> bool:
        if self.waiting or self.ledger.free <= 0 or not self.may_run():
            return False
        if self.order is not None:
            return True
        return self.running + self.undelivered < self.max_pending + self.limit()


class Ledger:
    """The slots of a pool and the flows that share them, in turn."""

    __slots__ = ("_ring", "free", "slots")

    def __init__(self, slots: int) -> None:
        self.slots = slots
        self.free = slots  #: below 0 while more runs than a reduced number of slots
        self._ring: deque[FlowLedger] = deque()  # flows that have something to start

    @property
    def has_work(self) -> bool:
        """Whether a flow may have something to start."""
        return bool(self._ring)

    def accept(self, flow: FlowLedger, task: Task) -> int:
        """Take a task, or not; a FULL one was not."""
        if flow._may_start_at_once():
            flow.accepted += 1
            self._start(flow, task)
            self.free -= 1
            task.slot = True
            return STARTED
        waiting = len(flow.waiting)
        if flow.order is None:
            waiting += flow.undelivered
        if waiting >= flow.max_pending:
            if flow.overflow == "block" or len(flow.done) > flow.max_pending + _MANY_DROPS:
                return FULL
            if flow.overflow == "error":
                raise Overflow(f"more than max_pending={flow.max_pending} items wait")
            flow.accepted += 1
            if flow.overflow == "drop_newest" or not flow.waiting:
                self._drop(flow, task)
                return DROPPED
            self._drop(flow, flow.waiting.popleft())
        else:
            flow.accepted += 1
        flow.waiting.append(task)
        self.enlist(flow)
        return WAITING

    def next(self) -> Task | None:
        """Start a waiting task, flows taking turns, or None.  The slot is the caller's."""
        ring = self._ring
        while ring:
            flow = ring[0]
            if flow.waiting and flow.may_run():
                if len(ring) > 1:
                    ring.rotate(-1)
                return self._start(flow, flow.waiting.popleft())
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

        *nested*: the thread runs a task of the flow already, so that with the bound on
        threads the bound on running tasks is kept even so, unless the user set one.
        """
        if not flow.waiting:
            return None
        if not flow.may_run() and not (nested and flow.concurrency is None):
            return None
        return self._start(flow, flow.waiting.popleft())

    def start_directly(self, flow: FlowLedger, task: Task) -> bool:
        """Start a task that found no room on the thread that brings it; uses no slot."""
        if flow.waiting or not flow.may_run():
            return False
        flow.accepted += 1
        self._start(flow, task)
        return True

    def enlist(self, flow: FlowLedger) -> None:
        """Remember that *flow* may have something to start."""
        if not flow.listed and flow.waiting:
            flow.listed = True
            self._ring.append(flow)

    def settle(self, task: Task, value: Any, error: BaseException | None, now: float) -> bool:
        """Note how a running task ended; False if it was settled before (cancelled)."""
        if task.settled:
            return False
        flow = task.flow
        flow.running -= 1
        flow.tasks.discard(task)
        task.running = False
        task.took = now - task.started
        self._settle(flow, task, value, error)
        self.enlist(flow)
        return True

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
        flow.undelivered += 1
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
        while flow.waiting:
            self._cancel(flow, flow.waiting.popleft(), reason, keep)

    def cancel_running(self, flow: FlowLedger, reason: str, keep: bool, now: float) -> list[Task]:
        """Cancel what runs; answers the tasks whose work should be cut off."""
        tasks = sorted(flow.tasks, key=lambda task: task.started)
        flow.tasks.clear()
        for task in tasks:
            flow.running -= 1
            task.running = False
            task.took = now - task.started
            self.release(task)
            self._cancel(flow, task, reason, keep)
        return tasks

    def discard_done(self, flow: FlowLedger) -> None:
        """Forget what was not fetched."""
        flow.done.clear()
        if flow.order is not None:
            flow.order.clear()
        flow.undelivered = 0

    def resize(self, slots: int) -> None:
        """Change the number of slots; running tasks run on."""
        self.free += slots - self.slots
        self.slots = slots

    def _start(self, flow: FlowLedger, task: Task) -> Task:
        flow.running += 1
        flow.tasks.add(task)
        if flow.order is not None:
            flow.order.append(task)
        task.running = True
        task.attempts += 1
        return task

    def _settle(
        self, flow: FlowLedger, task: Task, value: Any, error: BaseException | None
    ) -> None:
        task.settled = True
        if error is None:
            task.value = value
            flow.succeeded += 1
        else:
            task.error = error
            if isinstance(error, Withdrawn):
                task.cancelled = True
                flow.cancelled += 1
            else:
                flow.failed += 1
        flow.undelivered += 1
        if flow.order is None:
            flow.done.append(task)

    def _cancel(self, flow: FlowLedger, task: Task, reason: str, keep: bool) -> None:
        task.settled = task.cancelled = True
        task.error = TaskCancelled(reason)
        flow.cancelled += 1
        if not keep:
            return
        flow.undelivered += 1
        if flow.order is None:
            flow.done.append(task)
        elif task.attempts == 0:
            flow.order.append(task)

    def _drop(self, flow: FlowLedger, task: Task) -> None:
        task.settled = True
        task.error = ItemDropped(
            f"dropped by overflow={flow.overflow!r}: max_pending={flow.max_pending} items waited"
        )
        flow.dropped += 1
        if not flow.keeps_drops:
            return
        flow.undelivered += 1
        # Out of turn in input order too: it waited for nobody before it.
        flow.done.append(task)
