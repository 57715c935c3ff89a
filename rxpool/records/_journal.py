"""`Journal`: a record of finished items, so that a run can be taken up again."""

import os
import threading
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import Any, Final, Literal, Self, TypeAlias

from rxpool import _checks as checks
from rxpool._forks import afresh
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.records._absent import AbsentItems
from rxpool.records._database import Database
from rxpool.records._fingerprint import fingerprint as fingerprint_of
from rxpool.records._fingerprint import name_of, settings_of
from rxpool.records._finished import FinishedItems
from rxpool.records._identity import identify_with, identity
from rxpool.records._kept import shown
from rxpool.records._sink import Path

__all__ = ("Emit", "Journal", "JournalRun", "items_of")

Emit: TypeAlias = Literal["skip", "stored"]

_KIND: Final = "journal"
_VERSION: Final = 1
_SCHEMA: Final = (
    "CREATE TABLE functions (id INTEGER PRIMARY KEY, name TEXT NOT NULL,"
    " code TEXT NOT NULL, settings TEXT NOT NULL, UNIQUE (code, settings))",
    "CREATE TABLE finished (function INTEGER NOT NULL, item TEXT NOT NULL,"
    " value BLOB NOT NULL, PRIMARY KEY (function, item)) WITHOUT ROWID",
)
_OF_CODE: Final = "function IN (SELECT id FROM functions WHERE code = ?)"


class Journal:
    """Remembers which items a function has finished, and with which results.

    A run that is killed at any instant and started again with the same journal does the
    rest, and emits all: what was finished before comes from the journal.  Results are in the
    file when `JournalRun.record` returns, and a flow emits them after that: a program that is
    killed loses none that came out.  A flow writes the results of short items together: what
    was done in the last milliseconds before a kill, and did not come out, is done again.
    Results are not forced onto the disk one by one, so a power failure may cost the last
    ones, which are then done again too.

    Args:
        path: An SQLite file; made when it is not there.  Several processes may use it at
            the same time; what one has finished others know some milliseconds later.
        key: Gives each item its id, a str or an int.  Without it the id is the item itself
            if that is a str or an int, else its canonical JSON; an item that has none is
            `InvalidItem`.
        emit: What becomes of an item that an earlier run finished: ``"stored"`` emits the
            stored result, ``"skip"`` leaves it out.  Results are stored either way.  A run
            that is killed has finished items whose results were not emitted yet, or had not
            come through the stages below, or not to the disk: with ``"skip"`` those are
            gone.  So that is for functions that save what they do themselves.
        fingerprint: Stands for the function and its settings.  Without it, results count
            only for a function with the same name, code, defaults, simple free variables
            and settings; a change of the function, or another version of Python, means that
            all is done again.  What a function calls by name does not count.  With it,
            results count until you change it; one journal then is for one function.

    Results are pickled: reading them can run any code that whoever wrote the file put there,
    so use only journals that you trust.

    Raises:
        InvalidArgument: If the file is no journal, or an option is wrong.
        OSError, sqlite3.Error: If the file cannot be opened.
    """

    def __init__(
        self,
        path: Path,
        *,
        key: Callable[[Any], str | int] | None = None,
        emit: Emit = "stored",
        fingerprint: str | None = None,
    ) -> None:
        if key is not None:
            checks.call("key", key)
        checks.one_of("emit", emit, ("skip", "stored"))
        given: Any = fingerprint
        if given is not None and not isinstance(given, str):
            raise InvalidArgumentType(f"fingerprint must be a str, got {shown(given)}")
        if given == "":
            raise InvalidArgument(f"fingerprint must not be empty, got {shown(given)}")
        self.path = os.path.abspath(path)
        self.emit: Emit = emit
        self._key = key
        self._fingerprint = fingerprint
        self._lock = afresh(threading.Lock())
        self._name: str | None = None  # of the function that a given fingerprint is for
        self._database = Database(self.path, _KIND, _VERSION, _SCHEMA)
        self._absent = AbsentItems(self._database)

    def open(self, fn: Callable[..., Any], settings: Mapping[str, object]) -> "JournalRun":
        """The part of the journal that is about *fn* with *settings*.

        Raises:
            InvalidArgument: If one `fingerprint` is to stand for two functions.
            RxPoolError: If the journal is closed.
        """
        name = name_of(checks.call("fn", fn))
        if self._fingerprint is None:
            code, set_to = fingerprint_of(fn), settings_of(settings)
        else:
            code, set_to = self._code_of(fn), ""
            with self._lock:
                if self._name is None:
                    self._name = name
                known = self._name
            if known != name:
                raise InvalidArgument(
                    f"fingerprint={self._fingerprint!r} stands for {known} already, "
                    f"not for {name}: give each function a journal of its own"
                )
        database = self._database
        database.rows(
            "INSERT OR IGNORE INTO functions (name, code, settings) VALUES (?, ?, ?)",
            (name, code, set_to),
        )
        ((function,),) = database.rows(
            "SELECT id FROM functions WHERE code = ? AND settings = ?", (code, set_to)
        )
        run = JournalRun(database, function, self._key, self.emit)
        items_of(run).absent = self._absent
        return run

    def finished(self, fn: Callable[..., Any] | None = None) -> int:
        """How many results there are: in all, or of *fn* as it is now, with any settings."""
        where, parameters = self._of(fn)
        ((count,),) = self._database.rows(f"SELECT count(*) FROM finished{where}", parameters)
        return int(count)

    def forget(self, fn: Callable[..., Any] | None = None) -> int:
        """Drop all results, or those of *fn* as it is now; answers how many."""
        where, parameters = self._of(fn)
        return self._database.change(f"DELETE FROM finished{where}", parameters)

    def _of(self, fn: Callable[..., Any] | None) -> tuple[str, tuple[str, ...]]:
        if fn is None:
            return "", ()
        return f" WHERE {_OF_CODE}", (self._code_of(checks.call("fn", fn)),)

    def _code_of(self, fn: Callable[..., Any]) -> str:
        if self._fingerprint is None:
            return fingerprint_of(fn)
        return f"given: {self._fingerprint}"

    def close(self) -> None:
        """Close the file; again is allowed."""
        self._database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


class JournalRun:
    """A function with its settings, and what it has finished; for any number of threads."""

    __slots__ = ("_items", "_key", "emit")

    def __init__(
        self,
        database: Database,
        function: int,
        key: Callable[[Any], str | int] | None,
        emit: Emit,
    ) -> None:
        self._items = FinishedItems(database, function)
        self._key = key
        self.emit: Emit = emit

    def identify(self, item: Any) -> str:
        """The id of *item*.  This calls the user's `key`, whose errors come out.

        Raises:
            InvalidItem: If the item has no id without a `key`, or `key` gives no str or int.
        """
        return identity(item) if self._key is None else identify_with(self._key, item)

    def finished(self, id: str) -> bool:
        """Whether there is a result; it is not read."""
        return bool(self._items.known((id,)))

    def stored(self, id: str) -> tuple[Any] | None:
        """The result in a tuple, as it may be None itself; None: not finished.

        Raises:
            DamagedRecord: If it is not what was written.
            NotPicklable: If the result cannot be unpickled here.
        """
        items = self._items
        for entry in items.entries((id,)).values():
            return items.read(id, entry)
        return None

    def record(self, id: str, value: Any) -> None:
        """Keep the result of an item; of two results of one item the first is kept.

        Raises:
            NotPicklable: If *value* cannot be pickled; it is in the message.
            sqlite3.Error: If it cannot be written.
        """
        self._items.write((self._items.row(id, value),))

    def record_many(self, results: Iterable[tuple[str, Any]]) -> None:
        """Keep several results, all or none: cheaper than one by one.

        Raises:
            NotPicklable: If one of the values cannot be pickled; none is kept then.
            sqlite3.Error: If they cannot be written.
        """
        row = self._items.row
        self._items.write([row(id, value) for id, value in results])


def items_of(run: JournalRun) -> FinishedItems:
    """What *run* reads and writes several at a time."""
    return run._items  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]
