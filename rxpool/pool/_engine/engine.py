"""`Engine`: opens flows, and lets producers wait without standing in their own way."""

import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any, Final

from rxpool._core.inlet import Node, stages
from rxpool._core.reach import Way, way_at_end
from rxpool._core.waits import can_wait, pass_gate
from rxpool._forks import afresh, heed
from rxpool._forks import gate as new_gate
from rxpool.backends import Backend
from rxpool.errors import PoolClosed, WouldBlock
from rxpool.pool._engine.awaitables import Awaitables
from rxpool.pool._engine.binding import busy_here, here
from rxpool.pool._engine.chunk_runner import ChunkRunner
from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._engine.failures import FailureHandler
from rxpool.pool._engine.graph import Graph
from rxpool.pool._engine.runner import Runner
from rxpool.pool._engine.thread_runner import ThreadRunner
from rxpool.pool._engine.timeouts import Timeouts
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("Engine",)

_DEEPEST: Final = 100  #: tasks that one thread may run inside one another


class Engine(Dispatcher):
    """All that the pool's flows, calls and iterators need of a state and a backend.

    Put together of parts, each in its own file: a `Dispatcher` (which it is) with its books,
    `Timeouts`, the `FailureHandler`, and the `Runner` that its backend calls.  Here is what
    a task does that uses its own pool.
    """

    def __init__(self, name: str, slots: int, backend: Backend) -> None:
        super().__init__(name, slots, backend)
        self.graph = Graph()
        self._resizing = afresh(threading.Lock())
        # What sources are subscribed with, unless the subscriber says: virtual time.  On a
        # scheduler of threads a source that has to wait would take one away from the work.
        self.default_scheduler = backend.scheduler if backend.clock.virtual else None
        self.timeouts = Timeouts(self)
        self.failures = FailureHandler(self)
        awaitables = Awaitables(self, self.timeouts)
        threads = ThreadRunner(self, self.timeouts, awaitables)
        self._perform = threads.perform
        chunks = ChunkRunner(self, self.timeouts, awaitables)
        self.runner = Runner(self, threads, chunks, self.lend, self.lost)
        backend.bind(self.runner, slots)
        heed(self)

    def resize(self, slots: int) -> None:
        """Have another number of slots."""
        with self._resizing:  # the backend and the books agree on who came last
            self.backend.resize(slots)
            with self.lock:
                self.slots.resize(slots)
                for binding in self.flows:
                    binding.state.mark_runnable()
                chores = self.chores()
        self.carry_out(chores)

    def open(self, binding: Any, lend: bool = True, waits: bool = False) -> None:
        """Take a flow in; refused when the pool is closing.

        A flow that a task of this pool opens belongs to that task.  The task may wait for
        it in ways that cannot be seen, so unless the flow helps itself (*lend* is False)
        the task gives its slot up.  So does a subscriber that is being given a result.
        With *waits* the caller's thread is known to wait.

        Raises:
            PoolClosed: If the pool is closing.
            WouldBlock: If *waits*, and that would not come to an end.
        """
        # One that what was accepted opens while the pool closes is not cut short either.
        nested = self.works_here() or (self.closing and self.brings_here())
        self.meter.look()
        if waits:
            self.step_aside()
        with self.lock:
            self.check_open()
            self.enter(binding, nested)
        if nested and lend:
            self._lend_all()

    def look_below(self, flow: Node) -> Way | None:
        """*flow* is about to end: where its items went.

        A closing pool is to wait for stages there.  Most are known since they were subscribed;
        one of a second subscriber of `share` is not.
        """
        way = way_at_end(flow)
        if len(stages) > len(self.tails):
            for tail in Graph().tails([flow]):
                self.wait_for(tail)
        return way

    def give_way(self) -> None:
        """The caller is going to wait: the tasks that it works for need no slot meanwhile."""
        if self.works_here():
            self._lend_all()

    def _lend_all(self) -> None:
        """The tasks that the caller works for need no slot any more."""
        for task in busy_here():
            if task.flow.slots is self.slots:
                self.lend(task)
        if any(busy.running is None or busy.settled for busy in here.stack):
            with suppress(WouldBlock):  # it does not say that it waits
                self.step_aside()

    def lend(self, task: Task) -> None:
        """*task* needs no slot any more."""
        with self.lock:
            runs = task.running and task.slot
            # One of a lot has a slot when those before it are settled.
            will_run = task.running is False and task in task.flow.tasks
            if runs:
                self.slots.yield_slot(task)
            chores = self.chores()
        if runs or will_run:
            self.backend.lend((task,))
        self.carry_out(chores)

    def lost(self, reason: str) -> None:
        """No task will run any more: settle everything as cancelled."""
        with self.lock:
            self.lifecycle.enter("terminated")
            flows = list(self.flows)
            guests = list(self.guests)
        error = PoolClosed(reason)
        self.cancel(flows, error)
        for guest in guests:
            guest.abort(error)

    def cancel(self, flows: Sequence[Any], error: Exception) -> None:
        """Settle everything in *flows* as cancelled; streams end with *error*."""
        reason = str(error)
        fed = self.graph.fed(flows)
        with self.lock:  # all at once: what one lets go of is not taken by another
            before = self.sums().sums["cancelled"]
            for flow in flows:
                flow.condemn(error, flow in fed)
        for flow in flows:
            self.backend.look_at(flow.state.tasks.copy())  # outcomes say what ran
            flow.terminate(reason)
        with self.lock:
            cancelled = self.sums().sums["cancelled"] - before
        if cancelled:
            self.meter.chronicle.terminated(reason, cancelled)

    def wait_for_room(self, flow: FlowState, task: Task, what: str) -> bool:
        """Wait until *flow* has room, or has taken *task* without (True).

        A thread that works for this pool runs waiting tasks instead of waiting.  One that
        gives the subscriber a result of this flow, or of one further down, cannot wait at
        all: the results that fill the flow come out behind the one in its hands.  One that
        brings the result of another flow leaves it here, and that flow waits from then on.
        """
        stack = here.stack
        delivering = here.flows + [busy.flow for busy in stack if busy.settled]
        if delivering and flow.binding.leads_to(delivering):
            with self.lock:
                if not flow.ended:
                    self.slots.force(flow, task)
                chores = self.chores()
            self.carry_out(chores)
            return True
        if delivering and self._hold_back(flow, task):
            return True
        if self.works_here():
            try:
                helped = self._help(flow, task, stack, what)
            except WouldBlock:
                if not flow.capacity.had_room():
                    raise
                # There was room when the source looked.
                self._force(flow, task)
                return True
            if helped is not None:
                return helped
            self.make_way(flow)
        if not can_wait(self.clock):
            if flow.capacity.had_room():
                # There was room when the source looked; then a task ended meanwhile.
                self._force(flow, task)
                return True
            advice = (
                "write 'await pool.submit_async(...)', which waits for room, or "
                if what == "submit"
                else "read the source with pool.pull, choose overflow='drop_oldest' or "
                "'drop_newest', or "
            )
            raise WouldBlock(
                f"{what}: {flow.capacity.max_pending} items wait already (max_pending), and "
                "this thread cannot wait (virtual time, or a running event loop); "
                f"{advice}raise max_pending"
            )
        gate = new_gate()
        if self.on_room(flow, gate.release):
            if here.stack:
                self.backend.waits()
            pass_gate(gate)
        return False

    def _hold_back(self, flow: FlowState, task: Task) -> bool:
        """Take a result of another flow without room, but let that flow wait from now on.

        It waits without a thread.  One that waited here might keep others from delivering
        what makes room, by a lock that an operator in between holds.
        """
        feeder = here.delivers()
        learn = None if feeder is None else getattr(feeder.binding, "learn", None)
        if learn is None:
            return False  # calls and iterators feed nothing
        with self.lock:
            learnt: bool = learn(flow.binding)
        if learnt:
            self._force(flow, task)
        return learnt

    def _force(self, flow: FlowState, task: Task) -> None:
        """Take *task* whether there is room or not."""
        with self.lock:
            if not flow.ended:
                self.slots.force(flow, task)
            chores = self.chores()
        self.carry_out(chores)

    def _help(
        self, flow: FlowState, task: Task | None, stack: list[Task], what: str
    ) -> bool | None:
        """Make room by running a task here: whether that was *task*; None: wait after all."""
        if not (self.backend.traits.runs_here or self.backend.traits.helps):
            return None
        nested = any(
            busy.flow is flow and (busy.running is not False or not busy.settled)
            for busy in busy_here()
        )
        if len(stack) >= _DEEPEST:
            raise WouldBlock(
                f"{what}: {len(stack)} tasks of pool {self.name!r} wait for one another on one "
                "thread; raise max_pending"
            )
        with self.lock:
            if flow.capacity.has_room():
                return False
            chosen = self.slots.take(flow, nested)
            if chosen is None and task is not None and not flow.capacity.max_pending:
                chosen = task if self.slots.start_directly(flow, task, nested) else None
            chores = self.chores()
        self.carry_out(chores)
        if chosen is not None:
            self._run_extra(chosen)
            return chosen is task
        blocker = flow.binding.blocker()
        if blocker is not None and blocker is not flow:
            return False if self._help(blocker, None, stack, what) is not None else None
        if nested:
            raise WouldBlock(
                f"{what}: a task waits for room in its own flow, which may run no more tasks; "
                "raise max_pending or concurrency"
            )
        return None

    def _run_extra(self, task: Task) -> None:
        """Run a task that holds no slot, as this thread waits for it or its like."""
        if self.backend.traits.runs_here:
            self._perform(task)
        else:
            self.backend.help(task)

    def run_waiting(self, task: Task) -> None:
        """Run *task* here if this thread works for the pool and the task still waits.

        Where jobs run elsewhere, a caller that works for the pool gives its slot up instead.
        """
        if not self.works_here():
            return
        if not self.backend.traits.runs_here:
            self._lend_all()
            return
        with self.lock:
            mine = self.slots.take_this(task)
            chores = self.chores()
        self.carry_out(chores)
        if mine:
            self._run_extra(task)
        if not mine or task.flow.parked:
            self.make_way(task.flow)

    def make_way(self, flow: FlowState) -> None:
        """The caller is going to wait for *flow*, and has nothing of it to run meanwhile.

        What comes back from a wait for another attempt, or for a limit, finds a slot then.
        """
        if flow.policies is not None:
            self.give_way()

    def run_one(self, flow: FlowState) -> bool:
        """Run a waiting task of *flow* here, if this thread works for the pool."""
        if not self.works_here() or not self.backend.traits.runs_here:
            return False
        nested = any(busy.flow is flow and busy.running is not False for busy in here.stack)
        with self.lock:
            chosen = self.slots.take(flow, nested)
            chores = self.chores()
        self.carry_out(chores)
        if chosen is not None:
            self._perform(chosen)
        else:
            self.make_way(flow)
        return chosen is not None
