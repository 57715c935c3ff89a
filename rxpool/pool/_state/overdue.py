"""What is said of tasks that were not in time."""

from rxpool.errors import DeadlineExceeded, TaskTimeout
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.task import Task

__all__ = ("overdue_error", "why_late")


def why_late(task: Task, now: float) -> BaseException | None:
    """Why *task*, which has ended by itself, was not in time; None: it was."""
    limit = task.flow.times.missed(task, now)
    return None if limit is None else overdue_error(task.flow, limit)


def overdue_error(flow: FlowState, limit: str) -> BaseException:
    """For a task of *flow* that did not keep the ``"timeout"`` or the ``"deadline"``."""
    name = flow.binding.name
    if limit == "timeout":
        return TaskTimeout(f"{name}: ran longer than timeout={flow.times.timeout:g} s")
    return DeadlineExceeded(f"{name}: was not done within deadline={flow.times.deadline:g} s")
