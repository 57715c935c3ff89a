"""`Window`: which jobs are with an executor, and which wait here for a slot."""

from collections import deque
from collections.abc import Collection
from typing import Any

__all__ = ("Window",)


class Window:
    """As many calls as slots are with the executor; the other jobs wait.

    A slot is free when its call has ended, however long its job is over by then: what is
    handed over sooner would only stand behind it.  The pool, which knows nothing of such
    slots, may give more jobs than there is room for.

    A pure state; its owner's lock guards it.
    """

    def __init__(self) -> None:
        self.slots = 0
        self._busy: set[Any] = set()
        self._given_up: set[Any] = set()
        self._mail: deque[Any] = deque()

    @property
    def abandoned(self) -> int:
        """Slots whose jobs are over, while their calls go on."""
        return len(self._given_up)

    def admit(self, job: Any) -> bool:
        """Whether *job* may be handed over now; else it waits, and `release` gives it."""
        if len(self._busy) < self.slots:
            self._busy.add(job)
            return True
        self._mail.append(job)
        return False

    def release(self, job: Any) -> list[Any]:
        """The call of *job* has ended: those that may be handed over now."""
        self._busy.discard(job)
        self._given_up.discard(job)
        return self._next()

    def give_up(self, job: Any) -> bool:
        """*job* is over; if its call is with the executor it keeps its slot.

        Answers whether it was with the executor, or waited here.
        """
        if job in self._busy:
            self._given_up.add(job)
        elif job in self._mail:
            self._mail.remove(job)
        else:
            return False
        return True

    def resize(self, slots: int) -> list[Any]:
        """There are so many slots: those that may be handed over now."""
        self.slots = slots
        return self._next()

    def clear(self) -> Collection[Any]:
        """Forget all; answers those that waited."""
        waiting = list(self._mail)
        self._mail.clear()
        self._busy.clear()
        self._given_up.clear()
        return waiting

    def _next(self) -> list[Any]:
        admitted: list[Any] = []
        while self._mail and len(self._busy) < self.slots:
            job = self._mail.popleft()
            self._busy.add(job)
            admitted.append(job)
        return admitted
