"""`SqliteDeadLetters`: failed items in a table."""

import os
from collections.abc import Iterator
from contextlib import closing
from datetime import datetime
from typing import Final

from rxpool.errors import InvalidArgument
from rxpool.records._database import Database, connect_to_read
from rxpool.records._kept import Kept
from rxpool.records._letter import DeadLetter, seconds
from rxpool.records._sink import DeadLetters, Path

__all__ = ("SqliteDeadLetters", "read_table")

_KIND: Final = "file of dead letters"
_VERSION: Final = 1
_COLUMNS: Final = "time, error, message, attempts, waited, took, traceback, kind, item"
_SCHEMA: Final = (f"CREATE TABLE letters (id INTEGER PRIMARY KEY, {_COLUMNS})",)
_INSERT: Final = f"INSERT INTO letters ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"
_PAGE: Final = 100  #: letters that are read at a time


class SqliteDeadLetters(DeadLetters):
    """Adds each failed item to the table ``letters`` of an SQLite file.

    Give it to ``pool.map(fn, on_failure=letters)``; `read`, `read_items` and `replay` give
    the items back.  Several processes may use the same file.  A letter is committed when
    `on_next` returns: a program that is killed loses none.

    Args:
        path: The file; made when it is not there.

    An item is kept as JSON if that gives back exactly the same, as with numbers, strings,
    None, lists and dicts of strings; else pickled; else as its repr, which can be read, but
    not replayed.  The column ``kind`` says which.

    Raises:
        InvalidArgument: If the file holds something else.
        OSError, sqlite3.Error: If the file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(os.path.abspath(path))
        self._database = Database(self.path, _KIND, _VERSION, _SCHEMA)

    def _write(self, letter: DeadLetter) -> None:
        row = (
            letter.time.isoformat(),
            letter.error,
            letter.message,
            letter.attempts,
            letter.waited,
            letter.took,
            letter.traceback,
            letter.kept.kind,
            letter.kept.data,
        )
        self._database.change(_INSERT, row)

    def _release(self) -> None:
        self._database.close()


def read_table(path: str, allow_pickle: bool) -> Iterator[DeadLetter]:
    """The letters that are in the file now, in the order in which they were kept."""
    with closing(connect_to_read(path, _KIND, _VERSION)) as connection:
        # What replayed items add to the same file is left for the next time.
        ((last,),) = connection.execute("SELECT max(id) FROM letters").fetchall()
        done = 0
        while done < (last or 0):
            # In pages, so that nothing is locked while the reader does other things.
            rows = connection.execute(
                f"SELECT id, {_COLUMNS} FROM letters WHERE id > ? AND id <= ?"
                " ORDER BY id LIMIT ?",
                (done, last, _PAGE),
            ).fetchall()
            if not rows:
                return
            for number, *fields in rows:
                time, error, message, attempts, waited, took, trace, kind, item = fields
                try:
                    letter = DeadLetter(
                        error=error,
                        message=message,
                        traceback=trace,
                        attempts=int(attempts),
                        waited=seconds(waited),
                        took=seconds(took),
                        time=datetime.fromisoformat(time),
                        kept=Kept(kind, item),
                        allow_pickle=allow_pickle,
                    )
                except (TypeError, ValueError, OverflowError) as problem:
                    raise InvalidArgument(
                        f"row {number} in {path} is no dead letter: {problem}"
                    ) from problem
                yield letter
                done = number
