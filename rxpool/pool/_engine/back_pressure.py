"""`BackPressure`: producers that wait for room, and tasks that use their own pool."""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from rxpool._core.waits import can_wait, pass_gate
from rxpool._forks import gate as new_gate
from rxpool.errors import WouldBlock
from rxpool.pool._engine.binding import busy_here, here
from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("BackPressure",)

_DEEPEST: Final = 100  #: tasks that one thread may run inside one another


class BackPressure:
    """Lets producers wait without standing in their own way.

    A thread that works for the pool runs waiting tasks instead of waiting, where tasks run
    on threads; elsewhere it gives its slot up meanwhile.
    """

    def __init__(self, dispatcher: Dispatcher, perform: Callable[[Task], Task | None]) -> None:
        self._dispatcher = dispatcher
        self._registry = dispatcher.registry
        self._slots = dispatcher.slots
        self._perform = perform

    def on_room(self, flow: FlowState, resume: Callable[[], object]) -> bool:
        """Call *resume* once *flow* has room; False if it has."""
        with self._dispatcher.lock:
            return self._dispatcher.producers.wait(flow, resume)

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
            self._force(flow, task)
            return True
        if delivering and self._hold_back(flow, task):
            return True
        if self._registry.works_here():
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
        if not can_wait(self._dispatcher.clock):
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
                self._dispatcher.backend.waits()
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
        with self._dispatcher.lock:
            learnt: bool = learn(flow.binding)
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)
        if learnt:
            self._force(flow, task)
        return learnt

    def _force(self, flow: FlowState, task: Task) -> None:
        """Take *task* whether there is room or not."""
        with self._dispatcher.lock:
            if not flow.ended:
                self._slots.force(flow, task)
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)

    def _help(
        self, flow: FlowState, task: Task | None, stack: list[Task], what: str
    ) -> bool | None:
        """Make room by running a task here: whether that was *task*; None: wait after all."""
        traits = self._dispatcher.backend.traits
        if not (traits.runs_here or traits.helps):
            return None
        nested = any(
            busy.flow is flow and (busy.running is not False or not busy.settled)
            for busy in busy_here()
        )
        if len(stack) >= _DEEPEST:
            raise WouldBlock(
                f"{what}: {len(stack)} tasks of pool {self._registry.name!r} wait for one "
                "another on one thread; raise max_pending"
            )
        with self._dispatcher.lock:
            if flow.capacity.has_room():
                return False
            chosen = self._slots.take(flow, nested)
            if chosen is None and task is not None and not flow.capacity.max_pending:
                chosen = task if self._slots.start_directly(flow, task, nested) else None
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)
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
        if self._dispatcher.backend.traits.runs_here:
            self._perform(task)
        else:
            self._dispatcher.backend.help(task)

    def run_waiting(self, task: Task) -> None:
        """Run *task* here if this thread works for the pool and the task still waits.

        Where jobs run elsewhere, a caller that works for the pool gives its slot up instead.
        """
        if not self._registry.works_here():
            return
        if not self._dispatcher.backend.traits.runs_here:
            self.lend_all()
            return
        with self._dispatcher.lock:
            mine = self._slots.take_this(task)
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)
        if mine:
            self._run_extra(task)
        if not mine or task.flow.parked:
            self.make_way(task.flow)

    def run_one(self, flow: FlowState) -> bool:
        """Run a waiting task of *flow* here, if this thread works for the pool."""
        if not self._registry.works_here() or not self._dispatcher.backend.traits.runs_here:
            return False
        nested = any(busy.flow is flow and busy.running is not False for busy in here.stack)
        with self._dispatcher.lock:
            chosen = self._slots.take(flow, nested)
            pending = self._dispatcher.pending()
        self._dispatcher.carry_out(pending)
        if chosen is not None:
            self._perform(chosen)
        else:
            self.make_way(flow)
        return chosen is not None

    def make_way(self, flow: FlowState) -> None:
        """The caller is going to wait for *flow*, and has nothing of it to run meanwhile.

        What comes back from a wait for another attempt, or for a limit, finds a slot then.
        """
        if flow.policies is not None:
            self.give_way()

    def give_way(self) -> None:
        """The caller is going to wait: the tasks that it works for need no slot meanwhile."""
        if self._registry.works_here():
            self.lend_all()

    def lend_all(self) -> None:
        """The tasks that the caller works for need no slot any more."""
        for task in busy_here():
            if task.flow.slots is self._slots:
                self.lend(task)
        if any(busy.running is None or busy.settled for busy in here.stack):
            with suppress(WouldBlock):  # it does not say that it waits
                self.step_aside()

    def lend(self, task: Task) -> None:
        """*task* needs no slot any more."""
        with self._dispatcher.lock:
            runs = task.running and task.slot
            # One of a chunk has a slot when those before it are settled.
            will_run = task.running is False and task in task.flow.tasks
            if runs:
                self._slots.yield_slot(task)
            pending = self._dispatcher.pending()
        if runs or will_run:
            self._dispatcher.backend.lend((task,))
        self._dispatcher.carry_out(pending)

    def step_aside(self) -> None:
        """The caller's thread is going to wait: what it was to do for the pool, others do.

        That is what follows the result that it delivers, or the failure that it judges, and
        the slot of that.  A task that runs keeps its slot; `lend` is for those.

        Raises:
            WouldBlock: If others cannot.
        """
        self._dispatcher.backend.waits()
        if not here.stack:
            return  # it has nothing to do for a pool
        with self._dispatcher.lock:
            for task in here.stack:
                if task.slot and not task.running and task.flow.slots is self._slots:
                    self._slots.release(task)
            pending = self._dispatcher.pending()
        held = [cell.pop() for cell in here.held if cell and cell[0].flow.slots is self._slots]
        if held:
            self._dispatcher.start(held)
        self._dispatcher.carry_out(pending)
