"""In which order the results of a flow come out: what is done and not fetched."""

from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager
from math import inf
from sys import maxsize
from typing import Any, TypeAlias

from rxpool.pool._state.task import BEHIND, PLACED, READY, Part, Task

__all__ = ("CompletionOrder", "InputOrder", "ResultOrder")


class CompletionOrder:
    """Results come out when they are there.

    Workers add to `done` and take from it without the lock.
    """

    __slots__ = ("done", "held")

    ordered = False
    line: Sequence[Task] = ()  #: none has a place
    started = 0  #: of which `max_reorder` bounds the number

    def __init__(self) -> None:
        self.done: deque[Any] = deque()  #: what can be fetched
        self.held = 0  #: fetched, but to be counted as if not

    @property
    def undelivered(self) -> int:
        """Done and not fetched."""
        return len(self.done) + self.held

    bounded = undelivered  #: all of these count against `max_pending`

    @property
    def ready(self) -> bool:
        """Whether something can be fetched."""
        return bool(self.done)

    @property
    def empty(self) -> bool:
        """Whether nothing is to be fetched any more, as far as this knows."""
        return not (self.done or self.held)

    @property
    def everything(self) -> Sequence[Any]:
        """What is kept here."""
        return self.done

    def place(self, task: Task, behind: bool = False) -> None:
        """*task* starts, or is going to *behind* another one that has."""

    def put(self, task: Task) -> None:
        """*task* has its outcome."""
        self.done.append(task)

    def put_part(self, task: Task, value: Any) -> None:
        """*task* has one of several results."""
        self.done.append(Part(value))

    def fetch(self) -> Any:
        """The next `Task` or `Part` to deliver, or None."""
        try:
            return self.done.popleft()
        except IndexError:  # a worker was faster
            return None

    def fetch_all(self) -> list[Any]:
        """All that can be delivered now; it counts as if not fetched, until the next time."""
        done = self.done
        self.held = len(done)
        return [done.popleft() for _ in range(self.held)]

    def replace(self, task: Task, others: Sequence[Task]) -> None:
        """*others* stand for *task*."""

    def remove(self, task: Task) -> None:
        """*task* gives nothing."""

    def discard(self) -> None:
        """Forget what was not fetched."""
        self.done.clear()
        self.held = 0

    forsake = discard  #: the same in a forked child


class InputOrder:
    """Results come out in the order in which their tasks started.

    `done` has what comes out of turn: outcomes of what was dropped.

    Workers take tasks and leave results without the engine's lock, so `guard` is held where
    the line changes in more than one step.  A result can be fetched once `put` has said so,
    which is the last thing that becomes of a task.
    """

    __slots__ = ("_behind", "done", "fetched", "guard", "held", "line", "most", "took")

    ordered = True

    def __init__(self, guard: AbstractContextManager[Any]) -> None:
        self.guard = guard
        self.line: deque[Task] = deque()  #: started and not fetched
        self.done: deque[Any] = deque()
        self.fetched = 0  #: tasks so far
        self.took = inf  #: seconds of the last task that was fetched
        self.most = maxsize  #: that may be started and not fetched, as `bound` was told last
        self._behind = 0  #: in the line, and handed over together with one before it
        self.held = 0  #: fetched, but to be counted as if not

    @property
    def undelivered(self) -> int:
        """Done and not fetched."""
        found = len(self.done) + self.held
        for task in list(self.line):
            found += bool(task.placed & READY) + len(task.extra.parts or ())
        return found

    @property
    def started(self) -> int:
        """Started and not fetched; what was handed over together counts as one."""
        return len(self.line) - self._behind

    def bound(self, most: int) -> int:
        """So many may be started and not fetched: how many more."""
        self.most = most
        return most - len(self.line) + self._behind

    @property
    def bounded(self) -> int:
        """None: `max_reorder` bounds them."""
        return 0

    @property
    def ready(self) -> bool:
        """Whether something can be fetched."""
        if self.done:
            return True
        try:
            head = self.line[0]
        except IndexError:
            return False
        return bool(head.placed & READY or head.extra.parts)

    @property
    def empty(self) -> bool:
        """Whether nothing is to be fetched any more, as far as this knows."""
        return not (self.done or self.line or self.held)

    @property
    def everything(self) -> Sequence[Any]:
        """What is kept here."""
        return (*self.done, *self.line)

    def take(self, waiting: deque[Task], bounded: bool = True) -> Task:
        """Take the first of *waiting*, which has its place from now on.

        Raises:
            IndexError: There is none, or, if *bounded*, as many as may be have started.
        """
        with self.guard:
            started = len(self.line) - self._behind  # `started`, without a call per item
            if bounded and started >= self.most and not waiting[0].placed:
                raise IndexError("max_reorder")
            task = waiting.popleft()
            if not task.placed:
                self.line.append(task)
                task.take_place()
            return task

    def place(self, task: Task, behind: bool = False) -> None:
        """*task* starts, or is going to *behind* another: its place, unless it has one."""
        with self.guard:
            if not task.placed:
                self.line.append(task)
                task.take_place(BEHIND if behind else PLACED)
                self._behind += behind

    def put(self, task: Task) -> None:
        """*task*, which has its place, has its outcome, and all of that is written."""
        task.be_ready()

    def put_next(self, task: Task) -> bool:
        """`put`; whether something can be fetched now."""
        task.be_ready()
        try:
            return bool(self.line[0].placed & READY) or self.ready
        except IndexError:  # it was fetched meanwhile
            return bool(self.done)

    def put_part(self, task: Task, value: Any) -> None:
        """*task* has one of several results."""
        extra = task.own()
        if extra.parts is None:
            extra.parts = deque()
        extra.parts.append(value)

    def fetch(self) -> Any:
        """The next `Task` or `Part` to deliver, or None."""
        if self.done:
            try:
                return self.done.popleft()
            except IndexError:  # discarded on another thread
                return None
        with self.guard:
            if not self.line:
                return None
            head = self.line[0]
            if head.extra.parts:
                return Part(head.extra.parts.popleft())
            if not head.placed & READY:
                return None
            self._behind -= bool(head.placed & BEHIND)
            self.line.popleft()
            self.took = head.took or 0.0
            self.fetched += 1
            return head

    def fetch_all(self) -> list[Any]:
        """All that can be delivered now; it counts as if not fetched, until the next time."""
        found: list[Any] = []
        while (entry := self.fetch()) is not None:
            found.append(entry)
        self.held = len(found)
        return found

    def replace(self, task: Task, others: Sequence[Task]) -> None:
        """*others* stand for *task*, where that is."""
        with self.guard:
            if task not in self.line:
                return
            place = self.line.index(task)
            del self.line[place]
            self._behind -= bool(task.placed & BEHIND)
            for other in reversed(others):
                self.line.insert(place, other)
                other.take_place()

    def remove(self, task: Task) -> None:
        """*task* gives nothing; it may have had a place."""
        with self.guard:
            if task.placed:
                self.line.remove(task)
                self._behind -= bool(task.placed & BEHIND)

    def discard(self) -> None:
        """Forget what was not fetched."""
        with self.guard:
            self.forsake()

    def forsake(self) -> None:
        """The same in a forked child, where nobody may be able to let go of `guard`."""
        self.done.clear()
        self.line.clear()
        self.held = self._behind = 0


ResultOrder: TypeAlias = CompletionOrder | InputOrder
