"""`WorkerPool`: the public face."""

import asyncio

from collections.abc import AsyncIterable, Awaitable, Callable, Iterable
from itertools import count
from types import TracebackType
from typing import Any, Literal, ParamSpec, Self, TypeVar, Unpack, overload

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxpool import _checks as checks
from rxpool._core.inlet import current_inlet, feeding
from rxpool.backends import Backend, SchedulerBackend, ThreadBackend
from rxpool.errors import InvalidArgumentType, PoolClosed
from rxpool.outcomes import Outcome
from rxpool.pool._engine import Engine
from rxpool.pool._flow import Flow
from rxpool.pool._imap import Results, results
from rxpool.pool._ledger import FlowLedger
from rxpool.pool._options import (
    FlowOptions,
    ImapKeywords,
    MapKeywords,
    OnFailure,
    Order,
    OutcomesKeywords,
    check_on_failure,
)
from rxpool.pool._pull import pull
from rxpool.pool._report import FlowReport, PoolReport, counts_of
from rxpool.pool._shutdown import Shutdown, close_at_exit
from rxpool.pool._submit import Calls, PoolFuture

__all__ = ("WorkerPool",)

_T = TypeVar("_T")
_R = TypeVar("_R")
_P = ParamSpec("_P")

_numbers = count(1)


class WorkerPool:
    """Runs work in parallel, with bounds, and gives the results to streams.

    ::

        with WorkerPool(8) as pool:
            rx.from_iterable(urls).pipe(pool.map(fetch)).subscribe(save)

    A pool is a context manager, sync and async: leaving the block closes it, leaving it by
    an exception terminates it.  A pool that is open when the interpreter exits is closed.

    Args:
        workers: How many tasks run at once; 1 or more.  By default the number of CPUs that
            the process may use and, for threads, four more, at most 32.
        on: Where tasks run: ``"threads"``, a reactivex scheduler (virtual time included),
            or a backend object.
        max_pending: How many items of a flow may wait, unless the flow says otherwise.
        name: For threads, messages and logs.

    Raises:
        InvalidArgument: If an argument is out of range.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        on: Literal["threads"] | abc.SchedulerBase | Backend = "threads",
        max_pending: int = 1024,
        name: str | None = None,
    ) -> None:
        if workers is not None:
            checks.count("workers", workers, least=1)
        self._max_pending = checks.count("max_pending", max_pending)
        if name is not None and not isinstance(name, str):
            raise InvalidArgumentType(f"name must be a str, got {name!r}")
        self.name = name or f"rxpool-{next(_numbers)}"
        backend = _backend(on, self.name)
        self._engine = Engine(self.name, workers or backend.default_slots, backend)
        self._calls = Calls(
            self._engine, FlowLedger(self._engine.ledger, max_pending=max_pending)
        )
        self._shutdown = Shutdown(self._engine, self._calls)
        close_at_exit(self)

    def __repr__(self) -> str:
        state = "closed" if self._engine.closing else "open"
        return f"<WorkerPool {self.name!r} of {self.workers}, {state}>"

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        return self._engine.ledger.slots

    @property
    def faults(self) -> Observable[BaseException]:
        """Errors that belong to no item: those of subscribers, above all.

        They are logged too, whether anybody subscribes or not.
        """
        return self._engine.faults

    # -- streams ------------------------------------------------------------------------

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
        self,
        fn: Callable[[Any], Any],
        *,
        concurrency: int | None = None,
        order: Order = "completion",
        max_reorder: int | None = None,
        on_failure: OnFailure = "raise",
        max_pending: int | None = None,
        overflow: checks.OverflowPolicy = "block",
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        """An operator: items in, results out, computed in parallel.

        - **Emits** each result when it is there (``order="completion"``), or in the order of
          the items (``"input"``), one at a time, on the thread that computed it or on one
          that delivers already.
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
            order: ``"completion"`` or ``"input"``.
            max_reorder: In input order, the most items that are started and not emitted;
                8 times the concurrency by default.
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
        options = self._options(fn, concurrency, order, max_reorder, max_pending, overflow)
        return self._operator(options, check_on_failure(on_failure), False)

    @overload
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
        self,
        fn: Callable[[Any], Any],
        *,
        concurrency: int | None = None,
        order: Order = "completion",
        max_reorder: int | None = None,
        max_pending: int | None = None,
        overflow: checks.OverflowPolicy = "block",
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        """Like `map`, but emits how each accepted item ended, as `Success` or `Failure`.

        No item's failure ends the stream.  Dropped and cancelled items have their outcomes
        too; those of dropped ones come as they happen, also in input order.  The results of
        an Observable are one `Success` with the list of them.
        """
        options = self._options(fn, concurrency, order, max_reorder, max_pending, overflow)
        return self._operator(options, "skip", True)

    def pull(self, items: Iterable[_T] | AsyncIterable[_T]) -> Observable[_T]:
        """A source that reads on only while the flow that it feeds has room.

        Back-pressure end to end, where nothing may block included: in virtual time and on
        an event loop it reads on when there is room again.  Elsewhere the subscribing
        thread reads, and waits while there is none.  Operators may be in between.
        """
        if not isinstance(items, (Iterable, AsyncIterable)):
            raise InvalidArgumentType(f"items must be iterable, got {items!r}")
        return pull(self._engine, items)

    def _options(
        self,
        fn: Any,
        concurrency: Any,
        order: Any,
        max_reorder: Any,
        max_pending: Any,
        overflow: Any,
    ) -> FlowOptions:
        pending = self._max_pending if max_pending is None else max_pending
        return FlowOptions.check(fn, concurrency, order, max_reorder, pending, overflow)

    def _operator(
        self, options: FlowOptions, on_failure: Any, outcomes: bool
    ) -> Callable[[Observable[Any]], Observable[Any]]:
        engine = self._engine
        keeps_drops = outcomes or not isinstance(on_failure, str)

        def operator(source: Observable[Any]) -> Observable[Any]:
            def subscribe(
                observer: abc.ObserverBase[Any], default: abc.SchedulerBase | None = None
            ) -> abc.DisposableBase:
                ledger = options.open(engine.ledger, keeps_drops)
                inlet = current_inlet()
                name = f"{self.name}.{'outcomes' if outcomes else 'map'}"
                flow = Flow(
                    engine, options.fn, ledger, observer, on_failure, outcomes, name, inlet
                )
                try:
                    engine.open(flow)
                except PoolClosed as error:
                    observer.on_error(error)
                    return Disposable()
                with feeding(flow, flow):
                    flow.upstream.disposable = source.subscribe(
                        flow.on_next,
                        flow.on_error,
                        flow.on_completed,
                        scheduler=default or engine.backend.scheduler,
                    )
                return Disposable(flow.dispose)

            return Observable(subscribe)

        return operator

    # -- iterables and calls --------------------------------------------------------------

    @overload
    @overload
    def imap(
        self,
        fn: Callable[[_T], abc.ObservableBase[_R]],
        items: Iterable[_T],
        **options: Unpack[ImapKeywords],
    ) -> Results[_R]: ...

    @overload
    def imap(
        self,
        fn: Callable[[_T], Awaitable[_R]],
        items: Iterable[_T],
        **options: Unpack[ImapKeywords],
    ) -> Results[_R]: ...

    @overload
    def imap(
        self, fn: Callable[[_T], _R], items: Iterable[_T], **options: Unpack[ImapKeywords]
    ) -> Results[_R]: ...

    def imap(
        self,
        fn: Callable[[Any], Any],
        items: Iterable[Any],
        *,
        concurrency: int | None = None,
        order: Order = "completion",
        max_reorder: int | None = None,
        on_failure: OnFailure = "raise",
        max_pending: int | None = None,
    ) -> Results[Any]:
        """The same as `map` without streams: an iterator of results.

        It is an async iterator too.  The input is read by whoever asks for the next result,
        only as far ahead as `max_pending` and the workers allow.  Leaving the loop cancels
        the rest.
        """
        options = self._options(fn, concurrency, order, max_reorder, max_pending, "block")
        if not isinstance(items, Iterable):
            raise InvalidArgumentType(f"items must be iterable, got {items!r}")
        ledger = options.open(self._engine.ledger, False)
        return results(self._engine, options.fn, ledger, items, check_on_failure(on_failure))

    @overload
    @overload
    def submit(
        self, fn: Callable[_P, abc.ObservableBase[_R]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PoolFuture[list[_R]]: ...

    @overload
    def submit(
        self, fn: Callable[_P, Awaitable[_R]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PoolFuture[_R]: ...

    @overload
    def submit(
        self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> PoolFuture[_R]: ...

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> PoolFuture[Any]:
        """Make one call; the future can be waited for, awaited, and cancelled while it waits.

        Waits if `max_pending` calls wait already.

        Raises:
            PoolClosed: If the pool is closed.
            WouldBlock: If it would have to wait where it cannot.
        """
        return self._calls.submit(checks.call("fn", fn), args, kwargs)

    # -- the state ----------------------------------------------------------------------

    def report(self) -> PoolReport:
        """What became of all items so far, summed and for each live flow."""
        engine = self._engine
        with engine.lock:
            ledgers = engine.ledgers()
            sums = engine.past.copy()
            for ledger in ledgers:
                sums.add(ledger)
            if self._calls not in engine.flows:
                sums.add(self._calls.ledger)
            flows = tuple(
                FlowReport(flow.name, **counts_of(flow.ledger)) for flow in engine.flows
            )
        return PoolReport(self.name, **sums.sums, flows=flows)

    # -- the end ------------------------------------------------------------------------

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Finish what was accepted, then end.

        Sources are cut; what was accepted is finished; what batches, throttles and debounces
        between flows hold comes out in order; every stream completes; the workers end.
        Chains drain from the top.

        Args:
            timeout: Seconds (or a timedelta) after which the rest is terminated.

        Returns:
            Whether everything finished.  In virtual time, and on a worker of the pool
            itself, nobody can wait: there it answers how things stand, and the pool ends
            when its work does.
        """
        limit = None if timeout is None else checks.duration("timeout", timeout)
        return self._shutdown.close(limit)

    def terminate(self) -> None:
        """End now: what waits is cancelled, what runs is cut off as far as possible.

        Every accepted item still gets its outcome, `TaskCancelled` for those.  A thread
        cannot be killed; its work runs on, and its result is dropped.
        """
        self._shutdown.terminate()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.close()
        else:
            self.terminate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        end: Callable[[], object] = self.close if error is None else self.terminate
        await asyncio.to_thread(end)


def _backend(on: Any, name: str) -> Backend:
    if on == "threads":
        return ThreadBackend(name)
    if isinstance(on, abc.SchedulerBase):
        return SchedulerBackend(on)
    if not isinstance(on, (str, type)) and all(
        callable(getattr(on, method, None)) for method in ("bind", "start", "stop")
    ):
        return on  # type: ignore[no-any-return]
    raise InvalidArgumentType(
        f"on must be 'threads', a reactivex scheduler or a backend object, got {on!r}"
    )

