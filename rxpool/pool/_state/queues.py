"""`SortedQueue`: waiting tasks by priority, and one task of each key at a time."""

from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
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

    Workers take and release tasks without the engine's lock: `_guard` is held while this
    changes, and nothing else is done under it.
    """

    __slots__ = ("_guard", "_heads", "_heap", "_keyed", "_lines", "_numbers", "_tasks")

    def __init__(self, keyed: bool, guard: AbstractContextManager[Any]) -> None:
        self._keyed = keyed
        self._guard = guard
        self._numbers = count()
        self._tasks: OrderedDict[Task, None] = OrderedDict()  # all that wait, the oldest first
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
            with self._guard:
                self._lines[task.key] = {}

    def number(self, task: Task, key: Any, priority: float) -> None:
        """Give *task* its rank among those of its *key*."""
        task.stand_at(key, (priority, next(self._numbers)))

    def append(self, task: Task) -> None:
        """Let a task wait."""
        with self._guard:
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
        with self._guard:
            self._tasks[task] = None
            self._tasks.move_to_end(task, last=False)
            if self._keyed:
                self._ready(task)
            else:
                self._push(task)

    def split(self, task: Task, parts: Sequence[Task]) -> None:
        """*parts* wait in the place of *task*, which had left; its key is not released."""
        for number, part in enumerate(parts):
            part.stand_at(task.key, (*task.rank, number))
        with self._guard:
            for part in reversed(parts):
                self._tasks[part] = None
                self._tasks.move_to_end(part, last=False)
            if not self._keyed:
                for part in parts:
                    self._push(part)
                return
            self._lines[task.key] = dict.fromkeys(parts[1:]) | self._lines[task.key]
            self._ready(parts[0])

    def popleft(self) -> Task:
        """The task that comes first; IndexError if none may leave."""
        with self._guard:
            return self._pop()

    def pop_several(self, most: int) -> list[Task]:
        """Up to so many tasks that come first, and may leave."""
        found: list[Task] = []
        with self._guard, suppress(IndexError):
            for _ in range(most):
                found.append(self._pop())
        return found

    def _pop(self) -> Task:
        while self._heap:
            task = heappop(self._heap)[1]
            if task in self._tasks:
                del self._tasks[task]
                if self._keyed:
                    del self._heads[task.key]
                return task
        raise IndexError("no task may leave")

    def pop_oldest(self) -> Task:
        """The task that has waited longest, whether it may leave or not."""
        with self._guard:
            for task in self._tasks:
                self._remove(task)
                return task
        raise IndexError("no task waits")

    def remove(self, task: Task) -> None:
        """Forget a task that waits; KeyError if it does not."""
        with self._guard:
            self._remove(task)

    def _remove(self, task: Task) -> None:
        del self._tasks[task]
        if self._keyed:
            if self._heads.get(task.key) is task:
                del self._heads[task.key]
                self._release(task)
            else:
                del self._lines[task.key][task]
        if len(self._heap) > 2 * len(self._tasks) + _SLACK:
            self._heap = [entry for entry in self._heap if entry[1] in self._tasks]
            heapify(self._heap)

    def release(self, task: Task) -> None:
        """A task that had left is settled: the next of its key may leave."""
        if self._keyed:
            with self._guard:
                self._release(task)

    def _release(self, task: Task) -> None:
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
