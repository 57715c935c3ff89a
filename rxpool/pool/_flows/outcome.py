"""The record of what became of a task."""

from typing import Any

from rxpool.outcomes import Failure, Outcome, Success
from rxpool.pool._engine.binding import NO_VALUE
from rxpool.pool._state.task import NOT_YET, Task

__all__ = ("outcome_of",)


def outcome_of(task: Task, now: float) -> Outcome[Any, Any]:
    """The record of a settled task."""
    started, spent = task.started, task.extra.spent
    if started is NOT_YET and task.error is not None and spent is None:
        task.not_attempted()  # it was going to start, no more
    spent = spent or 0.0  # by attempts before the last
    waited = (now if started is NOT_YET else started) - task.accepted - spent
    took = task.took + spent
    if task.error is None:
        value = task.extra.collected if task.value is NO_VALUE else task.value
        return Success(task.item, value, task.attempts, waited, took)
    return Failure(task.item, task.error, task.attempts, waited, took)
