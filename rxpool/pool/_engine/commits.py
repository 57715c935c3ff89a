"""`GroupCommit`: results are written to a journal many at a time, and then come out."""

from collections.abc import Sequence
from functools import partial
from typing import Any

from rxpool.pool._engine.binding import here
from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._state.commits import Unwritten
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("GroupCommit",)


class GroupCommit:
    """Has what several threads bring written in one transaction, and settles it then.

    A task whose function is done waits in the flow's `uncommitted`: it needs no slot, is in
    flight, and can be cancelled.  Of the threads that bring results one writes, the others go
    on with other tasks.  The engine's lock guards the state, and is not held while the file
    is written; nor is the queue's token while results are delivered.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def settle(self, task: Task, value: Any, row: Any) -> Task | None:
        """The function of *task* is done; answers the next one for its slot."""
        dispatcher, flow = self._dispatcher, task.flow
        now = dispatcher.now()
        with dispatcher.lock:
            waits = flow.commits.add(task, value, now)
        if waits:
            self.bring(flow, task, row)
        with dispatcher.lock:
            following = dispatcher.slots.pass_on(task)
            pending = dispatcher.pending()
        return dispatcher.conclude(task, None, following, pending)

    def bring(self, flow: FlowState, task: Task, row: Any) -> None:
        """Have the result of *task* written, now or with those of the next short tasks.

        A worker that has more to do need not write each by itself; if what it does next takes
        long, or fails, an alarm sees to those that wait.
        """
        queue = flow.policies.queue
        queue.put(task, row)
        if not (flow.waiting and queue.may_wait(task)) or self._dispatcher.clock.virtual:
            self.lead(flow)
        elif not queue.armed:
            self._arm(flow)

    def _arm(self, flow: FlowState) -> None:
        queue = flow.policies.queue
        due = queue.due()
        if due is not None:
            queue.armed = True
            self._dispatcher.clock.alarm(due, partial(self._ring, flow))

    def _ring(self, flow: FlowState, now: float) -> None:
        # First this, then the look: who brings something first puts it there, then looks
        # whether an alarm is set.
        queue = flow.policies.queue
        queue.armed = False
        due = queue.due()
        if due is not None and due <= now:
            self.lead(flow)
        else:
            self._arm(flow)

    def lead(self, flow: FlowState) -> None:
        """Write what waits, and settle it, unless another thread does."""
        policies = flow.policies
        queue = policies.queue
        while (group := queue.claim()) is not None:
            try:
                errors = policies.write([row for _, row in group])
            finally:
                queue.written()
            self._settle(flow, group, errors)

    def _settle(
        self, flow: FlowState, group: Sequence[Unwritten], errors: Sequence[Any] | None
    ) -> None:
        """These were written, unless *errors* say why not; some were cancelled meanwhile."""
        tasks = [task for task, _ in group]
        binding = flow.binding
        if errors is None and binding.emit_lock_free is not None:
            self._settle_lock_free(flow, tasks)
            return
        dispatcher = self._dispatcher
        with dispatcher.lock:
            for place, task in enumerate(tasks):
                error = None if errors is None else errors[place]
                flow.settle(task, task.value, error, task.started + task.took)
            entry = binding.begin_delivery()
            pending = dispatcher.pending()
        dispatcher.carry_out(pending)
        dispatcher.deliver(binding, entry)

    def _settle_lock_free(self, flow: FlowState, tasks: Sequence[Task]) -> None:
        """All is well: deliver the results without the lock, as `ThreadRunner` does."""
        dispatcher, binding = self._dispatcher, flow.binding
        telemetry = dispatcher.telemetry
        cell = [0]
        with dispatcher.lock:
            good = flow.commits.committed(tasks)
            flow.counts.local.append(cell)
            pending = dispatcher.pending()
        dispatcher.carry_out(pending)
        gate = flow.policies
        for task in good:
            if gate.policies.breaker is not None:
                gate.good(task, task.started + task.took)
            if telemetry.measuring:
                telemetry.succeeded(task, task.started + task.took)
        here.flows.append(flow)
        here.depths.append(len(here.stack))
        try:
            binding.emit_many(good, cell)
        finally:
            here.flows.pop()
            here.depths.pop()
        with dispatcher.lock:
            flow.counts.close(cell)
            flow.commits.delivered(good)
            entry = binding.begin_delivery()
            pending = dispatcher.pending()
        dispatcher.carry_out(pending)
        dispatcher.deliver(binding, entry)
