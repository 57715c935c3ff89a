"""`Streams`: the methods of a pool that are operators and sources."""

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any, TypeVar, Unpack, overload

from reactivex import Observable, abc

from rxpool import _checks as checks
from rxpool._core.inlet import current_inlet
from rxpool.errors import InvalidArgumentType
from rxpool.outcomes import Outcome
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.given import Give, give_batch, give_outcome, give_value
from rxpool.pool._flows.kinds import BatchFlow, OfBatches, SwitchFlow
from rxpool.pool._flows.options import (
    BatchKeywords,
    ExhaustKeywords,
    FlowOptions,
    MapKeywords,
    NewestKeywords,
    OutcomesKeywords,
)
from rxpool.pool._flows.pull import pull
from rxpool.pool._flows.subscription import MapFlow

__all__ = ("Streams",)

_T = TypeVar("_T")
_R = TypeVar("_R")

#: what `Observable.run` subscribes with, by which it is known that the caller will wait
_RUN: Any = getattr(import_module("reactivex.run"), "_default_scheduler", None)
_AMPLE = 1024  #: so many results may wait for the subscriber of a flow of one task


def _no_items(method: str, wrong: Sequence[Any]) -> None:
    """Whoever gives an operator the items as well means another method."""
    if wrong and not isinstance(wrong[0], Iterable):
        raise InvalidArgumentType(
            f"{method}() takes its options by name, as in retry=3, got {checks.shown(wrong[0])}"
        )
    if wrong:
        raise InvalidArgumentType(
            f"{method}() takes a function and gives an operator for streams, got "
            f"{len(wrong) + 1} arguments: to run it over an iterable, write "
            "pool.imap(fn, items) or pool.collect(fn, items)"
        )


class Streams:
    """What `WorkerPool` has for streams."""

    name: str
    _engine: Engine
    _max_pending: int

    @overload
    def map(
        self, fn: Callable[[_T], abc.ObservableBase[_R]], **options: Unpack[MapKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    @overload
    def map(
        self, fn: Callable[[_T], Awaitable[_R]], **options: Unpack[MapKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    @overload
    def map(
        self, fn: Callable[[_T], _R], **options: Unpack[MapKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    def map(
        self, fn: Callable[[Any], Any], *wrong: Any, **options: Any
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        """An operator: items in, results out, computed in parallel.

        - **Emits** each result when it is there (``order="completion"``), in the order of
          the items (``"input"``), or in their order among items of one key (``"key"``); one
          at a time, on the thread that computed it or on one that delivers already.
        - **Completes** when the source has, and every accepted item is done.
        - **Fails** when the source does, after the results of what was accepted; and, with
          ``on_failure="raise"``, with the error of the first item that failed: at once in
          completion order, when its turn comes in input order; the rest is cancelled.
        - **Holds back** the source as `overflow` says once `max_pending` items are inside
          that do not run, waiting to start or, done, for the subscriber.

        Args:
            fn: Called with each item.  What an ``async def`` returns is awaited; if it
                returns an Observable, the items of that are results.  Whatever it raises,
                SystemExit included, is the failure of its item; None is a result.
            concurrency: The most tasks of this flow at once; by default as many as the pool
                has workers.
            order: ``"completion"``, ``"input"`` or ``"key"``: items of one key run one
                after another, those of different keys in parallel.
            key: What tells the key of an item, with ``order="key"``; hashable.
            priority: A number for each item: what waits starts in the order of these,
                smaller first, equals first come.  If this or `key` raises, that is the
                failure of the item.
            max_reorder: In input order, the most items that are started and not emitted;
                8 times the concurrency by default; after 256 results, 256 if items are short
                (0.1 ms), and those that are handed to a worker together count as one then.
            timeout: Seconds (or a timedelta) that an attempt may run; then it is ended as
                far as the backend can, and the item fails with `TaskTimeout`.
            deadline: Seconds from acceptance, over waiting and running together, all
                attempts included; then the item fails with `DeadlineExceeded`.  A retry that
                could not start before is not waited for.
            max_failures: How many items may fail after all, retries and `fallback` included:
                a number, or a share (a float below 1) of the settled items, looked at from 20
                of them on.  One more ends the stream with `TooManyFailures`, after what is
                done; the rest is cancelled.  Until then ``on_failure="raise"`` leaves failures
                out.  What is dropped or cancelled does not count.
            fallback: What stands in for the result of an item that failed after all: a
                value, or ``fallback(item, error)``, called on the thread that learns of the
                failure.  If it raises, that is the failure, with the other as its cause.
            retry: A `Retry`, or a number of attempts.  The timeout is for each of them.
                Between two of them the item holds no worker, but counts against
                `max_pending`.
            breaker: A `CircuitBreaker`; several flows may share it.  What it refuses fails
                with `CircuitOpen`, was not attempted, and took no token.
            limit: A `Limit`; several flows may share it.  Every attempt takes its tokens
                when it starts.
            hedge: A `Hedge`: a second run of items that take long.
            journal: A `Journal`: items that an earlier run finished are not run again.
            on_failure: ``"raise"``; ``"skip"`` leaves failures out; an observer is given
                them as `Failure`, those of dropped items included.
            max_pending: The pool's by default; 0 means that an item is taken only when a
                worker is free for it.
            overflow: ``"block"``: the producer waits.  Where that is impossible, in virtual
                time and on the thread of a running event loop, the stream ends with
                `WouldBlock`; a worker of this pool runs waiting tasks instead.
                ``"drop_oldest"``: the item that waited longest goes.  ``"drop_newest"``: the
                arriving one goes.  ``"error"``: what was accepted comes out, then the
                stream ends with `Overflow`.

        A subscriber that raises gets nothing more: the flow is cancelled, and the exception
        is on `faults` and in the log.

        Raises:
            InvalidArgument: At once, if an option is out of range.
        """
        return self._operator("map", self._checked("map", MapKeywords, fn, options, wrong))

    @overload
    def outcomes(
        self, fn: Callable[[_T], abc.ObservableBase[_R]], **options: Unpack[OutcomesKeywords]
    ) -> Callable[[Observable[_T]], Observable[Outcome[_T, list[_R]]]]: ...

    @overload
    def outcomes(
        self, fn: Callable[[_T], Awaitable[_R]], **options: Unpack[OutcomesKeywords]
    ) -> Callable[[Observable[_T]], Observable[Outcome[_T, _R]]]: ...

    @overload
    def outcomes(
        self, fn: Callable[[_T], _R], **options: Unpack[OutcomesKeywords]
    ) -> Callable[[Observable[_T]], Observable[Outcome[_T, _R]]]: ...

    def outcomes(
        self, fn: Callable[[Any], Any], *wrong: Any, **options: Any
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        """Like `map`, but emits how each accepted item ended, as `Success` or `Failure`.

        No item's failure ends the stream.  Dropped and cancelled items have their outcomes
        too; those of dropped ones come as they happen, also in input order.  The results of
        an Observable are one `Success` with the list of them.
        """
        chosen = self._checked("outcomes", OutcomesKeywords, fn, options, wrong)
        chosen = replace(chosen, on_failure="skip")
        return self._operator("outcomes", chosen, give=give_outcome)

    @overload
    def map_batches(
        self,
        fn: Callable[[list[_T]], Awaitable[list[_R | Exception]]],
        **options: Unpack[BatchKeywords],
    ) -> Callable[[Observable[list[_T]]], Observable[_R]]: ...

    @overload
    def map_batches(
        self,
        fn: Callable[[list[_T]], list[_R | Exception]],
        **options: Unpack[BatchKeywords],
    ) -> Callable[[Observable[list[_T]]], Observable[_R]]: ...

    @overload
    def map_batches(
        self,
        fn: Callable[[list[_T]], Awaitable[Sequence[_R]]],
        **options: Unpack[BatchKeywords],
    ) -> Callable[[Observable[list[_T]]], Observable[_R]]: ...

    @overload
    def map_batches(
        self,
        fn: Callable[[list[_T]], Sequence[_R]],
        **options: Unpack[BatchKeywords],
    ) -> Callable[[Observable[list[_T]]], Observable[_R]]: ...

    def map_batches(
        self, fn: Callable[[Any], Any], *wrong: Any, **options: Any
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        """An operator: lists in, the results of their items out, one by one.

        As `map`, with each list as one task.  `fn` returns a list of as many results, each
        at the place of its item; a result that is an exception is the failure of that item.
        If `fn` raises, or returns another number (`BatchSizeError`), all items of the batch
        have failed.  With `retry`, the items whose results are exceptions are tried again,
        as a batch of their own, and the other results come out; a `breaker` counts each item.
        `report` counts batches, those too.

        Args:
            fn: A ``def`` or ``async def`` of a list that returns a list.
            bisect: Whether a batch that failed as a whole is run again in two halves, down
                to single items, so that only the bad ones fail.
            options: `concurrency`, `order`, `key`, `priority`, `max_reorder`, `timeout`,
                `deadline`, `max_failures`, `retry`, `breaker`, `limit`, `hedge`,
                `on_failure`, `max_pending` and `overflow`, as for `map`.
        """
        chosen = self._checked("map_batches", BatchKeywords, fn, options, wrong)
        return self._operator(
            "map_batches", replace(chosen, fn=OfBatches(fn)), BatchFlow, give_batch
        )

    @overload
    def switch_map(
        self, fn: Callable[[_T], abc.ObservableBase[_R]], **options: Unpack[NewestKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    @overload
    def switch_map(
        self, fn: Callable[[_T], Awaitable[_R]], **options: Unpack[NewestKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    @overload
    def switch_map(
        self, fn: Callable[[_T], _R], **options: Unpack[NewestKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    def switch_map(
        self, fn: Callable[[Any], Any], *wrong: Any, **options: Any
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        """An operator: a new item cancels the one before it; only the newest has a result.

        For search boxes: what was typed before does not matter any more.  What is cancelled
        is ended as far as the backend can.  One task runs at a time; if the pool is busy,
        the newest item waits.

        Args:
            fn: As for `map`; the results of an Observable come out until the next item.
            options: `timeout`, `deadline` and `on_failure`, as for `map`.
        """
        chosen = self._checked("switch_map", NewestKeywords, fn, options, wrong)
        chosen = replace(chosen, concurrency=1, max_pending=_AMPLE, overflow="drop_oldest")
        return self._operator("switch_map", chosen, SwitchFlow)

    @overload
    def exhaust_map(
        self, fn: Callable[[_T], abc.ObservableBase[_R]], **options: Unpack[ExhaustKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    @overload
    def exhaust_map(
        self, fn: Callable[[_T], Awaitable[_R]], **options: Unpack[ExhaustKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    @overload
    def exhaust_map(
        self, fn: Callable[[_T], _R], **options: Unpack[ExhaustKeywords]
    ) -> Callable[[Observable[_T]], Observable[_R]]: ...

    def exhaust_map(
        self, fn: Callable[[Any], Any], *wrong: Any, **options: Any
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        """An operator: items that arrive while one waits or runs are dropped.

        For rebuilds and the like, which are not to be interrupted.

        Args:
            fn: As for `map`.
            queue_latest: Whether the newest of those items waits, and runs next.
            options: `timeout`, `deadline` and `on_failure`, as for `map`.
        """
        chosen = self._checked("exhaust_map", ExhaustKeywords, fn, options, wrong)
        chosen = replace(
            chosen,
            concurrency=1,
            max_pending=_AMPLE,
            overflow="drop_oldest" if chosen.queue_latest else "drop_newest",
            most=2 if chosen.queue_latest else 1,
        )
        return self._operator("exhaust_map", chosen)

    def pull(self, items: Iterable[_T] | AsyncIterable[_T]) -> Observable[_T]:
        """A source that reads on only while the flow that it feeds has room.

        Back-pressure end to end, where nothing may block included: in virtual time and on
        an event loop it reads on when there is room again.  Elsewhere the subscribing
        thread reads, and waits while there is none.  Operators may be in between.
        """
        if not isinstance(items, (Iterable, AsyncIterable)):
            raise InvalidArgumentType(f"items must be iterable, got {checks.shown(items)}")
        return pull(self._engine, items)

    def _checked(
        self,
        method: str,
        known: type,
        fn: Any,
        options: Mapping[str, Any],
        wrong: Sequence[Any] = (),
    ) -> FlowOptions:
        _no_items(method, wrong)
        return FlowOptions.check(method, known, fn, self._max_pending, options)

    def _operator(
        self,
        method: str,
        options: FlowOptions,
        kind: type[MapFlow] = MapFlow,
        give: Give = give_value,
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        emits_drops = give is give_outcome or not isinstance(options.on_failure, str)
        name = f"{self.name}.{method}"

        def operator(source: Observable[Any]) -> Observable[Any]:
            def subscribe(
                observer: abc.ObserverBase[Any], default: abc.SchedulerBase | None = None
            ) -> abc.DisposableBase:
                engine = self._engine  # whoever has the operator keeps the pool
                state = options.open(engine.slots, emits_drops)
                flow = kind(engine, options, state, observer, give, name, current_inlet())
                waits = default is not None and default is _RUN
                return flow.subscribe_to(source, default, waits)

            return Observable(subscribe)

        return operator
