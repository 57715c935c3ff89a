"""`iterate`: any Observable as an iterator and async iterator, with back-pressure."""

from threading import get_ident
from types import TracebackType
from typing import Generic, Self, TypeVar

from reactivex import Observable

from rxpool import _checks as checks
from rxpool.errors import InvalidArgumentType
from rxpool.pool._flows.inbox import Inbox

__all__ = ("Items", "iterate")

_T = TypeVar("_T")


def iterate(source: Observable[_T], *, max_pending: int = 1024) -> "Items[_T]":
    """The items of *source*, for ``for`` and ``async for``, however slow the loop is.

    ::

        async for page in rxpool.iterate(pool.pull(urls).pipe(pool.map(fetch))):
            ...

    - Subscribes when the iteration begins: on a thread of its own for ``for``, so that
      sources that emit while they are subscribed can wait there; on the loop for
      ``async for``.  A ``for`` on a running event loop keeps that waiting, as `imap` does,
      where flows of pools are fed by `WorkerPool.pull` or by a source that emits while it is
      subscribed; else, and if their work runs on that loop, it raises `WouldBlock`.
    - **Gives** each item in order, and at the end raises the error of the source, if it
      has one, after what came before it.
    - **Holds back** the source while *max_pending* items wait here: flows of pools and
      `WorkerPool.pull` stop without occupying a thread, other producers wait.  One that
      must not wait, on a running event loop or on the thread that iterates, ends the
      iteration with `WouldBlock`, after what was buffered.

    Leaving the ``with`` block, `close`, or dropping the iterator disposes the subscription.

    Args:
        source: Any Observable.
        max_pending: How many items may wait for the loop; 1 or more.
    """
    if not isinstance(source, Observable):
        raise InvalidArgumentType(f"source must be an Observable, got {checks.shown(source)}")
    return Items(Inbox(source, checks.count("max_pending", max_pending, least=1)))


class Items(Generic[_T]):
    """An iterator, async iterator and context manager; see `iterate`."""

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox  # which the source knows, and not this: so this can be dropped

    def __iter__(self) -> Self:
        self._inbox.subscribe_on_thread()
        return self

    def __next__(self) -> _T:
        inbox = self._inbox
        inbox.subscribe_on_thread()
        inbox.consumer = get_ident()
        while not inbox.look():
            inbox.wait()
        return inbox.take(StopIteration)  # type: ignore[no-any-return]

    def __aiter__(self) -> Self:
        self._inbox.subscribe_here()
        return self

    async def __anext__(self) -> _T:
        inbox = self._inbox
        inbox.subscribe_here()
        while not inbox.look():
            await inbox.sleep()
        return inbox.take(StopAsyncIteration)  # type: ignore[no-any-return]

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
        if hasattr(self, "_inbox"):
            self._inbox.close()

    def close(self) -> None:
        """Dispose the subscription; what is buffered is dropped, the iteration ends."""
        self._inbox.close()
