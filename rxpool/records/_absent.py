"""`AbsentItems`: which items are known not to be in a journal, without a look into it."""

import threading
from collections.abc import Sequence
from time import monotonic
from typing import Final

from rxpool._forks import afresh
from rxpool.records._database import Database

__all__ = ("AbsentItems",)

_PLACES: Final = 1 << 22  #: bytes of memory; items that share one are looked for
_MOST: Final = 200_000  #: results that are there already, and are read for this
_AGAIN: Final = 0.01  #: seconds between two looks whether another connection has written


class AbsentItems:
    """Spares looks into a file that nobody else writes.

    Each look is a call of SQLite's, before and after which other threads may run for long.
    So what is there when a flow begins is marked here, and what is written by this
    connection then; what has no mark is not there.  Once another connection has written,
    nothing is known any more.

    Marks are single bytes, set without a lock, and set before a row is written.  The lock
    guards `learn`, and is a leaf but for the database's.
    """

    __slots__ = ("_checked", "_database", "_functions", "_lock", "_marks", "_version")

    def __init__(self, database: Database) -> None:
        self._database = database
        self._lock = afresh(threading.Lock())
        self._marks: bytearray | None = None
        self._functions: set[int] = set()  # of which all is marked
        self._version: int | None = None  # of what others have written
        self._checked = 0.0

    def learn(self, function: int) -> None:
        """Items of *function* are going to be asked about."""
        with self._lock:
            if self._marks is None:
                self._marks = bytearray(_PLACES)  # from now on `mark` marks
                self._version = self._seen()
            if function in self._functions:
                return
            rows = self._database.rows(
                "SELECT item FROM finished WHERE function = ? LIMIT ?", (function, _MOST + 1)
            )
            if len(rows) <= _MOST:
                self.mark(function, [item for (item,) in rows])
                self._functions.add(function)

    def mark(self, function: int, ids: Sequence[str]) -> None:
        """These are going to be written."""
        marks = self._marks
        if marks is not None:
            for id in ids:
                marks[hash((function, id)) % _PLACES] = 1

    def others(self, function: int, ids: Sequence[str]) -> Sequence[str]:
        """Those of *ids* that may be there; what others wrote just now may be missed."""
        marks = self._marks
        if marks is None or function not in self._functions:
            return ids
        now = monotonic()
        if now - self._checked > _AGAIN:
            if self._seen() != self._version:
                self._functions.clear()
                return ids
            self._checked = now
        return [id for id in ids if marks[hash((function, id)) % _PLACES]]

    def _seen(self) -> int:
        ((version,),) = self._database.rows("PRAGMA data_version")
        return int(version)
