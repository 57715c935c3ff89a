"""`FinishedItems`: the part of a journal's table that is about one function."""

import pickle
from collections.abc import Sequence
from typing import Any, Final, TypeAlias

from rxpool.errors import DamagedRecord, NotPicklable
from rxpool.records._absent import AbsentItems
from rxpool.records._database import Database
from rxpool.records._entry import Damaged, sealed, unsealed
from rxpool.records._kept import shown

__all__ = ("FinishedItems", "Row")

#: the function, the id of the item, and its sealed result
Row: TypeAlias = tuple[int, str, bytes]

_ADD: Final = "INSERT OR IGNORE INTO finished (function, item, value)"
_FIND: Final = "FROM finished WHERE function = ? AND item IN"
_AT_ONCE: Final = 64  #: items of one look into the file


class FinishedItems:
    """Reads and writes results, several at a time; for any number of threads."""

    __slots__ = ("_database", "_function", "absent")

    def __init__(self, database: Database, function: int) -> None:
        self._database = database
        self._function = function
        #: what all who use the connection know of it
        self.absent: AbsentItems | None = None

    def prepare(self) -> None:
        """Many looks will follow, by `candidates`."""
        if self.absent is not None:
            self.absent.learn(self._function)

    def candidates(self, ids: Sequence[str]) -> Sequence[str]:
        """Those of *ids* that it takes a look into the file for.

        Of others it is known that they are not there, if no other connection has written
        them in the last milliseconds.
        """
        return ids if self.absent is None else self.absent.others(self._function, ids)

    def known(self, ids: Sequence[str]) -> set[str]:
        """Which of *ids* have results; they are not read."""
        return set(self._look(ids, "item, 1"))

    def entries(self, ids: Sequence[str]) -> dict[str, Any]:
        """The results of those of *ids* that have one, for `read`."""
        return self._look(ids, "item, value")

    def _look(self, ids: Sequence[str], what: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for first in range(0, len(ids), _AT_ONCE):
            some = ids[first : first + _AT_ONCE]
            sql = f"SELECT {what} {_FIND} ({', '.join('?' * len(some))})"
            found.update(self._database.rows(sql, (self._function, *some)))
        return found

    def read(self, id: str, entry: Any) -> tuple[Any]:
        """A result in a tuple, from what `entries` has found.

        Raises:
            DamagedRecord: If it is not what was written.
            NotPicklable: If the result cannot be unpickled here.
        """
        what, where = f"the stored result of item {id}", f"in {self._database.path}"
        try:
            data = unsealed(id, entry)
        except Damaged as error:
            raise DamagedRecord(f"{what} {where} is damaged: {error}") from None
        try:
            return (pickle.loads(data),)
        except Exception as error:
            raise NotPicklable(
                f"{what} cannot be unpickled here, {where}: {error!r}"
            ) from error

    def row(self, id: str, value: Any) -> Row:
        """The result of an item as it is written.  This pickles *value*.

        Raises:
            NotPicklable: If *value* cannot be pickled; it is in the message.
        """
        try:
            return self._function, id, sealed(id, pickle.dumps(value, 5))
        except Exception as error:
            raise NotPicklable(
                f"the result of item {id} cannot be stored: {shown(value)}: {error!r}"
            ) from error

    def write(self, rows: Sequence[Row]) -> None:
        """Keep results, all or none; of two of one item the first is kept.

        They are in the file when this returns.

        Raises:
            sqlite3.Error: If they cannot be written.
        """
        if self.absent is not None:
            self.absent.mark(self._function, [id for _, id, _ in rows])
        self._database.insert_many(_ADD, rows)
