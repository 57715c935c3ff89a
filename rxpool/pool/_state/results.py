"""In which order the results of a flow come out: what is done and not fetched."""

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

from rxpool.pool._state.task import Part, Task

__all__ = ("CompletionOrder", "InputOrder", "ResultOrder")


class CompletionOrder:
    """Results come out when they are there.

    Workers add to `done` and take from it without the lock.
    """

    __slots__ = ("done", "held")

    ordered = False
    lock_free = True  #: `done` is what comes out next
    reordered = 0  #: done, and not in `done`
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
    def everything(self) -> Sequence[Any]:
        """What is kept here."""
        return self.done

    def place(self, task: Task) -> None:
        """*task* starts."""

    def put(self, task: Task) -> None:
        """*task* has its outcome."""
        self.done.append(task)

    def put_part(self, task: Task, value: Any) -> None:
        """*task* has one of several results."""
        self.done.append(Part(value))

    def fetch(self, parked: Mapping[Task, Any]) -> Any:
        """The next `Task` or `Part` to deliver, or None; *parked* ones are not done."""
        try:
            return self.done.popleft()
        except IndexError:  # a worker was faster
            return None

    def fetch_all(self, parked: Mapping[Task, Any]) -> list[Any]:
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


class InputOrder:
    """Results come out in the order in which their tasks started.

    `done` has what comes out of turn: outcomes of what was dropped.
    """

    __slots__ = ("done", "held", "line", "place", "reordered")

    ordered = True
    lock_free = False

    def __init__(self) -> None:
        self.line: deque[Task] = deque()  #: started and not fetched
        #: a task starts that has no place yet: this is it
        self.place: Callable[[Task], None] = self.line.append
        self.done: deque[Any] = deque()
        self.reordered = 0  #: results in the line
        self.held = 0  #: fetched, but to be counted as if not

    @property
    def undelivered(self) -> int:
        """Done and not fetched."""
        return len(self.done) + self.reordered + self.held

    @property
    def started(self) -> int:
        """Started and not fetched."""
        return len(self.line)

    @property
    def bounded(self) -> int:
        """None: `max_reorder` bounds them."""
        return 0

    @property
    def everything(self) -> Sequence[Any]:
        """What is kept here."""
        return (*self.done, *self.line)

    def put(self, task: Task) -> None:
        """*task*, which has its place, has its outcome."""
        self.reordered += 1

    def put_part(self, task: Task, value: Any) -> None:
        """*task* has one of several results."""
        extra = task.own()
        if extra.parts is None:
            extra.parts = deque()
        extra.parts.append(value)
        self.reordered += 1

    def fetch(self, parked: Mapping[Task, Any]) -> Any:
        """The next `Task` or `Part` to deliver, or None; *parked* ones are not done."""
        if self.done:
            return self.done.popleft()
        if not self.line:
            return None
        head = self.line[0]
        if head.extra.parts:
            self.reordered -= 1
            return Part(head.extra.parts.popleft())
        if head.settled and not (parked and head in parked):
            self.line.popleft()
            self.reordered -= 1
            return head
        return None

    def fetch_all(self, parked: Mapping[Task, Any]) -> list[Any]:
        """All that can be delivered now; it counts as if not fetched, until the next time."""
        found: list[Any] = []
        while (entry := self.fetch(parked)) is not None:
            found.append(entry)
        self.held = len(found)
        return found

    def replace(self, task: Task, others: Sequence[Task]) -> None:
        """*others* stand for *task*, where that is."""
        if task not in self.line:
            return
        place = self.line.index(task)
        del self.line[place]
        for other in reversed(others):
            self.line.insert(place, other)
            other.take_place()

    def remove(self, task: Task) -> None:
        """*task* gives nothing; it may have had a place."""
        if task.placed:
            self.line.remove(task)

    def discard(self) -> None:
        """Forget what was not fetched."""
        self.done.clear()
        self.line.clear()
        self.reordered = self.held = 0


ResultOrder: TypeAlias = CompletionOrder | InputOrder
