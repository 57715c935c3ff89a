"""What a subscriber is given of a task that was settled."""

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from rxpool._core.causes import as_failure
from rxpool.outcomes import Failure
from rxpool.pool._engine.binding import NO_VALUE
from rxpool.pool._flows.flow_end import FlowEnd
from rxpool.pool._flows.outcome import outcome_of
from rxpool.pool._state.task import Task

__all__ = ("Give", "Receiver", "give_batch", "give_outcome", "give_value")


class Receiver(Protocol):
    """What a flow's results go into."""

    end: FlowEnd
    now: Any  #: the clock's
    on_next: Any  #: the observer's
    counts: bool  #: whether `count` is to be told

    def failed(self, error: Any, outcome: Callable[[], Any]) -> None:
        """An item has failed: that ends the stream, or is told elsewhere, or left out."""

    def count(self, error: BaseException | None) -> None:
        """One more is settled, and with *error*, if that is not None, it has failed."""


#: gives what is to be given of a task
Give = Callable[[Receiver, Task], None]


def give_value(receiver: Receiver, task: Task) -> None:
    """Its result; a failure goes where failures go."""
    if task.error is not None:
        receiver.failed(task.error, lambda: outcome_of(task, receiver.now()))
    elif task.value is not NO_VALUE:
        receiver.on_next(task.value)
    if receiver.counts and not task.cancelled:
        receiver.count(task.error)


def give_outcome(receiver: Receiver, task: Task) -> None:
    """Its record, whatever became of it."""
    if task.error is None and task.value is NO_VALUE and task.extra.collected is None:
        return  # it was finished in a run before this one
    receiver.on_next(outcome_of(task, receiver.now()))
    if receiver.counts and not task.cancelled:
        receiver.count(task.error)


def give_batch(receiver: Receiver, task: Task) -> None:
    """The results of the items of a batch, one by one; what is none was never run."""
    batch: Any = task.item
    items: list[Any] = batch if isinstance(batch, list) else [batch]  # pyright: ignore[reportUnknownVariableType]
    if items is not batch:
        task.not_attempted()  # the function was not called
    if task.error is not None:
        results: list[Any] = [task.error] * len(items)
    else:
        results = task.value
    for item, result in zip(items, results, strict=True):
        if receiver.end.over:
            return
        error = as_failure(result) if isinstance(result, BaseException) else None
        if error is None:
            receiver.on_next(result)
        else:
            record = outcome_of(task, receiver.now())
            spent = record.attempts, record.waited, record.took
            receiver.failed(error, partial(Failure, item, error, *spent))
        if receiver.counts and not task.cancelled:
            receiver.count(error)
