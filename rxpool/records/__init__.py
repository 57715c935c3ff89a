"""What is kept on disk: finished items, and items that failed."""

from rxpool.records._journal import Emit, Journal, JournalRun
from rxpool.records._jsonlines import JsonLinesDeadLetters
from rxpool.records._letter import DeadLetter
from rxpool.records._reading import read, read_items, replay
from rxpool.records._sqlite_letters import SqliteDeadLetters

__all__ = (
    "DeadLetter",
    "Emit",
    "Journal",
    "JournalRun",
    "JsonLinesDeadLetters",
    "SqliteDeadLetters",
    "read",
    "read_items",
    "replay",
)
