"""`Levels`: how many attempts run and how many items wait, told as metric events."""

import threading
from collections import deque
from typing import Any, Final

__all__ = ("Levels",)

_OFTEN: Final = 0.01  #: seconds between two looks at levels, unless something came to rest


class Levels:
    """What was told last, and what is to be told.

    Noting is done under the engine's lock, telling with no lock but ``_telling``, which
    nobody waits for: it says who is at it.
    """

    def __init__(self, emit: Any) -> None:
        self._emit = emit
        self._active = self._waiting = 0
        self._changes: deque[tuple[int, int | None]] = deque()  # that are to be told
        self._telling = threading.Lock()
        self._sampled = -_OFTEN

    def due(self, now: float) -> bool:
        """Whether it is time to look again."""
        return now - self._sampled >= _OFTEN

    def note(self, active: int, waiting: int, now: float) -> bool:
        """So many attempts run, and so many items wait; whether that is to be told.

        The engine's lock is held, so changes are noted in the order in which they were.
        """
        if (active, waiting) == (self._active, self._waiting):
            return False
        change = active - self._active
        queued = None if waiting == self._waiting else waiting
        self._active, self._waiting, self._sampled = active, waiting, now
        self._changes.append((change, queued))
        return True

    def tell(self) -> None:
        """Tell what was noted, in its order: one thread at a time, nobody waits for it."""
        while self._changes and self._telling.acquire(False):
            try:
                self._tell()
            finally:
                self._telling.release()

    def _tell(self) -> None:
        while True:
            try:
                change, queued = self._changes.popleft()
            except IndexError:
                return
            if change:
                self._emit("rxpool.task.active", change, "{task}")
            if queued is not None:
                self._emit("rxpool.queue.size", queued, "{task}")
