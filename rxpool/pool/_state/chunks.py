"""`Chunks`: several tasks of a flow that are handed to a worker at once."""

from collections.abc import Sequence

from rxpool.pool._state.parts import Flow
from rxpool.pool._state.task import Task

__all__ = ("Chunks",)


class Chunks:
    """Tasks that run behind another in its slot: which these may be, and their places."""

    __slots__ = ("_flow",)

    def __init__(self, flow: Flow) -> None:
        self._flow = flow

    def pop_admitted(self, head: Task, most: int) -> list[Task]:
        """Up to so many tasks that may start behind *head*, each at its place."""
        flow = self._flow
        if flow.sorted is not None and flow.gate is None:
            return flow.sorted.pop_several(most)
        found: list[Task] = []
        capacity, leader = flow.capacity, head if head.may_lead else None
        for _ in range(most):
            full = not capacity.counts_once and capacity.to_start(capacity.limit()) <= 0
            if full or flow.parking.head is not None:
                break
            task = flow.pop_oldest() if flow.sorted is None else flow.pop_waiting()
            if task is None:
                break
            if flow.gate is None or flow.parking.admits(task):
                leader = self._place_behind(leader, task)
                found.append(task)
        return found

    def _place_behind(self, leader: Task | None, task: Task) -> Task | None:
        """*task* is in a lot that counts with *leader*, or by its own first: who that is now.

        Each lot counts, also where a worker that is never idle is handed one behind another.
        """
        flow = self._flow
        if not flow.results.ordered or task.placed:
            return leader
        if leader is None or not flow.capacity.counts_once:
            flow.results.place(task)
            return task
        leader.lead()
        flow.results.place(task, True)
        return leader

    def reserve(self, head: Task, chunk: Sequence[Task]) -> None:
        """Tasks are to run behind *head* in its slot."""
        flow = self._flow
        if flow.results.ordered:
            leader = head if head.may_lead else None
            for task in chunk:
                leader = self._place_behind(leader, task)
        flow.tasks.update(chunk)
        flow.count_reserved(len(chunk))

    def take_back(self, task: Task) -> None:
        """A task, running or reserved, was not begun: it is to start next."""
        flow = self._flow
        flow.tasks.remove(task)
        if flow.gate is not None:
            flow.gate.returned(task)
        flow.times.goes_on(task)
        ran = task.running
        flow.stop(task)
        if ran:
            task.did_not_begin()
            flow.slots.release(task)
        flow.waiting.appendleft(task)
        flow.mark_runnable()
