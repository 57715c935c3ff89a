"""Flows of another kind: batches as items, and only the newest item."""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextvars import copy_context
from inspect import isawaitable
from typing import Any, Final

from reactivex import abc

from rxpool.errors import BatchSizeError, InvalidItem
from rxpool.outcomes import Failure
from rxpool.pool._flow import Flow
from rxpool.pool._ledger import STARTED, Task
from rxpool.pool._outflow import outcome_of

__all__ = ("BatchFlow", "OfBatches", "SwitchFlow")

#: can be iterated over, but their items are not results in the order of a batch
_NO_LISTS: Final = (abc.ObservableBase, str, bytes, bytearray, Mapping, Set)


class OfBatches:
    """A user's function of a batch, that has to return as many results."""

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self.fn = self.__wrapped__ = fn

    def __call__(self, batch: Any) -> Any:
        """The list of results, or an awaitable of it."""
        if not isinstance(batch, list):
            raise InvalidItem(f"map_batches takes lists, got {batch!r}")
        # It gets a list of its own, to do with what it likes.
        results = self.fn(list(batch))  # pyright: ignore[reportUnknownArgumentType]
        if isawaitable(results):
            return self._later(results, batch)
        return self._check(results, batch)

    async def _later(self, results: Awaitable[Any], batch: Any) -> list[Any]:
        return self._check(await results, batch)

    def _check(self, results: Any, batch: Any) -> list[Any]:
        if isinstance(results, _NO_LISTS):
            raise BatchSizeError(f"a function of batches must return a list, got {results!r}")
        try:
            given = list(results)
        except TypeError:
            raise BatchSizeError(
                f"a function of batches must return a list, got {results!r}"
            ) from None
        if len(given) != len(batch):
            raise BatchSizeError(f"got {len(given)} results for a batch of {len(batch)}")
        return given


class BatchFlow(Flow):
    """Batches in, the results of their items out.

    A task is one batch; the books of a flow that bisects halve those that fail.
    """

    __slots__ = ()

    def on_next(self, item: Any) -> None:
        """Take a batch, as a list; what is none fails when its turn comes."""
        if isinstance(item, Sequence) and not isinstance(item, (str, bytes, bytearray)):
            item = list(item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        elif self._rank is not None:  # it has no turn
            error = InvalidItem(f"map_batches takes lists, got {item!r}")
            self._refuse(Task(self.ledger, item, self._now()), error)
            return
        super().on_next(item)

    def _give(self, task: Task) -> None:
        batch: Any = task.item
        items: list[Any] = batch if isinstance(batch, list) else [batch]  # pyright: ignore[reportUnknownVariableType]
        if items is not batch:
            task.attempts = 0  # the function was not called
        if task.error is not None:
            results: list[Any] = [task.error] * len(items)
        else:
            results = task.value
        for item, result in zip(items, results, strict=True):
            if self._over:
                return
            if not isinstance(result, BaseException):
                self._on_next(result)
                continue
            record = outcome_of(task, self._now())
            self._failed(
                result, Failure(item, result, record.attempts, record.waited, record.took)
            )


class SwitchFlow(Flow):
    """A new item cancels the one before it."""

    __slots__ = ("_newest",)

    def on_next(self, item: Any) -> None:
        """Cancel what waits or runs, and take *item*."""
        engine, ledger = self._engine, self.ledger
        task = Task(ledger, item, self._now())
        context = copy_context()
        if len(context):
            task.context = context
        with engine.lock:
            if self._over or ledger.ended:
                return
            reason = f"{self.name}: a newer item came"
            gone = engine.ledger.cancel_running(ledger, reason, False, self._now())
            ledger.cut_off = None
            engine.ledger.cancel_waiting(ledger, reason, False)
            engine.ledger.discard_done(ledger)
            self._newest = task
            verdict = engine.ledger.accept(ledger, task)
            chores = engine.chores()
        engine.cut_off(gone)
        if verdict == STARTED:
            engine.start((task,))
        engine.carry_out(chores)
        if ledger.deadline is not None:
            engine.watch(ledger)

    def _give(self, task: Task) -> None:
        if task is self._newest:
            super()._give(task)
