"""`Database`: an SQLite file of ours, shared by threads and processes."""

import errno
import os
import pathlib
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

from rxpool._forks import afresh, heed, kept
from rxpool.errors import InvalidArgument, RxPoolError
from rxpool.records._kept import shown

__all__ = ("Database", "connect_to_read", "is_database")

_SMALLEST: Final = 512  #: bytes that a database has at least, if it is not empty
_BUSY: Final = 30.0  #: seconds to wait for another process that writes
_AT_ONCE: Final = 64  #: rows of one statement; each number of them has a statement of its own


class Database:
    """One connection under a lock, to a file that says what it holds.

    Its log is written ahead (WAL) and not forced onto the disk at each transaction
    (``synchronous=NORMAL``): what was committed survives that the process is killed, and a
    power failure may cost the last transactions, but never the file.
    """

    def __init__(self, path: str, kind: str, version: int, schema: Sequence[str]) -> None:
        self.path = path
        self.kind = kind
        # A leaf lock: values are pickled before it is taken.
        self._lock = afresh(threading.Lock())
        self._connection: sqlite3.Connection | None = None
        _refuse_others(path, kind)
        connection = _connect(path)
        try:
            self._prepare(connection, version, schema)
        except BaseException:
            connection.close()
            raise
        self._connection = connection
        self._process = os.getpid()
        self._foreign: sqlite3.Connection | None = None
        heed(kept(self))

    def forked(self) -> None:
        """A child may neither use nor close the connection, nor open another to the file."""
        self._foreign, self._connection = self._connection or self._foreign, None

    def _prepare(
        self, connection: sqlite3.Connection, version: int, schema: Sequence[str]
    ) -> None:
        if _check(connection, self.path, self.kind, version):
            connection.execute("PRAGMA synchronous = NORMAL")
            return
        _retry_busy(lambda: connection.execute("PRAGMA journal_mode = WAL"))
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("BEGIN IMMEDIATE")
        try:
            if not _check(connection, self.path, self.kind, version):
                connection.execute("CREATE TABLE rxpool (kind TEXT, version INTEGER)")
                connection.execute("INSERT INTO rxpool VALUES (?, ?)", (self.kind, version))
                for statement in schema:
                    connection.execute(statement)
        except BaseException:
            _roll_back(connection)
            raise
        connection.execute("COMMIT")

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        """Run a statement; what it changes is committed when this returns."""
        with self._lock:
            try:
                return self._opened().execute(sql, parameters).fetchall()
            except sqlite3.Error as error:
                self._name(error)
                raise

    def change(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """The same; answers how many rows it changed."""
        with self._lock:
            try:
                return self._opened().execute(sql, parameters).rowcount
            except sqlite3.Error as error:
                self._name(error)
                raise

    def insert_many(self, into: str, rows: Sequence[Sequence[Any]]) -> None:
        """Run ``{into} VALUES …`` for all *rows*, as one transaction.

        A statement takes many rows: it is a step of SQLite's, and before each other threads
        may have the interpreter for long.
        """
        with self._lock:
            connection = self._opened()
            try:
                if len(rows) <= _AT_ONCE:
                    if rows:
                        _insert(connection, into, rows)
                    return
                connection.execute("BEGIN IMMEDIATE")
                for first in range(0, len(rows), _AT_ONCE):
                    _insert(connection, into, rows[first : first + _AT_ONCE])
                connection.execute("COMMIT")
            except BaseException as error:
                _roll_back(connection)
                self._name(error)
                raise

    def _name(self, error: BaseException) -> None:
        """Errors of SQLite say in which file."""
        known = not isinstance(error, sqlite3.Error) or self.path in str(error)
        if error.args and not known:
            error.args = (f"{error}, in the {self.kind} {self.path}", *error.args[1:])

    def _opened(self) -> sqlite3.Connection:
        if self._foreign is not None:
            raise RxPoolError(
                f"the {self.kind} {self.path} was opened in process {self._process}, and "
                "SQLite does not work on after a fork: open it in the forked process alone"
            )
        if self._connection is None:
            raise RxPoolError(f"the {self.kind} {self.path} is closed")
        return self._connection

    def close(self) -> None:
        """Close it; again is allowed."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None:
                connection.close()


def connect_to_read(path: str, kind: str, version: int) -> sqlite3.Connection:
    """A connection that changes nothing, for one thread at a time."""
    _refuse_others(path, kind)
    connection = _connect(path)
    try:
        if not _check(connection, path, kind, version):
            raise InvalidArgument(f"{path} holds no {kind}: it is an empty database")
        connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def _check(connection: sqlite3.Connection, path: str, kind: str, version: int) -> bool:
    """Whether the file is ours; False if it is empty.

    Raises:
        InvalidArgument: If it holds something else, or is of another version.
    """
    try:
        names = {name for (name,) in connection.execute("SELECT name FROM sqlite_master")}
        if not names:
            return False
        if "rxpool" not in names:
            raise InvalidArgument(f"{path} holds no {kind}, but tables of other programs")
        rows = connection.execute("SELECT kind, version FROM rxpool").fetchall()
    except sqlite3.OperationalError:
        raise  # locked, or unreadable: that says nothing about what it is
    except sqlite3.DatabaseError as error:
        raise InvalidArgument(f"{path} holds no {kind}: {error}") from error
    if rows != [(kind, version)]:
        raise InvalidArgument(
            f"{path} must hold a {kind} of version {version}, got {shown(rows)}"
        )
    return True


def is_database(path: str) -> bool:
    """Whether what is there is a file of SQLite's; an empty one is not.

    SQLite itself has to tell: to open and close the file beside it would drop the locks of
    all its connections in this process, and other processes would take it for unused.
    """
    if os.stat(path).st_size < _SMALLEST or not os.path.isfile(path):
        return False
    connection = sqlite3.connect(
        f"{pathlib.Path(path).as_uri()}?mode=ro", uri=True, timeout=_BUSY
    )
    try:
        connection.execute("PRAGMA schema_version").fetchall()
    except sqlite3.DatabaseError as error:
        if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CANTOPEN):
            raise
        return False  # what cannot be opened is left to those who say it in Python's words
    finally:
        connection.close()
    return True


def _refuse_others(path: str, kind: str) -> None:
    if os.path.isdir(path):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not os.path.exists(path):
        os.stat(os.path.dirname(path))
    elif os.path.getsize(path) and not is_database(path):
        with open(path, "rb") as file:
            head = file.read(20)
        raise InvalidArgument(f"{path} holds no {kind}: it begins with {head!r}")


def _connect(path: str) -> sqlite3.Connection:
    # Each statement is a transaction unless one is begun; threads take turns by the lock.
    return sqlite3.connect(path, timeout=_BUSY, isolation_level=None, check_same_thread=False)


def _insert(connection: sqlite3.Connection, into: str, rows: Sequence[Sequence[Any]]) -> None:
    row = f"({', '.join('?' * len(rows[0]))})"
    values = ", ".join([row] * len(rows))
    connection.execute(f"{into} VALUES {values}", [value for row in rows for value in row])


def _roll_back(connection: sqlite3.Connection) -> None:
    if connection.in_transaction:  # some errors end it
        connection.execute("ROLLBACK")


def _retry_busy(step: Callable[[], object]) -> None:
    """Do what SQLite does not wait for by itself when another process is in the way."""
    until = time.monotonic() + _BUSY
    while True:
        try:
            step()
            return
        except sqlite3.OperationalError as error:
            busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
            if not busy or time.monotonic() >= until:
                raise
            time.sleep(0.01)
