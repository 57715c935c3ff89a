"""`SortedQueue`: waiting tasks by priority, and one task of each key at a time."""

from collections.abc import Iterable, Iterator, Sequence
from heapq import heapify, heappop, heappush
from itertools import count
from typing import Any, Final

from rxpool.pool._state.task import Task

__all__ = ("SortedQueue",)

_SLACK: Final = 16  #: tasks that left the queue and may still be in the heap


class SortedQueue:
    """What waits, where that is not first in, first out; used like a deque.

    `popleft` gives the task with the least `Task.rank`.  With keys, tasks of one key leave in
    the order they came, each when the one before it has been let go by `release`.
    """

    __slots__ = ("_heads", "_heap", "_keyed", "_lines", "_numbers", "_tasks")

    def __init__(self, keyed: bool) -> None:
        self._keyed = keyed
        self._numbers = count()
        self._tasks: dict[Task, None] = {}  # all that wait, the oldest first
        #: what may leave; tasks that are not waiting any more are passed over
        self._heap: list[tuple[tuple[float, ...], Task]] = []
        #: by key, for each key that has a task ready or out: who comes after it
        self._lines: dict[Any, dict[Task, None]] = {}
        self._heads: dict[Any, Task] = {}  # by key: the task that is ready

    def __len__(self) -> int:
        return len(self._tasks)

    def __iter__(self) -> Iterator[Task]:
        return iter(list(self._tasks))

    def __contains__(self, task: object) -> bool:
        return task in self._tasks

    def clear(self) -> None:
        """Forget all tasks and keys."""
        for each in (self._tasks, self._heap, self._lines, self._heads):
            each.clear()

    def takes_at_once(self, task: Task | None) -> bool:
        """Whether *task* would be the first to leave; None: whatever its key is."""
        if self._keyed:
            return task is not None and task.key not in self._lines
        return not self._tasks

    def admit(self, task: Task) -> None:
        """*task* starts without having waited: its key is taken."""
        if self._keyed:
            self._lines[task.key] = {}

    def number(self, task: Task, key: Any, priority: float) -> None:
        """Give *task* its rank among those of its *key*."""
        task.stand_at(key, (priority, next(self._numbers)))

    def append(self, task: Task) -> None:
        """Let a task wait."""
        self._tasks[task] = None
        if not self._keyed:
            self._push(task)
            return
        line = self._lines.get(task.key)
        if line is not None:
            line[task] = None
            return
        self._lines[task.key] = {}
        self._ready(task)

    def extend(self, tasks: Iterable[Task]) -> None:
        """Let tasks wait."""
        for task in tasks:
            self.append(task)

    def appendleft(self, task: Task) -> None:
        """Take a task back that had left; its key was not released."""
        self._tasks = {task: None, **self._tasks}
        if self._keyed:
            self._ready(task)
        else:
            self._push(task)

    def split(self, task: Task, parts: Sequence[Task]) -> None:
        """*parts* wait in the place of *task*, which had left; its key is not released."""
        for number, part in enumerate(parts):
            part.stand_at(task.key, (*task.rank, number))
        self._tasks = dict.fromkeys(parts) | self._tasks
        if not self._keyed:
            for part in parts:
                self._push(part)
            return
        self._lines[task.key] = dict.fromkeys(parts[1:]) | self._lines[task.key]
        self._ready(parts[0])

    def popleft(self) -> Task:
        """The task that comes first; IndexError if none may leave."""
        while True:
            if not self._heap:
                raise IndexError("no task may leave")
            task = heappop(self._heap)[1]
            if task in self._tasks:
                del self._tasks[task]
                if self._keyed:
                    del self._heads[task.key]
                return task

    def pop_oldest(self) -> Task:
        """The task that has waited longest, whether it may leave or not."""
        for task in self._tasks:
            self.remove(task)
            return task
        raise IndexError("no task waits")

    def remove(self, task: Task) -> None:
        """Forget a task that waits."""
        del self._tasks[task]
        if self._keyed:
            if self._heads.get(task.key) is task:
                del self._heads[task.key]
                self.release(task)
            else:
                del self._lines[task.key][task]
        if len(self._heap) > 2 * len(self._tasks) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._tasks]
            heapify(self._heap)

    def release(self, task: Task) -> None:
        """A task that had left is settled: the next of its key may leave."""
        if not self._keyed:
            return
        line = self._lines[task.key]
        for following in line:
            del line[following]
            self._ready(following)
            return
        del self._lines[task.key]

    def _ready(self, task: Task) -> None:
        self._heads[task.key] = task
        self._push(task)

    def _push(self, task: Task) -> None:
        heappush(self._heap, (task.rank, task))
