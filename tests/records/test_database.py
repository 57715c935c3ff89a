"""SQLite files: other processes in the way, errors in between, locks that must stay."""

import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing

import pytest

from rxpool.errors import InvalidArgument
from rxpool.records import Journal, JsonLinesDeadLetters, SqliteDeadLetters, read
from rxpool.records import _database as database
from rxpool.records._database import Database, is_database


def made(path):
    return Database(str(path), "thing", 1, ("CREATE TABLE things (x)",))


@pytest.fixture
def busy(tmp_path):
    """A file that one connection has locked, and another that cannot begin to write."""
    path = tmp_path / "busy"
    options = {"isolation_level": None, "timeout": 0}
    with (
        closing(sqlite3.connect(path, **options)) as first,
        closing(sqlite3.connect(path, **options)) as second,
    ):
        first.execute("BEGIN EXCLUSIVE")
        yield first, lambda: second.execute("BEGIN EXCLUSIVE")


def test_what_is_busy_is_tried_again(busy, monkeypatch):
    """Until it is free."""
    first, begin = busy
    pauses = []

    def pause(seconds):
        pauses.append(seconds)
        if len(pauses) == 3:
            first.execute("ROLLBACK")

    monkeypatch.setattr(database.time, "sleep", pause)
    database._retry_busy(begin)
    assert len(pauses) == 3


def test_it_is_not_tried_for_ever(busy, monkeypatch):
    """Nor at all when the error is another one."""
    _, begin = busy
    monkeypatch.setattr(database, "_BUSY", 0.0)
    with pytest.raises(sqlite3.OperationalError, match="locked"):
        database._retry_busy(begin)
    monkeypatch.undo()
    monkeypatch.setattr(database.time, "sleep", None)
    with (
        closing(sqlite3.connect(":memory:")) as connection,
        pytest.raises(sqlite3.OperationalError, match="no such table"),
    ):
        database._retry_busy(lambda: connection.execute("SELECT * FROM missing"))


@pytest.mark.parametrize("many", [2, 64, 65, 300])
def test_an_error_leaves_no_transaction_open(tmp_path, many):
    """All rows or none; the next statement is one of its own again."""
    good = [(n,) for n in range(many)]
    with closing(made(tmp_path / "it")) as it:
        with pytest.raises(sqlite3.Error):
            it.insert_many("INSERT INTO things", [*good[1:], (object(),)])
        assert it.rows("SELECT count(*) FROM things") == [(0,)]
        with pytest.raises(sqlite3.OperationalError, match="no such table"):
            it.insert_many("INSERT INTO others", good)
        it.insert_many("INSERT INTO things", good)
        assert it.rows("SELECT * FROM things ORDER BY 1") == good
        assert it.change("DELETE FROM things") == many


@pytest.mark.parametrize("method", ["change", "rows"])
def test_no_other_thread_comes_into_a_transaction(tmp_path, method):
    """What it wrote there would go when that is rolled back."""
    done = threading.Event()
    with closing(made(tmp_path / "it")) as it:

        def write():
            getattr(it, method)("INSERT INTO things VALUES ('other')")
            done.set()

        other = threading.Thread(target=write)

        def row():
            assert it._opened().in_transaction
            other.start()
            done.wait(0.2)  # it cannot: it waits for us
            raise RuntimeError
            yield

        with pytest.raises(RuntimeError):
            it.insert_many("INSERT INTO things", [*[(1,)] * 100, row()])
        other.join()
        assert it.rows("SELECT * FROM things") == [("other",)]


def test_a_file_is_made_whole_or_not_at_all(tmp_path):
    """An error in between leaves an empty one, which the next one makes good."""
    path = tmp_path / "it"
    with pytest.raises(sqlite3.OperationalError):
        Database(str(path), "thing", 1, ("CREATE TABLE things (x)", "no SQL"))
    made(path).close()
    with closing(made(path)) as it:
        assert it.rows("SELECT * FROM things") == []


def test_an_empty_database_is_no_file_of_letters(tmp_path):
    """A writer may make it one."""
    path = tmp_path / "letters"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA journal_mode = WAL")
    with pytest.raises(InvalidArgument, match="an empty database"):
        list(read(path))
    SqliteDeadLetters(path).close()
    assert list(read(path)) == []


def test_only_databases_are_taken_for_some(tmp_path):
    """Whatever the size of other files."""
    path = tmp_path / "file"
    for size in (0, 1, 15, 16, 99, 100, 511, 512, 513, 4096, 9999):
        path.write_bytes(b"{" * size)
        assert not is_database(str(path))
    made(tmp_path / "it").close()
    assert is_database(str(tmp_path / "it"))


COUNT = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
print(connection.execute("SELECT count(*) FROM finished").fetchall()[0][0])
connection.close()
"""


def double(n):
    """What the journal is about."""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="locks of POSIX")
def test_looking_at_a_file_leaves_its_locks(tmp_path):
    """Else another process that closes it takes itself for the last one, and removes the log
    into which this one goes on writing.
    """
    path = tmp_path / "journal"

    def count():
        command = [sys.executable, "-c", COUNT, str(path)]
        return int(subprocess.run(command, capture_output=True, check=True).stdout)

    with Journal(path) as journal:
        run = journal.open(double, {})
        run.record("1", 1)
        with pytest.raises(InvalidArgument):
            list(read(path))
        with pytest.raises(InvalidArgument):
            JsonLinesDeadLetters(path)
        with pytest.raises(InvalidArgument):
            SqliteDeadLetters(path)
        Journal(path).close()
        assert count() == 1
        run.record("2", 2)
        assert count() == 2
