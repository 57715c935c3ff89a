"""`Lots`: what backends call that run tasks elsewhere, several in one go."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rxpool.backends import SEVERAL
from rxpool.pool._binding import NO_VALUE, TaskHandle, here
from rxpool.pool._following import Following
from rxpool.pool._ledger import Task

__all__ = ("Lots", "Result")

#: a task with its value or error; when it started and how long it ran are noted in it
Result: TypeAlias = tuple[Task, Any, BaseException | None]


class Lots(Following):
    """Tasks that run where the books are not, be it another process or an event loop.

    The first task of a lot holds the slot.  As tasks of the lot end, the slot goes on to the
    next one; when all have ended, to another task.
    """

    def begin(self, task: Task) -> tuple[Callable[[Any], Any], Any] | None:
        """A slot is about to run *task*: the function and its argument.

        None if the task was cancelled; its slot is free then.
        """
        if task.settled:
            return None
        job: tuple[Callable[[Any], Any], Any] = task.flow.binding.job(task)
        return job

    def started(self, task: Task, at: float) -> None:
        """*task* runs since *at*."""
        task.started = at
        flow = task.flow
        if flow.timeout is not None and not flow.armed:
            self.watch(flow)

    def function(self, task: Task) -> Callable[..., Any]:
        """The user's function that *task* calls."""
        function: Callable[..., Any] = task.flow.binding.function(task)
        return function

    def stack(self) -> list[Task]:
        """The tasks that this thread is busy with, innermost last."""
        return here.stack

    def handle(self, task: Task) -> TaskHandle:
        """What `current_task` needs of *task*."""
        return TaskHandle(task)

    def allot(self, task: Task, most: int) -> list[Task]:
        """More tasks for the slot of *task*, to be run after it."""
        with self.lock:
            lot = self.ledger.allot(task, most)
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
        results: Sequence[Result],
        rest: Sequence[Task],
        go_on: Callable[[Task | None], object],
    ) -> None:
        """The first tasks of a lot ended, *rest* follow in the same slot.

        If none does, *go_on* is given another task for the slot, or None; then the results
        are delivered.
        """
        head = results[0][0]
        binding = head.flow.binding
        results = [
            (task, self._several(task) if value is SEVERAL else value, error)
            for task, value, error in results
        ]
        ledger = self.ledger
        stack = here.stack
        stack.append(head)
        try:
            swift = 0
            if rest and binding.swift is not None:
                swift = self._deliver_swiftly(results, stack)
            now = self.now()
            with self.lock:
                for task, value, error in results[swift:]:
                    ended = now if not hasattr(task, "took") else task.started + task.took
                    ledger.settle(task, value, error, ended)
                following = None
                slot = False
                for task, _, _ in results:
                    if task.slot:
                        slot, task.slot = True, False
                        break
                if slot and not ledger.promote(rest, slot):
                    following = ledger.next()
                    if following is None:
                        ledger.free += 1
                    else:
                        following.slot = True
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

    def _several(self, task: Task) -> Any:
        if task.flow.binding.collects:
            return [] if task.collected is None else task.collected
        return NO_VALUE

    def _deliver_swiftly(self, results: Sequence[Result], stack: list[Task]) -> int:
        """Deliver good results without the lock, as `Running` does; answers how many."""
        flow = results[0][0].flow
        swift = flow.binding.swift
        remove = flow.tasks.remove
        cell = [0]
        flow.cells.append(cell)
        done = ran = 0
        for task, value, error in results:
            if error is not None:
                break
            done += 1
            try:
                remove(task)
            except KeyError:  # cancelled
                continue
            if task.running:
                ran += 1
            else:
                task.attempts += 1
            task.running = None
            task.settled = True
            task.value = value
            cell[0] += 1
            stack[-1] = task
            swift(task)
        with self.lock:
            self.ledger.close_cell(flow, cell)
            flow.running -= ran
            flow.allotted -= cell[0] - ran
        return done
