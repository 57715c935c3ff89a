"""`Lots`: what backends call that run tasks elsewhere, several in one go."""

from collections.abc import Callable, Sequence
from typing import Any

from rxpool.backends import SEVERAL
from rxpool.pool._binding import NO_VALUE, TaskHandle, here
from rxpool.pool._following import Following
from rxpool.pool._ledger import Task

__all__ = ("Lots",)


class Lots(Following):
    """Tasks that run where the books are not, be it another process or an event loop.

    The first task of a lot holds the slot.  As tasks of the lot end, the slot goes on to the
    next one; when all have ended, to another task.
    """

    #: what `current_task` needs of a task
    handle = TaskHandle

    def begin(self, task: Task) -> tuple[Callable[[Any], Any], Any] | None:
        """A slot is about to run *task*: the function and its argument.

        None if the task was cancelled; its slot is free then.
        """
        if task.settled:
            return None
        if self.meter.heard:
            self.meter.starting(task)
        job: tuple[Callable[[Any], Any], Any] = task.flow.binding.job(task)
        return job

    def started(self, task: Task, at: float | None) -> None:
        """*task* runs since *at*; None: it is going to run, `Backend.look_at` tells."""
        if at is not None:
            task.started = at
        flow = task.flow
        if flow.watched and not flow.armed:
            self.watch(flow)

    def function(self, task: Task) -> Callable[..., Any]:
        """The user's function that *task* calls."""
        function: Callable[..., Any] = task.flow.binding.function(task)
        return function

    def stack(self) -> list[Task]:
        """The tasks that this thread is busy with, innermost last."""
        return here.stack

    def failed(self, task: Task, error: BaseException) -> None:
        """Note why *task* is going to fail, unless it was cancelled meanwhile."""
        with self.lock:
            if not task.settled:
                task.error = error

    def allot(self, task: Task, most: int, fairly: bool = True) -> list[Task]:
        """More tasks for the slot of *task*, to be run after it."""
        with self.lock:
            lot = self.ledger.allot(task, most, fairly)
            chores = self.chores()
        self.carry_out(chores)
        return lot

    def give_back(self, lot: Sequence[Task]) -> None:
        """These were not run, and are not going to be in this slot."""
        with self.lock:
            self.ledger.give_back(lot)
            chores = self.chores()
        self.carry_out(chores)

    def finish(
        self,
        tasks: Sequence[Task],
        rest: Sequence[Task],
        go_on: Callable[[Task | None], object],
    ) -> None:
        """The first tasks of a lot ended, with a value or an error; *rest* follow in the slot.

        If none does, *go_on* is given another task for the slot, or None; then the results
        are delivered.
        """
        head = tasks[0]
        flow = head.flow
        binding = flow.binding
        stack = here.stack
        stack.append(head)
        try:
            if binding.swift is not None and self._all_good(tasks):
                self._finish_swiftly(tasks, rest, go_on, stack)
                return
            now = self.now()
            if flow.gate is not None:
                for task in tasks:
                    if task.error is None and not task.settled:
                        value = self._several(task) if task.value is SEVERAL else task.value
                        task.error = flow.gate.keep(task, value)
            with self.lock:
                for task in tasks:
                    value = task.value if task.error is None else None
                    if value is SEVERAL:
                        value = self._several(task)
                    ended = task.started + task.took if hasattr(task, "took") else now
                    self.ledger.settle(task, value, task.error, ended)
                following = self._pass_on(tasks, rest)
                entry = binding.claim()
                chores = self.chores()
            go_on(following)
            self.carry_out(chores)
            while entry is not None:
                binding.send(entry)
                with self.lock:
                    entry = binding.again()
                    chores = self.chores()
                self.carry_out(chores)
        finally:
            stack.pop()

    def _finish_swiftly(
        self,
        tasks: Sequence[Task],
        rest: Sequence[Task],
        go_on: Callable[[Task | None], object],
        stack: list[Task],
    ) -> None:
        """Deliver good results without the lock, as `Running` does."""
        flow = tasks[0].flow
        binding = flow.binding
        cell = [0]
        ran = 0
        with self.lock:
            out = flow.tasks
            # The others were cancelled.
            good = tasks if out.issuperset(tasks) else [task for task in tasks if task in out]
            out.difference_update(good)
            for task in good:
                if task.running:
                    ran += 1
                    task.running = None
                else:
                    task.attempts += 1
                task.settled = True
            if flow.gate is not None:
                for task in good:
                    flow.gate.succeeded(task, task.started + task.took)
            flow.cells.append(cell)
            flow.running -= ran
            flow.lent.difference_update(good)
            flow.allotted += ran  # all of them count until they are delivered
            self.ledger.enlist(flow)  # another may run, also where these had no slot
            following = self._pass_on(tasks, rest)
            chores = self.chores()
        go_on(following)
        self.carry_out(chores)
        if self.meter.heard:
            for task in good:
                self.meter.succeeded(task, task.started + task.took)
        if good:
            stack[-1] = good[0]
            binding.swift_many(good, cell)
        with self.lock:
            self.ledger.close_cell(flow, cell)
            flow.allotted -= len(good)
            entry = binding.claim()
            chores = self.chores()
        self.carry_out(chores)
        self.deliver(binding, entry)

    def _pass_on(self, tasks: Sequence[Task], rest: Sequence[Task]) -> Task | None:
        """The slot of a lot goes to *rest*, else to the task that is answered.  Locked."""
        ledger = self.ledger
        for task in tasks:
            if task.slot:
                task.slot = False
                if ledger.promote(rest, True):
                    return None
                following = ledger.next()
                if following is None:
                    ledger.free += 1
                else:
                    following.slot = True
                return following
        return None

    def _all_good(self, tasks: Sequence[Task]) -> bool:
        return all(task.error is None and task.value is not SEVERAL for task in tasks)

    def _several(self, task: Task) -> Any:
        if task.flow.binding.collects:
            return [] if task.collected is None else task.collected
        return NO_VALUE
