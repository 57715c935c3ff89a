"""``batch``: gather items into lists, closed by size, weight, age, a flush or the end."""

import sys
from collections import OrderedDict, deque
from collections.abc import Callable, Hashable
from typing import Any, TypeVar, overload

from reactivex import Observable, abc

from rxpool import _checks as checks
from rxpool._core.operator import operator
from rxpool._core.stage import Stage
from rxpool._core.state import FULL, Measurement
from rxpool.errors import InvalidArgument, InvalidArgumentType, InvalidItem
from rxpool.events import Monitor

__all__ = ("BatchState", "batch")

_T = TypeVar("_T")


class _Open:
    """A batch that is being filled."""

    __slots__ = ("deadline", "items", "weight")

    def __init__(self, deadline: float | None) -> None:
        self.items: list[Any] = []
        self.deadline = deadline
        self.weight = 0.0


class BatchState:
    """Decides when a batch closes.

    All batches have the same `max_delay`, so the open ones, kept in the order of their
    first items, are in the order of their deadlines too.
    """

    __slots__ = (
        "_filling",
        "_last",
        "_max_delay",
        "_max_size",
        "_max_weight",
        "_open",
        "notes",
        "ready",
    )

    def __init__(
        self,
        max_size: int | None = None,
        max_delay: float | None = None,
        max_weight: float | None = None,
        notes: bool = False,
    ) -> None:
        self._max_size = max_size or 0
        self._max_delay = max_delay
        self._max_weight = max_weight
        # The items of the only open batch where there are neither keys nor weights, and the
        # index of the last one.
        self._filling: list[Any] | None = None
        self._last = sys.maxsize if max_size is None else max_size - 1
        self._open: OrderedDict[Hashable, _Open] = OrderedDict()
        self.ready: deque[list[Any]] = deque()
        self.notes: list[Measurement] | None = [] if notes else None

    @property
    def due(self) -> float | None:
        """When the oldest open batch is `max_delay` old."""
        for batch in self._open.values():
            return batch.deadline
        return None

    @property
    def held(self) -> int:
        """Items in open batches and in closed ones that were not fetched."""
        return sum(map(len, self.ready)) + sum(len(b.items) for b in self._open.values())

    def offer(
        self, item: Any, now: float, extra: tuple[Hashable, float] | None, force: bool = False
    ) -> int:
        """Add *item* to the batch of its key; ``extra`` is its key and weight."""
        if self.ready and not force:
            return FULL  # a closed batch waits for the subscriber already
        if extra is None:
            key, weight = None, 0.0
        else:
            key, weight = extra
        batch = self._open.get(key)
        if self._max_weight is not None:
            if not weight >= 0:
                raise InvalidItem(
                    f"the weight of an item must be 0 or more, got {checks.shown(weight)}"
                )
            if batch is not None and batch.weight + weight > self._max_weight:
                self._close(key, "weight")
                batch = None
        opened = batch is None
        if batch is None:
            delay = self._max_delay
            batch = self._open[key] = _Open(None if delay is None else now + delay)
            if extra is None:
                self._filling = batch.items
        items = batch.items
        items.append(item)
        if len(items) == self._max_size:
            self._close(key, "size")
            return 1
        if self._max_weight is not None:
            batch.weight += weight
            if weight > self._max_weight:
                self._close(key, "weight")
                return 1
        return opened or len(self.ready)

    def absorb(self, item: Any, now: float) -> bool:
        """Put *item* into the open batch that has no key, if that does not fill it."""
        filling = self._filling
        if filling is None or len(filling) >= self._last:
            return False
        filling.append(item)
        return True

    def retry_at(self, extra: Any) -> float | None:
        """Room comes with the subscriber, not with time."""
        return None

    def expire(self, now: float) -> None:
        """Close the batches whose first item is `max_delay` old."""
        while self._open:
            key, batch = next(iter(self._open.items()))
            if batch.deadline is None or batch.deadline > now:
                return
            self._close(key, "time")

    def flush(self) -> None:
        """Close all open batches, oldest first."""
        self._close_all("flush")

    def finish(self, now: float) -> None:
        """The source ended: close all open batches, oldest first."""
        self._close_all("end")

    def clear(self) -> int:
        """Drop everything."""
        held = self.held
        self._open.clear()
        self._filling = None
        self.ready.clear()
        return held

    def _close_all(self, reason: str) -> None:
        for key in list(self._open):
            self._close(key, reason)

    def _close(self, key: Hashable, reason: str) -> None:
        items = self._open.pop(key).items
        self._filling = None
        self.ready.append(items)
        if self.notes is not None:
            attributes = {"reason": reason}
            self.notes.append(("rxpool.batch.size", len(items), "{item}", attributes))
            self.notes.append(("rxpool.batch.flushes", 1, "{batch}", attributes))


# Without functions of items, so that type checkers can leave the type of items open.
@overload
def batch(
    max_size: int | None = None,
    max_delay: checks.Seconds | None = None,
    *,
    max_weight: float | None = None,
    weight: None = None,
    key: None = None,
    flush: Observable[Any] | None = None,
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[list[_T]]]: ...


@overload
def batch(
    max_size: int | None = None,
    max_delay: checks.Seconds | None = None,
    *,
    max_weight: float | None = None,
    weight: Callable[[_T], float] | None = None,
    key: Callable[[_T], Hashable] | None = None,
    flush: Observable[Any] | None = None,
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[list[_T]]]: ...


def batch(
    max_size: int | None = None,
    max_delay: checks.Seconds | None = None,
    *,
    max_weight: float | None = None,
    weight: Callable[[_T], float] | None = None,
    key: Callable[[_T], Hashable] | None = None,
    flush: Observable[Any] | None = None,
    monitor: Monitor | None = None,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[list[_T]]]:
    """Gather items into lists.

    - **Emits** a batch when it holds `max_size` items, when its first item is `max_delay`
      old, when `flush` emits, or when the source ends.  No batch is empty and none is over
      a limit.
    - **Completes** when the source does, after the open batches, oldest first.
    - **Fails** when the source, `flush`, `key` or `weight` does, after the open batches.
    - **Holds back**: while the subscriber is busy with a batch the next one goes on
      filling; when that is full too, the producer waits until there is room.

    ::

        --1--2--3--4-----------|
        [ batch(3, max_delay) ]
        --------[1,2,3]---[4]--|

    Args:
        max_size: The most items in a batch; 1 or more.
        max_delay: The greatest age of the first item, in seconds or as a timedelta; above 0.
        max_weight: The greatest total weight; above 0, and only with `weight`.  An item
            that would take the batch over it closes the batch and opens the next; an item
            that is heavier on its own travels alone.
        weight: The weight of an item, 0 or more.
        key: Gives each item a key; every key has a batch and a delay of its own.
        flush: An observable; each of its items closes all open batches.  Its completion
            changes nothing.
        monitor: Takes ``rxpool.batch.size`` and ``rxpool.batch.flushes`` events.
        scheduler: The clock of `max_delay`; by default the subscriber's, else the
            shared `TimerScheduler`.

    Raises:
        InvalidArgument: At once, if there is no limit or one is out of range.

    The delay runs from the first item, as in Reactor's ``bufferTimeout``; weights are those
    of Pekko's ``groupedWeightedWithin``.
    """
    size = None if max_size is None else checks.count("max_size", max_size, least=1)
    delay = None if max_delay is None else checks.duration("max_delay", max_delay, above=True)
    heaviest = None
    if max_weight is not None:
        heaviest = checks.number("max_weight", max_weight, above=True)
    if (heaviest is None) != (weight is None):
        raise InvalidArgument(
            f"max_weight and weight go together, got {max_weight=}, {weight=}"
        )
    if size is None and delay is None and heaviest is None and flush is None:
        raise InvalidArgument("batch needs max_size, max_delay, max_weight or flush, got none")
    given: Any = flush
    if given is not None and not isinstance(given, abc.ObservableBase):
        raise InvalidArgumentType(f"flush must be an observable, got {checks.shown(given)}")
    key_of = None if key is None else checks.call("key", key)
    weight_of = None if weight is None else checks.call("weight", weight)

    def measure(item: _T) -> tuple[Hashable, float]:
        group = None if key_of is None else key_of(item)
        hash(group)  # an unhashable key is the key function's error
        return group, 0.0 if weight_of is None else weight_of(item)

    def attach(
        stage: Stage[_T, list[_T]], state: BatchState, default: abc.SchedulerBase | None
    ) -> abc.DisposableBase:
        assert flush is not None
        return flush.subscribe(
            lambda _: stage.act(state.flush), stage.fail, lambda: None, scheduler=default
        )

    return operator(
        "batch",
        lambda notes: BatchState(size, delay, heaviest, notes),
        measure=None if key_of is None and weight_of is None else measure,
        monitor=monitor,
        scheduler=scheduler,
        attach=None if flush is None else attach,
    )
