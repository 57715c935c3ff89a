"""`Settlement`: how tasks end that do not run, or not any more, or fail."""

from collections.abc import Sequence
from typing import Any

from rxpool._core.causes import as_failure
from rxpool.pool._state.batches import can_be_halved, halves
from rxpool.pool._state.parts import Flow
from rxpool.pool._state.task import Task, Withdrawn

__all__ = ("Settlement",)


class Settlement:
    """The end of tasks, but for those that run and succeed: that is in `FlowState.settle`."""

    __slots__ = ("_flow",)

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def succeed(self, task: Task, value: Any) -> None:
        """A task has a result without an attempt, or in the place of one that failed."""
        flow = self._flow
        task.succeed(value)
        flow.counts.one_succeeded()
        flow.effects.settled(task)
        flow.results.put(task)

    def fail(self, task: Task, error: BaseException) -> None:
        """A task has failed for good."""
        flow = self._flow
        task.fail(as_failure(error))
        task.took_no_time()
        flow.counts.one_failed()
        flow.effects.settled(task)
        flow.place(task)
        flow.results.put(task)

    def attempt_failed(self, task: Task, reason: BaseException, now: float) -> None:
        """A task that ran has failed; policies or another run may still help."""
        flow = self._flow
        error = as_failure(reason)
        withdrawn = isinstance(error, Withdrawn)
        if not withdrawn and flow.effects.recording:
            flow.effects.attempted(task, "failure", error, now)
        if flow.times.hedge is not None and flow.hedging.lost_a_run(task, error, now):
            return
        if task.running is False:
            task.ran_behind()
        flow.stop(task)
        if flow.policies is not None and not withdrawn:
            flow.parking.suspend(task, error, now)
            return
        if can_be_halved(task, error):
            task.give_up()
            self.exchange(task, halves(task))
            return
        if withdrawn:
            task.cancel(error, now)
            flow.counts.one_cancelled()
        else:
            task.fail(error, now)
            flow.counts.one_failed()
        flow.effects.settled(task)
        flow.results.put(task)
        flow.release_key(task)
        flow.mark_runnable()

    def refuse(self, task: Task, error: BaseException) -> None:
        """An item failed before it could wait for anything; not in input order."""
        self._flow.counts.one_more()
        self.fail(task, error)

    def drop(self, task: Task) -> None:
        """The overflow policy gives a task up."""
        flow = self._flow
        flow.parking.forget(task)
        task.fail(flow.capacity.why_dropped())
        task.took_no_time()
        flow.counts.one_dropped()
        flow.effects.settled(task, "dropped")
        flow.results.remove(task)  # a part of a batch has a place
        if flow.emits_drops:
            # Out of turn in input order too: it waited for nobody before it.
            flow.results.done.append(task)

    def exchange(self, task: Task, parts: Sequence[Task]) -> None:
        """A task is given up for others, which are to start next, in its place."""
        flow = self._flow
        flow.counts.divided(len(parts))
        flow.results.replace(task, parts)  # first: workers take what waits without the lock
        if flow.sorted is not None:
            flow.sorted.split(task, parts)
        else:
            flow.waiting.extendleft(reversed(parts))  # type: ignore[union-attr]
        flow.mark_runnable()
