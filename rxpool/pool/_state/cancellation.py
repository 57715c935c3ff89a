"""`Cancellation`: how what waits and runs in a flow is given up."""

from rxpool.errors import TaskCancelled
from rxpool.pool._state.parts import Flow
from rxpool.pool._state.task import Task

__all__ = ("Cancellation",)


class Cancellation:
    """Gives up tasks of a flow.

    With *keep* their outcomes are to be fetched, else they are only counted.
    """

    __slots__ = ("_flow", "reason")

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        #: why all is cancelled, and whether outcomes are kept; None: it is not
        self.reason: tuple[str, bool] | None = None

    def withdraw(self, task: Task, reason: str) -> None:
        """Take a task that waits out."""
        flow = self._flow
        flow.waiting.remove(task)
        flow.results.remove(task)  # one that had to wait for a limit has its place
        self.cancel(task, reason, keep=False)

    def waiting(self, reason: str, keep: bool) -> None:
        """Cancel what waits; *keep* the outcomes to be fetched, else only count them."""
        flow = self._flow
        while (task := flow.pop_oldest()) is not None:
            self.cancel(task, reason, keep)
        for task in list(flow.parked):
            flow.parking.resume(task)
            flow.release_key(task)
            self.cancel(task, reason, keep)

    def running(self, reason: str, keep: bool, now: float) -> list[Task]:
        """Cancel what runs; answers the tasks whose work should be cut off."""
        flow = self._flow
        self.reason = reason, keep
        tasks: list[Task] = []
        while flow.tasks:
            try:
                tasks.append(flow.tasks.pop())
            except KeyError:  # a worker settled the last one
                break
        tasks.sort(key=lambda task: task.accepted)
        for task in tasks:
            flow.effects.attempted(task, "cancelled", None, now)
            if flow.hedging.cancelled(task):
                continue
            flow.stop(task)
            flow.release_key(task)
            flow.slots.release(task)
            self.cancel(task, reason, keep, now)
        # The slots of these are their workers', which go on; there is no work to cut off.
        for task in sorted(flow.uncommitted.copy(), key=lambda task: task.accepted):
            flow.effects.attempted(task, "cancelled", None, now)
            flow.stop(task)
            flow.release_key(task)
            self.cancel(task, reason, keep, now)
        return tasks

    def disown(self, task: Task) -> None:
        """Cancel a task that a worker took while the flow was being cancelled."""
        flow = self._flow
        assert self.reason is not None
        reason, keep = self.reason
        flow.slots.release(task)
        self.cancel(task, reason, keep)

    def cancel(self, task: Task, reason: str, keep: bool, now: float | None = None) -> None:
        """The end of one task; *now* if it ran."""
        flow = self._flow
        task.cancel(TaskCancelled(reason), now)
        flow.parking.forget(task)
        flow.counts.one_cancelled()
        flow.effects.settled(task)
        if keep:
            flow.place(task)
            flow.results.put(task)
