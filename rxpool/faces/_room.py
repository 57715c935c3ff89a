"""`Room`: who waits until fewer calls wait."""

import asyncio
from collections import deque
from collections.abc import Callable
from threading import Condition
from typing import Any

from rxpool._core.sleeper import Sleeper
from rxpool._core.waits import LOOK
from rxpool._forks import afresh

__all__ = ("Room",)


class Room:
    """Threads and coroutines that want to bring calls; *lock*, that of the face, guards it."""

    def __init__(self, lock: Any) -> None:
        self._lock = lock
        self._changed = afresh(Condition(lock))
        self._sleepers: deque[Sleeper] = deque()

    def wait(self, full: Callable[[], bool]) -> None:
        """Wait on this thread while it is *full*.  The lock is held."""
        while full():
            self._changed.wait(LOOK)

    async def sleep(self, full: Callable[[], bool]) -> None:
        """The same for a coroutine; without the lock, so it may be full again."""
        with self._lock:
            if not full():
                return
            sleeper = Sleeper()
            self._sleepers.append(sleeper)
        try:
            await sleeper.sleep()
        except asyncio.CancelledError:
            with self._lock:
                if sleeper in self._sleepers:
                    self._sleepers.remove(sleeper)
                else:
                    self.free(1)  # another takes the room that this one was given
            raise

    def free(self, count: int) -> None:
        """There is room for *count* more.  The lock is held."""
        self._changed.notify(count)
        sleepers = self._sleepers
        while sleepers and count > 0:
            sleepers.popleft().wake()
            count -= 1

    def free_all(self) -> None:
        """Nobody needs to wait any more.  The lock is held."""
        self._changed.notify_all()
        self.free(len(self._sleepers))

    def forked(self) -> None:
        """In a child nobody waits."""
        self._sleepers.clear()
