"""`Limits`: attempts that run too long, and items that are not done in time."""

from reactivex.disposable import SingleAssignmentDisposable

from rxpool.errors import DeadlineExceeded, TaskTimeout
from rxpool.pool._judging import Judging
from rxpool.pool._ledger import FlowLedger, Task

__all__ = ("Limits",)


class Limits(Judging):
    """Ends tasks whose ``timeout`` or ``deadline`` is over.

    A flow has one alarm, not one for each task: it is set for the first task that may be
    due, and looks for the next one when it rings.
    """

    def watch(self, flow: FlowLedger) -> None:
        """Tasks of *flow* came in or started: see that its alarm is set."""
        with self.lock:
            if flow.armed:
                return
            now = self.now()
            due = flow.next_due(now)
            if due is None:
                return
            flow.armed = True
            # `forget` may dispose it from now on; it may also ring before it is all set.
            flow.alarm = alarm = SingleAssignmentDisposable()
        alarm.disposable = self.clock.alarm(due, lambda now: self._ring(flow, now))

    def _ring(self, flow: FlowLedger, now: float) -> None:
        # First this, then the look: a worker first starts a task, then looks whether an
        # alarm is set.
        flow.armed = False
        ended: list[Task] = []
        seconds: list[Task] = []
        far: list[tuple[Task, BaseException]] = []
        self.backend.look_at(flow.tasks.copy())
        with self.lock:
            for task, limit in flow.overdue(now):
                if limit == "hedge":
                    if (other := self.ledger.hedge(task, now)) is not None:
                        seconds.append(other)
                    continue
                error = self._error(flow, limit)
                if task in flow.tasks and self.backend.ends_itself:
                    task.ending = True
                    far.append((task, error))
                elif self.ledger.settle(task, None, error, now):
                    self.ledger.release(task)
                    ended.append(task)
                else:
                    self.ledger.fail_waiting(task, error)
            entry = flow.binding.claim()
            chores = self.chores()
        for task, error in far:
            self.backend.end(task, error)
        self.cut_off(ended)
        if seconds:
            self.start(seconds)
        self.carry_out(chores)
        self.watch(flow)
        self.deliver(flow.binding, entry)

    def _error(self, flow: FlowLedger, limit: str) -> BaseException:
        name = flow.binding.name
        if limit == "timeout":
            return TaskTimeout(f"{name}: ran longer than timeout={flow.timeout:g} s")
        return DeadlineExceeded(f"{name}: was not done within deadline={flow.deadline:g} s")
