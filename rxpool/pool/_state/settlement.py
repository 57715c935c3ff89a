"""`Settlement`: how tasks end that do not run, or not any more."""

from collections.abc import Sequence
from typing import Any

from rxpool._core.causes import as_failure
from rxpool.pool._state.parts import Flow
from rxpool.pool._state.task import Task

__all__ = ("Settlement",)


class Settlement:
    """The end of tasks that `FlowState.settle` does not see."""

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
        if flow.sorted is not None:
            flow.sorted.split(task, parts)
        else:
            flow.waiting.extendleft(reversed(parts))  # type: ignore[union-attr]
        flow.results.replace(task, parts)
        flow.mark_runnable()
