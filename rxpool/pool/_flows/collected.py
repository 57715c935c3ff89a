"""`pool.collect`: all outcomes at once, in the order of the items."""

import asyncio
from collections.abc import Callable, Generator, Iterator, Sequence
from typing import Any, Generic, Self, TypeVar

from rxpool.errors import WouldBlock
from rxpool.outcomes import Failure, Outcome, Success
from rxpool.pool._flows.imap import Results

__all__ = ("Collected", "collect")

_T = TypeVar("_T")
_R = TypeVar("_R")

_LONGEST = 200  #: characters of an item in a note


class Collected(Generic[_T, _R]):
    """What became of all items of one `WorkerPool.collect`, in the order of the items.

    Iterating gives the outcomes, ``len`` counts them.  Where an event loop runs it has to be
    awaited first; awaiting runs the work, and gives this same object.  Used without that it
    raises `WouldBlock`.
    """

    __slots__ = ("_begin", "_outcomes", "_running")

    def __init__(self, begin: "Callable[[], Results[Any]]") -> None:
        self._begin = begin
        self._outcomes: list[Outcome[_T, _R]] | None = None
        self._running = False

    def __await__(self) -> Generator[Any, None, Self]:
        return self._complete().__await__()

    async def _complete(self) -> Self:
        if self._running:
            raise RuntimeError("pool.collect: it is being awaited already")
        if self._outcomes is None:
            self._running = True
            try:
                self._outcomes = [outcome async for outcome in self._begin()]
            finally:
                self._running = False
        return self

    def run(self) -> Self:
        """Wait here until all is done; for `collect`."""
        self._outcomes = list(self._begin())
        return self

    @property
    def outcomes(self) -> list[Outcome[_T, _R]]:
        """A `Success` or a `Failure` for each item."""
        if self._outcomes is None:
            raise WouldBlock("pool.collect was called on a running event loop: await it")
        return self._outcomes

    def values(self) -> list[_R]:
        """The values of those that went well, in the order of their items."""
        return [outcome.value for outcome in self.outcomes if isinstance(outcome, Success)]

    @property
    def failures(self) -> list[Failure[_T]]:
        """Those that did not."""
        return [outcome for outcome in self.outcomes if isinstance(outcome, Failure)]

    def raise_failures(self) -> None:
        """Raise the errors of all failures, each with a note that names its item; or nothing.

        Raises:
            ExceptionGroup: If all of them are exceptions, else a `BaseExceptionGroup`.
        """
        failures = self.failures
        if not failures:
            return
        for failure in failures:
            _add_note(failure.error, f"of the item {_shown(failure.item)}")
        raise BaseExceptionGroup(
            f"{len(failures)} of {len(self.outcomes)} items failed",
            [failure.error for failure in failures],
        )

    def __iter__(self) -> Iterator[Outcome[_T, _R]]:
        return iter(self.outcomes)

    def __len__(self) -> int:
        return len(self.outcomes)

    def __bool__(self) -> bool:
        return bool(self.outcomes)

    def __repr__(self) -> str:
        if self._outcomes is None:
            return "<Collected, not awaited yet>"
        return f"<Collected of {len(self)}, {len(self.failures)} failed>"


def collect(begin: "Callable[[], Results[Any]]") -> Collected[Any, Any]:
    """Wait for all of it; on a running event loop, whoever awaits the answer does."""
    collected: Collected[Any, Any] = Collected(begin)
    return collected.run() if asyncio._get_running_loop() is None else collected


def _shown(item: object) -> str:
    try:
        text = repr(item)
    except Exception:
        return f"of type {type(item).__name__}"
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def _add_note(error: BaseException, note: str) -> None:
    # Not by `add_note`, as exceptions may refuse attributes.
    notes: Sequence[str] = vars(error).get("__notes__", ())
    if note not in notes:
        vars(error)["__notes__"] = [*notes, note]
