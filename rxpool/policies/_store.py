"""Limits in an SQLite file, for the processes of one machine."""

import os
import threading
from dataclasses import astuple
from time import time
from typing import Any, Final

from rxpool import _checks as checks
from rxpool import _forks
from rxpool.errors import InvalidArgument, InvalidArgumentType, RxPoolError
from rxpool.policies._shared_state import Bucket, Figures, Lease, Request

__all__ = ("Store",)

_PREFIX: Final = "sqlite:///"
_BUSY: Final = 10.0  #: seconds to wait for another process
_SCHEMA: Final = (
    "CREATE TABLE rxpool_limits (name TEXT PRIMARY KEY, rate REAL, per REAL, burst REAL,"
    " at REAL, empty REAL, pause REAL, epoch INTEGER)"
)

#: Held while a file is open, so that nobody forks then: SQLite must not meet a connection
#: of another process, and without one a forked child works with the file as others do.
_open: Final = _forks.held(threading.RLock())


class Store:
    """One limit in a file, by its name.

    The file is opened for each transaction.  It is not forced onto the disk, as nothing in
    it is worth that: it survives that a process is killed, not that the machine is.
    """

    def __init__(self, store: Any, name: Any, figures: Figures, initial: float) -> None:
        for option, value, other in (("store", store, "name"), ("name", name, "store")):
            if value is None:
                raise InvalidArgument(f"{other}= needs {option}= too, got None")
            if not isinstance(value, str):
                raise InvalidArgumentType(f"{option} must be a str, got {checks.shown(value)}")
        path = store.removeprefix(_PREFIX)
        if path == store or not os.path.isabs(path):
            raise InvalidArgument(
                f'store must be "{_PREFIX}" and an absolute path, got {checks.shown(store)}'
            )
        if not name:
            raise InvalidArgument("name must not be empty, got ''")
        if os.path.isdir(path):
            raise InvalidArgument(f"store must name a file, got the directory {path}")
        os.stat(os.path.dirname(path))  # says in Python's words that it is not there
        self.path = path
        self.name = name
        self.figures = figures
        self._initial = initial
        self.ask(Request(), 0.0)

    def ask(self, request: Request, now: float) -> Lease | None:
        """Put *request* to the file, as one transaction.

        Raises:
            InvalidArgument: If the file holds other figures, or something else.
            RxPoolError: If it cannot be used.
        """
        import sqlite3

        try:
            with _open:
                return self._ask(sqlite3, request, now)
        except sqlite3.Error as error:
            message = f"the limit {self.name!r} in {self.path} cannot be used: {error}"
            if getattr(error, "sqlite_errorcode", 0) in (
                sqlite3.SQLITE_NOTADB,
                sqlite3.SQLITE_CORRUPT,
            ):
                raise InvalidArgument(
                    f"{message}; if it is a file of limits, remove it"
                ) from error
            raise RxPoolError(message) from error

    def _ask(self, sqlite3: Any, request: Request, now: float) -> Lease | None:
        generation = _forks.generation
        file = sqlite3.connect(self.path, timeout=_BUSY, isolation_level=None)
        try:
            file.execute("PRAGMA synchronous = OFF")
            file.execute("BEGIN IMMEDIATE")
            # Read now, when no other process is between this and the file.
            bucket, lease = self._bucket(file, wall := time()).answer(
                self.figures, request, wall, now
            )
            if _forks.generation != generation:  # a signal handler forked
                raise RxPoolError(f"forked while the limit {self.name!r} was asked")
            file.execute(
                "UPDATE rxpool_limits SET at = ?, empty = ?, pause = ?, epoch = ?"
                " WHERE name = ?",
                (bucket.at, bucket.empty, bucket.pause, bucket.epoch, self.name),
            )
            file.execute("COMMIT")
            return lease
        finally:
            if _forks.generation == generation:
                file.close()  # rolls back what was not committed
            else:
                _forks.keep(file)  # the parent's

    def _bucket(self, file: Any, wall: float) -> Bucket:
        tables = {table for (table,) in file.execute("SELECT name FROM sqlite_master")}
        if not tables:
            file.execute(_SCHEMA)
        elif "rxpool_limits" not in tables:
            raise InvalidArgument(f"{self.path} holds no limits, but tables of something else")
        rows = file.execute(
            "SELECT rate, per, burst, at, empty, pause, epoch FROM rxpool_limits"
            " WHERE name = ?",
            (self.name,),
        ).fetchall()
        mine = self.figures
        if not rows:
            bucket = Bucket.fresh(mine, self._initial, wall)
            file.execute(
                "INSERT INTO rxpool_limits VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (self.name, *astuple(mine), *astuple(bucket)),
            )
            return bucket
        theirs = Figures(*rows[0][:3])
        if theirs != mine:
            raise InvalidArgument(
                f"the limit {self.name!r} in {self.path} has {theirs}, got {mine}: "
                "use another name, or remove the file"
            )
        return Bucket(*rows[0][3:])
