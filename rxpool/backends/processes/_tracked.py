"""`Tracked`: which items are at a worker, and what can be seen of them from outside."""

import threading
from collections import deque
from typing import Any

from rxpool.backends.processes._memory import LIMIT, NEVER, RESUME, RUNNING, STARTED, Block

__all__ = ("Tracked", "afresh")


class Tracked:
    """The items at one worker, and the numbers it shares.

    The items are numbered; ``out`` has their tasks, beginning with number ``first``, and None
    for those that were taken back.  ``lock`` guards these two.
    """

    def __init__(self, block: Block) -> None:
        self.lock = threading.Lock()
        self.out: deque[Any] = deque()
        self.first: int = 0
        self._numbers = block.numbers

    def _task(self, item: int) -> Any:
        index = item - self.first
        return self.out[index] if 0 <= index < len(self.out) else None

    def running(self) -> Any:
        """The task that the worker runs; the lock is held."""
        return self._task(int(self._numbers[RUNNING]))

    def running_since(self) -> tuple[Any, float]:
        """That task, and when it began."""
        with self.lock:
            return self.running(), self._numbers[STARTED]

    def has_ended(self, task: Any) -> bool:
        """Whether the worker has done *task* already; its result is on its way."""
        with self.lock:
            at = self.out.index(task) if task in self.out else -1
            return at >= 0 and self.first + at < self._numbers[RUNNING]

    def stop_before_next(self) -> bool:
        """Have the worker leave out all that it has not begun; False if that is so already.

        The lock is held.
        """
        numbers = self._numbers
        if numbers[LIMIT] != NEVER and self.first < numbers[RESUME]:
            return False
        numbers[LIMIT] = NEVER
        numbers[RESUME] = self.first + len(self.out)
        numbers[LIMIT] = limit = max(numbers[RUNNING] + 1, self.first)
        self._heeded = numbers[RUNNING] < limit
        return True

    def remains(self) -> tuple[Any, list[Any]]:
        """The worker has ended: the task it was running, and those it had not begun."""
        with self.lock:
            numbers, running = self._numbers, self.running()
            begun = int(numbers[RUNNING]) - self.first + 1
            if self._heeded and numbers[LIMIT] <= numbers[RUNNING] < numbers[RESUME]:
                # It was going to leave that one out.
                running, begun = None, begun - 1
            if running is not None:
                running.started = numbers[STARTED]
            unbegun = [task for task in list(self.out)[max(0, begun) :] if task is not None]
            # Given to a worker that had not begun with them.
            self.first += len(self.out)
            self.out.clear()
        return running, afresh(unbegun)


def afresh(tasks: list[Any]) -> list[Any]:
    """*tasks* that were not begun after all."""
    for task in tasks:
        if hasattr(task, "started"):  # else its time would run while it waits
            del task.started
    return tasks
