"""`pool.imap`: results as an iterator."""

from collections.abc import AsyncIterator, Iterator
from types import TracebackType
from typing import Generic, Self, TypeVar

from rxpool._core.sleeper import Sleeper
from rxpool.pool._flows.imap_flow import ImapFlow

__all__ = ("Results",)

_R = TypeVar("_R")


class Results(Generic[_R]):
    """An iterator of results; also an async iterator and a context manager.

    The input is read by whoever asks for the next result, on an event loop too: input that
    takes long to come belongs in `WorkerPool.pull`.  `close`, leaving the ``with``
    block or dropping the iterator cancels what is not done.
    """

    def __init__(self, feed: ImapFlow) -> None:
        self._feed = feed

    def __iter__(self) -> Iterator[_R]:
        feed = self._feed
        values = feed.values
        try:
            while True:
                while values:
                    yield values.popleft()
                if not feed.next_values():
                    return
        finally:
            self.close()

    def __next__(self) -> _R:
        feed = self._feed
        while not feed.values:
            if not feed.next_values():
                raise StopIteration
        return feed.values.popleft()  # type: ignore[no-any-return]

    async def __aiter__(self) -> AsyncIterator[_R]:
        feed, sleeper = self._feed, Sleeper()
        values = feed.values
        try:
            while True:
                while values:
                    yield values.popleft()
                more = feed.next_values(sleeper.wake)
                if more is None:
                    await sleeper.sleep()
                elif not more:
                    return
        finally:
            self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Cancel what is not done; the iterator ends."""
        self._feed.close()
