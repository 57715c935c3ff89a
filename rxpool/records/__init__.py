"""What is kept on disk: finished items, and items that failed."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.records._journal import Emit, Journal, JournalRun
    from rxpool.records._jsonlines import JsonLinesDeadLetters
    from rxpool.records._letter import DeadLetter
    from rxpool.records._reading import read, read_items, replay
    from rxpool.records._sqlite_letters import SqliteDeadLetters
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.records._journal": "Emit Journal JournalRun",
            "rxpool.records._jsonlines": "JsonLinesDeadLetters",
            "rxpool.records._letter": "DeadLetter",
            "rxpool.records._reading": "read read_items replay",
            "rxpool.records._sqlite_letters": "SqliteDeadLetters",
        },
    )

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
