"""The index: an SQLite database with full-text search."""

import json
import os
import sqlite3
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from indexing.source import Parsed
from rxpool import Failure, Outcome, Success, TaskCancelled

__all__ = ("Index", "Tally")

SCHEMA = """
PRAGMA journal_mode = WAL;
PRAGMA synchronous = NORMAL;
PRAGMA foreign_keys = ON;
CREATE TABLE IF NOT EXISTS files (
    id INTEGER PRIMARY KEY, path TEXT UNIQUE NOT NULL, size INTEGER NOT NULL,
    run INTEGER NOT NULL
);
CREATE TABLE IF NOT EXISTS definitions (
    id INTEGER PRIMARY KEY, file INTEGER NOT NULL REFERENCES files ON DELETE CASCADE,
    name TEXT NOT NULL, kind TEXT NOT NULL, line INTEGER NOT NULL, words TEXT NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX IF NOT EXISTS definitions_of_file ON definitions (file);
CREATE TABLE IF NOT EXISTS failures (
    path TEXT PRIMARY KEY, reason TEXT NOT NULL, run INTEGER NOT NULL
);
CREATE VIRTUAL TABLE IF NOT EXISTS search USING fts5
    (words, doc, content = 'definitions', content_rowid = 'id');
CREATE TRIGGER IF NOT EXISTS added AFTER INSERT ON definitions BEGIN
    INSERT INTO search (rowid, words, doc) VALUES (new.id, new.words, new.doc);
END;
CREATE TRIGGER IF NOT EXISTS removed AFTER DELETE ON definitions BEGIN
    INSERT INTO search (search, rowid, words, doc)
    VALUES ('delete', old.id, old.words, old.doc);
END;
"""

ADD_FILES = """
INSERT INTO files (path, size, run)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), ? FROM json_each(?)
"""
ADD_DEFINITIONS = """
INSERT INTO definitions (file, name, kind, line, words, doc)
SELECT files.id, json_extract(value, '$[1]'), json_extract(value, '$[2]'),
    json_extract(value, '$[3]'), json_extract(value, '$[4]'), json_extract(value, '$[5]')
FROM json_each(?) JOIN files ON files.path = json_extract(value, '$[0]')
"""
ADD_FAILURES = """
INSERT INTO failures (path, reason, run)
SELECT json_extract(value, '$[0]'), json_extract(value, '$[1]'), ? FROM json_each(?)
"""
FIND = """
SELECT name, kind, path, line
FROM search JOIN definitions ON definitions.id = search.rowid
    JOIN files ON files.id = definitions.file
WHERE search MATCH ? ORDER BY bm25(search, 5, 1), name LIMIT ?
"""


@dataclass(slots=True)
class Tally:
    """What was saved."""

    files: int = 0
    definitions: int = 0
    failures: int = 0
    size: int = 0
    notes: list[str] = field(default_factory=list[str])  #: a line for each file

    def add(self, other: "Tally") -> None:
        """Sum up the numbers."""
        self.files += other.files
        self.definitions += other.definitions
        self.failures += other.failures
        self.size += other.size


class Index:
    """The database.

    Batches come one at a time, but not always on the same thread.  The lock keeps them apart
    from the questions of the main thread, and from `close`.
    """

    def __init__(self, database: Path) -> None:
        self.database = database
        self._lock = threading.Lock()
        self._db = sqlite3.connect(database, check_same_thread=False)
        self._db.executescript(SCHEMA)
        runs = "SELECT max(run) FROM (SELECT run FROM files UNION SELECT run FROM failures)"
        self._run: int = (self._ask(runs)[0][0] or 0) + 1

    def save(self, outcomes: Sequence[Outcome[Path, Parsed]]) -> Tally:
        """Write a batch, whole or not at all; each file replaces what was known of it.

        A few statements for the whole batch: SQLite then works on its own while other
        threads parse, instead of asking for the interpreter's lock at every row.
        """
        tally = Tally()
        gone: list[str] = []
        files: list[tuple[str, int]] = []
        definitions: list[tuple[str | int, ...]] = []
        failures: list[tuple[str, str]] = []
        for outcome in {outcome.item: outcome for outcome in outcomes}.values():
            path = _text(outcome.item)
            match outcome:
                case Success(value=Parsed() as parsed):
                    files.append((path, parsed.size))
                    definitions.extend((path, *found) for found in parsed.definitions)
                    tally.size += parsed.size
                    tally.notes.append(f"indexed {path}")
                case Failure(error=TaskCancelled()):
                    continue  # the program is about to end
                case Failure(error=FileNotFoundError()):
                    tally.notes.append(f"removed {path}")
                case Failure(error=error):
                    failures.append((path, _reason(error)))
                    tally.notes.append(f"failed {path}: {_reason(error)}")
            gone.append(path)
        tally.files, tally.definitions = len(files), len(definitions)
        tally.failures = len(failures)
        with self._lock, self._db as db:
            for table in ("files", "failures"):
                known = "SELECT value FROM json_each(?)"
                db.execute(f"DELETE FROM {table} WHERE path IN ({known})", (json.dumps(gone),))
            db.execute(ADD_FILES, (self._run, json.dumps(files)))
            db.execute(ADD_DEFINITIONS, (json.dumps(definitions),))
            db.execute(ADD_FAILURES, (self._run, json.dumps(failures)))
        return tally

    def forget_the_rest(self) -> None:
        """After a complete run: drop the files that it did not meet, and tidy up."""
        with self._lock, self._db as db:
            for table in ("files", "failures"):
                db.execute(f"DELETE FROM {table} WHERE run < ?", (self._run,))
            db.execute("INSERT INTO search (search) VALUES ('optimize')")

    def find(self, text: str, limit: int = 5) -> list[tuple[str, str, str, int]]:
        """The best matches: name, kind, path and line."""
        words = ['"{}"*'.format(word.replace('"', '""')) for word in text.split()]
        return self._ask(FIND, " ".join(words) or '""', limit)

    def counts(self) -> tuple[int, int]:
        """How many files and definitions there are."""
        query = "SELECT (SELECT count(*) FROM files), (SELECT count(*) FROM definitions)"
        ((files, definitions),) = self._ask(query)
        return files, definitions

    def failures(self) -> list[tuple[str, str]]:
        """The files that could not be parsed, with the reasons."""
        return self._ask("SELECT path, reason FROM failures ORDER BY path")

    def size(self) -> int:
        """Bytes of the database."""
        ((pages,),), ((page,),) = self._ask("PRAGMA page_count"), self._ask("PRAGMA page_size")
        return int(pages * page)

    def close(self) -> None:
        """Let go of the database, after the batch that is being written."""
        with self._lock:
            self._db.close()

    def _ask(self, query: str, *values: object) -> list[Any]:
        with self._lock:
            return self._db.execute(query, values).fetchall()


def _text(path: Path) -> str:
    return os.fsencode(path).decode("utf-8", "replace")


def _reason(error: BaseException) -> str:
    text = f"{type(error).__name__}: {error}".rstrip(": ")
    return text.encode("utf-8", "replace").decode()
