"""`Parking`: tasks that wait for something else than a slot, and hold none meanwhile."""

from collections.abc import Sequence
from typing import Any

from rxpool.pool._state.batches import Group, can_be_halved, halves, part_of
from rxpool.pool._state.parts import Flow
from rxpool.pool._state.task import Task, again
from rxpool.pool._state.verdicts import START, WAIT, Known

__all__ = ("Parking",)


class Parking:
    """Tasks that wait for a limit or for their next attempt, or whose failure is looked at."""

    __slots__ = ("_flow", "head", "tasks")

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        #: what waits here, and what sets off that wait's end
        self.tasks: dict[Task, Any] = {}
        self.head: Task | None = None  #: waits for the gate, and all others behind it

    def held_by_limit(self) -> bool:
        """Whether an item that may start waits for a limit."""
        if self.head is not None:
            return True
        gate = self._flow.gate
        apart = gate is not None and gate.per_key
        return apart and any(task.extra.asked is not None for task in self.tasks)

    def admits(self, task: Task) -> bool:
        """Whether the gate lets *task*, which was taken out of what waits, start."""
        flow = self._flow
        verdict = flow.gate.admit(task)
        if verdict is START:
            return True
        if verdict is WAIT:
            if flow.gate.per_key:
                flow.place(task)
                self.tasks[task] = None  # others may pass it
            else:
                flow.waiting.appendleft(task)
                self.head = task
            return False
        if type(verdict) is Known:
            flow.place(task)
            flow.settlement.succeed(task, verdict.value)
            flow.release_key(task)
            flow.effects.deliverable.append(flow)
            return False
        flow.effects.refused(task, verdict)
        task.own().refused += 1
        self.suspend(task, verdict)
        return False

    def suspend(self, task: Task, error: BaseException, now: float | None = None) -> None:
        """A task has failed: out of the lock it is found out whether that is its end.

        *now* if it ran.
        """
        flow = self._flow
        self.tasks[task] = None
        flow.effects.failed.append((task, task.fail(error, now)))
        flow.place(task)
        flow.mark_runnable()

    def resume(self, task: Task) -> None:
        """A task waits for nothing special any more."""
        alarm = self.tasks.pop(task)
        if alarm is not None:
            self._flow.effects.later.append(alarm.dispose)

    def forget(self, task: Task) -> None:
        """The gate need not think of a task any more."""
        flow = self._flow
        if flow.gate is not None:
            flow.gate.cancelled(task)
            if self.head is task:
                self.head = None
                flow.mark_runnable()

    def wake(self, task: Task) -> None:
        """It is time for *task* to ask its gate again."""
        flow = self._flow
        if self.head is task:
            self.head = None
        elif task in self.tasks and not task.settled:
            self.resume(task)
            flow.waiting.appendleft(task)
        else:
            return
        flow.gate.leave(task)  # if there is no slot for it, others may pass
        flow.mark_runnable()

    def passed(self, task: Task) -> None:
        """A worker took *task*, with a permit, when it had just begun to wait for the gate."""
        flow = self._flow
        flow.gate.passed(task)
        if self.head is task:
            self.head = None
            flow.mark_runnable()

    def next_attempt(self, task: Task) -> Task | None:
        """Another attempt is to be made of a task that failed; None: it was cancelled."""
        if task not in self.tasks:
            return None
        other = again(task)
        self.resume(task)
        self.tasks[other] = None
        self._flow.results.replace(task, (other,))
        return other

    def requeue(self, task: Task) -> None:
        """The wait for another attempt is over."""
        if task in self.tasks:
            self.resume(task)
            self._flow.waiting.appendleft(task)
            self._flow.mark_runnable()

    def resolve(self, task: Task, value: Any, error: BaseException | None) -> None:
        """What becomes of a task that failed is known: *error*, or *value* in its place."""
        if task not in self.tasks:
            return
        flow = self._flow
        self.resume(task)
        if error is not None and can_be_halved(task, error):
            flow.settlement.exchange(task, halves(task))
            return
        if error is not None:
            flow.settlement.fail(task, error)
        else:
            flow.settlement.succeed(task, value)
        flow.release_key(task)  # only now: who takes the next one may not need the lock
        flow.mark_runnable()

    def fail(self, task: Task, error: BaseException) -> bool:
        """A task that waits, here or for a slot, has failed; False if it does not any more."""
        flow = self._flow
        if task.settled:
            return False
        if task in self.tasks:
            self.resume(task)
            flow.release_key(task)
        else:
            try:
                flow.waiting.remove(task)
            except (ValueError, KeyError):  # a worker has taken it, which needs no lock
                return False
        self.forget(task)
        if flow.policies is not None:
            task.own().unclaimed = True
            self.suspend(task, error)
        else:
            flow.settlement.fail(task, error)
        return True

    def divide(self, task: Task, groups: Sequence[Group]) -> list[Task] | None:
        """Some items of a batch that ran are to be tried again: the tasks for that.

        None: it was cancelled.
        """
        if task not in self.tasks:
            return None
        flow = self._flow
        self.resume(task)
        parts = [part_of(task, number, *group) for number, group in enumerate(groups)]
        flow.counts.divided(len(parts))
        flow.results.replace(task, parts)
        repeated: list[Task] = []
        for part, (_, results) in zip(parts, groups, strict=True):
            if results is None:
                self.tasks[part] = None
                repeated.append(part)
            else:
                flow.settlement.succeed(part, results)
        return repeated
