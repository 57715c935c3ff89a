"""`Effects`: what is to be done once the lock is released."""

from collections.abc import Callable
from typing import Any, Final, TypeAlias

from rxpool._forks import bury
from rxpool.pool._state.task import Task

__all__ = ("ATTEMPT", "REFUSED", "SETTLED", "Effects", "Note")

ATTEMPT: Final = "attempt"  #: an attempt ended
SETTLED: Final = "settled"  #: what became of an item is known
REFUSED: Final = "refused"  #: the gate refused an attempt

#: kind, task, outcome, error and, of attempts, the end if it is known
Note: TypeAlias = tuple[str, Task, str, BaseException | None, float | None]


class Effects:
    """What changes of the state ask for, in the order in which it is done.

    The state only writes here; the engine alone reads, and does it with no lock held.
    """

    __slots__ = ("abandoned", "calls", "deliverable", "failed", "later", "notes", "recording")

    def __init__(self) -> None:
        self.calls: list[Callable[[], object]] = []  #: of the engine's own
        #: runs that are not needed, as another of the item ended
        self.abandoned: list[Task] = []
        self.deliverable: list[Any] = []  #: flows that something came out of by the way
        self.later: list[Callable[[], object]] = []  #: what policies have to tell and to set
        #: parked tasks that failed, with their permits: what becomes of them is to be decided
        self.failed: list[tuple[Task, int | None]] = []
        self.recording = False  #: whether somebody listens to notes
        self.notes: list[Note] = []  #: what happened since somebody was told

    def refused(self, task: Task, error: BaseException) -> None:
        """The gate refused an attempt."""
        if self.recording:
            self.notes.append((REFUSED, task, "", error, None))

    def attempted(
        self, task: Task, outcome: str, error: BaseException | None, ended: float | None = None
    ) -> None:
        """An attempt ended."""
        if self.recording:
            self.notes.append((ATTEMPT, task, outcome, error, ended))

    def settled(self, task: Task, outcome: str = "") -> None:
        """What became of an item is known."""
        if not self.recording:
            return
        if not outcome:
            outcome = "success" if task.error is None else "failure"
            if task.cancelled:
                outcome = "cancelled"
        error = task.error if outcome == "failure" else None
        self.notes.append((SETTLED, task, outcome, error, None))

    def forsake(self) -> None:
        """In a forked child: nothing is going to be done or told."""
        lists = (self.calls, self.abandoned, self.deliverable, self.later, self.failed)
        bury(*lists, self.notes)
        for each in lists:
            each.clear()
        self.recording = False
        self.notes = []
