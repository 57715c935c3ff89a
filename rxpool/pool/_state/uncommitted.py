"""`Uncommitted`: tasks that are done, but for the result's way into a journal."""

from collections.abc import Sequence
from typing import Any

from rxpool.pool._state.parts import Flow
from rxpool.pool._state.task import Task

__all__ = ("Uncommitted",)


class Uncommitted:
    """Tasks whose functions are done and whose results are to be written.

    Workers add to `tasks` without the engine's lock.
    """

    __slots__ = ("_flow", "tasks")

    def __init__(self, flow: Flow) -> None:
        self._flow = flow
        self.tasks: set[Task] = set()

    def add(self, task: Task, value: Any, now: float) -> bool:
        """Its function is done, and the result is to be written; False: it was cancelled.

        It needs no slot any more, and is in flight until it is settled.
        """
        flow = self._flow
        try:
            flow.tasks.remove(task)
        except KeyError:
            return False
        flow.stop(task)
        task.await_commit(value, now)
        self.tasks.add(task)
        flow.mark_runnable()
        return True

    def committed(self, tasks: Sequence[Task]) -> list[Task]:
        """These were written: those that were not cancelled succeed, and are to be delivered.

        They count as inside until that is done, see `delivered`.
        """
        waiting = self.tasks
        good = [task for task in tasks if task in waiting]
        waiting.difference_update(good)
        for task in good:
            task.committed()
        self._flow.count_reserved(len(good))
        return good

    def delivered(self, tasks: Sequence[Task]) -> None:
        """What was `committed` has come out."""
        flow = self._flow
        flow.count_reserved(-len(tasks))
        if flow.sorted is not None:
            for task in tasks:  # only now, for the order of results of one key
                flow.sorted.release(task)
        flow.mark_runnable()
