"""`Parking`: tasks that wait for something else than a slot, and hold none meanwhile."""

from collections.abc import Sequence
from typing import Any, Final

from rxpool.pool._state.entries import Entries, halves
from rxpool.pool._state.flow_ledger import FlowLedger
from rxpool.pool._state.notes import REFUSED
from rxpool.pool._state.partly import Group
from rxpool.pool._state.task import NOT_YET, Task, again

__all__ = ("GO", "WAIT", "Parking", "Stored")

# What a flow's gate answers, unless it is the error with which an attempt fails.
GO: Final = "go"
WAIT: Final = "wait"


class Stored:
    """What a flow's gate answers if the result is known already."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value


class Parking(Entries):
    """Tasks that wait for a limit or for their next attempt, or whose failure is looked at."""

    __slots__ = ()

    def admits(self, flow: FlowLedger, task: Task) -> bool:
        """Whether *task*, which was taken out of what waits, may start."""
        verdict = flow.gate.admit(task)
        if verdict is GO:
            return True
        if verdict is WAIT:
            if flow.gate.apart:
                flow.results.place(task)
                flow.parked[task] = None  # others may pass it
            else:
                flow.waiting.appendleft(task)
                flow.holding = task
            return False
        if type(verdict) is Stored:
            flow.results.place(task)
            task.settled = True
            self._release_key(flow, task)
            self._succeed(flow, task, verdict.value)
            self.resolved.append(flow)
            return False
        if self.noting:
            self.notes.append((REFUSED, task, "", verdict, None))
        task.own().refused += 1
        self._suspend(flow, task, verdict)
        return False

    def wake(self, task: Task) -> None:
        """It is time for *task* to ask its gate again."""
        flow = task.flow
        if flow.holding is task:
            flow.holding = None
        elif task in flow.parked and not task.settled:
            self._unpark(flow, task)
            flow.waiting.appendleft(task)
        else:
            return
        flow.gate.leave(task)  # if there is no slot for it, others may pass
        self.enlist(flow)

    def try_again(self, task: Task) -> Task | None:
        """Another attempt is to be made of a task that failed; None: it was cancelled."""
        flow = task.flow
        if task not in flow.parked:
            return None
        other = again(task)
        self._unpark(flow, task)
        flow.parked[other] = None
        flow.results.replace(task, (other,))
        return other

    def restart(self, task: Task) -> None:
        """The wait for another attempt is over."""
        flow = task.flow
        if task in flow.parked:
            self._unpark(flow, task)
            flow.waiting.appendleft(task)
            self.enlist(flow)

    def conclude(self, task: Task, value: Any, error: BaseException | None) -> None:
        """What becomes of a task that failed is known: *error*, or *value* in its place."""
        flow = task.flow
        if task not in flow.parked:
            return
        self._unpark(flow, task)
        if error is not None and self._can_be_halved(task, error):
            self._exchange(task, halves(task))
            return
        self._release_key(flow, task)
        self.enlist(flow)  # another of its key may start
        if error is not None:
            self._fail(flow, task, error)
            return
        task.error = None
        self._succeed(flow, task, value)

    def divide(self, task: Task, groups: Sequence[Group]) -> list[Task] | None:
        """Some items of a batch that ran are to be tried again: the tasks for that.

        None: it was cancelled.
        """
        flow = task.flow
        if task not in flow.parked:
            return None
        self._unpark(flow, task)
        parts = [self._part(task, number, *group) for number, group in enumerate(groups)]
        flow.accepted += len(parts) - 1
        flow.results.replace(task, parts)
        repeated: list[Task] = []
        for part, (_, results) in zip(parts, groups, strict=True):
            if results is None:
                flow.parked[part] = None
                repeated.append(part)
            else:
                part.settled = True
                self._succeed(flow, part, results)
        return repeated

    def _part(
        self, task: Task, number: int, items: list[Any], results: list[Any] | None
    ) -> Task:
        """Some items of a batch as a task of their own."""
        part = again(task)
        part.item = items
        if task.rank is not NOT_YET:
            part.rank = *task.rank, number
        if task.flow.gate is not None:
            task.flow.gate.inherit(task, part)
        if results is not None:  # they are done: it tells of the attempt that was made
            part.own().spent = task.extra.spent
            part.took = task.took
            part.started = task.started
        return part

    def _succeed(self, flow: FlowLedger, task: Task, value: Any) -> None:
        """A task has a result without having run."""
        task.value = value
        flow.counted += 1
        if task.took is NOT_YET:
            task.took = 0.0
        if self.noting:
            self._note_end(task)
        flow.results.put(task)
