"""What the ledger notes for whoever listens to the metrics."""

from typing import Final, TypeAlias

from rxpool.pool._state.task import Task

__all__ = ("ATTEMPT", "REFUSED", "SETTLED", "Note")

ATTEMPT: Final = "attempt"  #: an attempt ended
SETTLED: Final = "settled"  #: what became of an item is known
REFUSED: Final = "refused"  #: the gate refused an attempt

#: kind, task, outcome, error and, of attempts, the end if it is known
Note: TypeAlias = tuple[str, Task, str, BaseException | None, float | None]
