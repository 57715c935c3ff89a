"""`Timeouts`: attempts that run too long, and items that are not done in time."""

from reactivex.disposable import SingleAssignmentDisposable

from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.overdue import overdue_error
from rxpool.pool._state.task import Task

__all__ = ("Timeouts",)


class Timeouts:
    """Ends tasks whose ``timeout`` or ``deadline`` is over.

    A flow has one alarm, not one for each task: it is set for the first task that may be
    due, and looks for the next one when it rings.
    """

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher

    def watch(self, flow: FlowState) -> None:
        """Tasks of *flow* came in or started: see that its alarm is set."""
        with self._dispatcher.lock:
            if flow.times.armed:
                return
            now = self._dispatcher.now()
            due = flow.times.next_due(now)
            if due is None:
                return
            flow.times.armed = True
            # `forget` may dispose it from now on; it may also ring before it is all set.
            flow.times.alarm = alarm = SingleAssignmentDisposable()
        alarm.disposable = self._dispatcher.clock.alarm(due, lambda now: self._ring(flow, now))

    def _ring(self, flow: FlowState, now: float) -> None:
        # First this, then the look: a worker first starts a task, then looks whether an
        # alarm is set.
        flow.times.armed = False
        ended: list[Task] = []
        seconds: list[Task] = []
        far: list[tuple[Task, BaseException]] = []
        self._dispatcher.backend.look_at(flow.tasks.copy())
        with self._dispatcher.lock:
            for task, limit in flow.times.overdue(now):
                if limit == "hedge":
                    if (other := task.flow.hedging.start(task, now)) is not None:
                        seconds.append(other)
                    continue
                if (
                    self._dispatcher.waits_out
                    and task in flow.tasks
                    and task.extra.inner is None
                ):
                    flow.times.end(task)  # which says so when its function has returned
                    continue
                error = overdue_error(flow, limit)
                if task in flow.tasks and self._dispatcher.backend.traits.ends_itself:
                    flow.times.end(task)
                    far.append((task, error))
                elif task.flow.settle(task, None, error, now):
                    self._dispatcher.slots.release(task)
                    ended.append(task)
                else:
                    task.flow.parking.fail(task, error)
            entry = flow.binding.begin_delivery()
            pending = self._dispatcher.pending()
        for task, error in far:
            self._dispatcher.backend.end(task, error)
        self._dispatcher.abandon(ended)
        if seconds:
            self._dispatcher.start(seconds)
        self._dispatcher.carry_out(pending)
        self.watch(flow)
        self._dispatcher.deliver(flow.binding, entry)
