"""`DeadLetters`: the observer that both kinds of files share."""

import threading
from abc import abstractmethod
from datetime import UTC, datetime
from os import PathLike
from types import TracebackType
from typing import Any, Self, TypeAlias

from reactivex import abc

from rxpool._forks import afresh
from rxpool._log import log
from rxpool.errors import InvalidArgumentType, RxPoolError
from rxpool.outcomes import Failure, Success
from rxpool.records._kept import shown
from rxpool.records._letter import DeadLetter, Encode, letter_of

__all__ = ("DeadLetters", "Path")

Path: TypeAlias = str | PathLike[str]


class DeadLetters(abc.ObserverBase[Any]):
    """Keeps each `Failure` that it is given; for several flows and threads at once."""

    def __init__(self, path: str, encode: Encode | None = None) -> None:
        self.path = path
        self._encode = encode
        # A leaf lock: items are pickled and shown before it is taken.
        self._lock = afresh(threading.Lock())
        self._closed = False

    def on_next(self, value: Any) -> None:
        """Keep a `Failure`; it is in the file when this returns.

        A `Success` is passed over, so that outcomes can be subscribed to as they are.

        Raises:
            InvalidArgumentType: If *value* is no outcome.
            RxPoolError: If this is closed.
            OSError, sqlite3.Error: If it cannot be written.
        """
        if isinstance(value, Success):
            return
        failure: Any = value
        if not isinstance(failure, Failure):
            raise InvalidArgumentType(
                f"dead letters are made of Failures, got {shown(failure)}"
            )
        letter = letter_of(value, datetime.now(UTC), self._encode)
        with self._lock:
            if self._closed:
                raise RxPoolError(f"the dead letters in {self.path} are closed")
            self._write(letter)

    def on_error(self, error: Exception) -> None:
        """The stream of failures failed: that is logged; the file stays open."""
        log.error("a stream of failures ended with an error", path=self.path, exc_info=error)

    def on_completed(self) -> None:
        """Nothing to do: other streams may go on, and what was kept is in the file."""

    def close(self) -> None:
        """Close the file; again is allowed."""
        with self._lock:
            if not self._closed:
                self._closed = True
                self._release()

    @abstractmethod
    def _write(self, letter: DeadLetter) -> None:
        """Write *letter*; the lock is held."""

    @abstractmethod
    def _release(self) -> None:
        """Let go of the file; the lock is held."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()
