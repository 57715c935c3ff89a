"""Flows of another kind: batches as items, and only the newest item."""

from collections.abc import Awaitable, Callable, Mapping, Sequence, Set
from contextvars import copy_context
from inspect import isawaitable
from typing import Any, Final

from reactivex import abc

from rxpool import _checks as checks
from rxpool.errors import InvalidItem
from rxpool.pool._flows.given import Receiver, give_value
from rxpool.pool._flows.subscription import MapFlow
from rxpool.pool._state.slots import STARTED
from rxpool.pool._state.task import Task

__all__ = ("BatchFlow", "OfBatches", "SwitchFlow")

#: can be iterated over, but their items are not results in the order of a batch
_NO_LISTS: Final = (abc.ObservableBase, str, bytes, bytearray, Mapping, Set)


class OfBatches:
    """A user's function of a batch, that has to return as many results."""

    #: as opposed to functions of items; see `Gate`.  Executors are given the function itself:
    #: `check` is called when its results are home
    of_batches: Final = True

    def __init__(self, fn: Callable[[Any], Any]) -> None:
        self.fn = self.__wrapped__ = fn

    def __call__(self, batch: Any) -> Any:
        """The list of results, or an awaitable of it."""
        if not isinstance(batch, list):
            raise InvalidItem(f"map_batches takes lists, got {checks.shown(batch)}")
        # It gets a list of its own, to do with what it likes.
        results = self.fn(list(batch))  # pyright: ignore[reportUnknownArgumentType]
        if isawaitable(results):
            return self._later(results, batch)
        return self.check(results, batch)

    async def _later(self, results: Awaitable[Any], batch: Any) -> list[Any]:
        return self.check(await results, batch)

    def check(self, results: Any, batch: Any) -> list[Any]:
        """The list of *results*; raises `BatchSizeError`."""
        return checks.results_of_batch(results, len(batch), _NO_LISTS)


class BatchFlow(MapFlow):
    """Batches in, the results of their items out.

    A task is one batch; the state of a flow that bisects halve those that fail.
    """

    __slots__ = ()

    def on_next(self, item: Any) -> None:
        """Take a batch, as a list; what is none fails when its turn comes."""
        if isinstance(item, Sequence) and not isinstance(item, (str, bytes, bytearray)):
            item = list(item)  # pyright: ignore[reportUnknownArgumentType, reportUnknownVariableType]
        elif self._rank is not None:  # it has no turn
            error = InvalidItem(f"map_batches takes lists, got {checks.shown(item)}")
            self._refuse(Task(self.state, item, self._now()), error)
            return
        super().on_next(item)


class SwitchFlow(MapFlow):
    """A new item cancels the one before it."""

    __slots__ = ("_newest",)

    def __init__(self, *args: Any) -> None:
        super().__init__(*args)
        self.delivery.give = self._give

    def on_next(self, item: Any) -> None:
        """Cancel what waits or runs, and take *item*."""
        engine, state = self.engine, self.state
        task = Task(state, item, self._now(), copy_context() or None)
        if self.end.foreign is not None:
            self.end.say_why()
            return
        with engine.lock:
            if self.end.over or state.ended:
                return
            reason = f"{self.name}: a newer item came"
            gone = state.cancellation.running(reason, False, self._now())
            state.cancellation.reason = None
            state.cancellation.waiting(reason, False)
            state.results.discard()
            self._newest = task
            verdict = engine.slots.accept(state, task)
            pending = engine.dispatcher.pending()
        engine.dispatcher.abandon(gone)
        engine.taken(state, (task,) if verdict == STARTED else (), pending)

    def _give(self, receiver: Receiver, task: Task) -> None:
        if task is self._newest:
            give_value(receiver, task)
