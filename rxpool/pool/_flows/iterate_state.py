"""`IterateState`: what waits for a loop, who waits for room, and how it ends."""

from collections import deque
from collections.abc import Callable
from typing import Any

from rxpool._core.state import NOTHING

__all__ = ("IterateState",)


class IterateState:
    """Items between a source and a loop.

    Calls of who waits for room are kept as they are, and answered when there is some: to
    be made by whoever asked, without a lock.
    """

    __slots__ = ("begun", "end", "items", "max_pending", "over", "parked")

    def __init__(self, max_pending: int) -> None:
        self.max_pending: float = max_pending
        self.items: deque[Any] = deque()
        self.parked: list[Callable[[], object]] = []
        self.begun = False  #: somebody iterates
        self.end: tuple[BaseException | None] | None = None  #: of the source
        self.over = False  #: the loop has heard the end, or was left

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken."""
        return self.over or self.end is not None

    @property
    def full(self) -> bool:
        """Whether producers are to wait."""
        return len(self.items) >= self.max_pending

    @property
    def ready(self) -> bool:
        """Whether `take` has something to tell."""
        return bool(self.items) or self.over or self.end is not None

    def begin(self) -> bool:
        """Whether this is the first step of the loop, at which the source is subscribed."""
        begins = not self.begun and not self.over
        self.begun = True
        return begins

    def put(self, item: Any) -> bool:
        """Take an item; False after the end."""
        if self.closed:
            return False
        self.items.append(item)
        return True

    def finish(self, error: BaseException | None) -> None:
        """The source ended; the first end holds."""
        if self.end is None:
            self.end = (error,)

    def park(self, resume: Callable[[], object]) -> bool:
        """Keep *resume* until there is room; False if there is."""
        if self.closed or not self.full:
            return False
        self.parked.append(resume)
        return True

    def take(self) -> tuple[Any, list[Callable[[], object]]]:
        """The next item, or NOTHING at the end; and what to call, as there is room."""
        if self.items:
            item = self.items.popleft()
            # Woken for several items at once: for each would cost more than the items.
            return item, self._unpark() if len(self.items) <= self.max_pending // 2 else []
        self.over = True
        return NOTHING, self._unpark()

    def take_error(self) -> BaseException | None:
        """The error of the source, once."""
        error = None if self.end is None else self.end[0]
        self.end = (None,)
        return error

    def uncork(self) -> list[Callable[[], object]]:
        """Take whatever comes; what to call."""
        self.max_pending = float("inf")
        return self._unpark()

    def close(self) -> list[Callable[[], object]]:
        """The loop was left: drop everything; what to call."""
        self.over = True
        self.items.clear()
        return self._unpark()

    def _unpark(self) -> list[Callable[[], object]]:
        parked, self.parked = self.parked, []
        return parked
