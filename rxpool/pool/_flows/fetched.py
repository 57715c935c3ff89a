"""`Fetched`: results that an iterator has fetched and not returned."""

from collections import deque
from collections.abc import Sequence
from typing import Any

from rxpool.pool._engine.binding import NO_VALUE
from rxpool.pool._state.task import Task

__all__ = ("Fetched",)


class Fetched:
    """Values, and behind them, from the first failure on, the rest as it came.

    A pure state, of the thread that iterates.
    """

    __slots__ = ("good", "rest", "values")

    def __init__(self) -> None:
        self.values: deque[Any] = deque()
        self.rest: deque[Any] = deque()
        self.good = 0  #: in front of the first failure, and not counted yet

    def add(self, entries: Sequence[Any]) -> None:
        """More have been fetched."""
        values, rest = self.values, self.rest
        if not rest:
            for entry in entries:
                if type(entry) is not Task or entry.error is not None:
                    break
            else:
                values.extend([e.value for e in entries if e.value is not NO_VALUE])
                self.good += len(entries)
                return
        for entry in entries:
            if rest or (type(entry) is Task and entry.error is not None):
                rest.append(entry)
            elif type(entry) is not Task:
                values.append(entry.value)
            else:
                self.good += 1
                if entry.value is not NO_VALUE:
                    values.append(entry.value)

    def next_failure(self) -> Task | None:
        """The failure behind the values; what came after it is looked at again."""
        if not self.rest:
            return None
        failed: Task = self.rest.popleft()
        rest, self.rest = self.rest, deque()
        self.add(rest)
        return failed

    def clear(self) -> None:
        """Nothing more is returned."""
        self.values.clear()
        self.rest.clear()
