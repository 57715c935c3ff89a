"""`pool.imap`: results as an iterator."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from rxpool.pool._engine import Engine
from rxpool.pool._feed import Feed
from rxpool.pool._ledger import FlowLedger

__all__ = ("Results", "results")

_R = TypeVar("_R")


class Results(Generic[_R]):
    """An iterator of results; also an async iterator and a context manager.

    The input is read by whoever asks for the next result.  `close`, leaving the ``with``
    block or dropping the iterator cancels what is not done.
    """

    def __init__(self, feed: Feed) -> None:
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
        loop = asyncio.get_running_loop()
        values = self._feed.values
        try:
            while True:
                while values:
                    yield values.popleft()
                if not await loop.run_in_executor(None, self._feed.next_values):
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


def results(
    engine: Engine,
    fn: Callable[[Any], Any],
    ledger: FlowLedger,
    items: Iterable[Any],
    on_failure: Any,
) -> Results[Any]:
    """See `WorkerPool.imap`."""
    return Results(Feed(engine, fn, ledger, items, on_failure))
