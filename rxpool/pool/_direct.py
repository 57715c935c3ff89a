"""`Direct`: ways to use a pool without streams, each in a file of its own."""

import sys
from collections.abc import Awaitable, Callable, Coroutine, Iterable
from dataclasses import replace
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from reactivex import abc

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.pool._as_executor import PoolExecutor
from rxpool.pool._flows.calls import SubmitFlow
from rxpool.pool._flows.collected import Collected, collect
from rxpool.pool._flows.future import PoolFuture
from rxpool.pool._flows.imap import Results
from rxpool.pool._flows.imap_flow import ImapFlow
from rxpool.pool._flows.map_worker import MapWorker
from rxpool.pool._flows.options import CollectKeywords, ImapKeywords, WorkerKeywords
from rxpool.pool._operators import Streams
from rxpool.pool._shutdown import Shutdown
from rxpool.pool._stop_on import stop_on

__all__ = ("Direct",)

_T = TypeVar("_T")
_R = TypeVar("_R")
_P = ParamSpec("_P")


class Direct(Streams):
    """What `WorkerPool` has for those who want no stream."""

    _calls: SubmitFlow
    _shutdown: Shutdown

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
        self, fn: Callable[[Any], Any], items: Iterable[Any], **options: Any
    ) -> Results[Any]:
        """The same as `map` without streams: an iterator of results.

        It is an async iterator too.  The input is read by whoever asks for the next result,
        only as far ahead as `max_pending` and the workers allow.  Leaving the loop cancels
        the rest.
        """
        chosen = self._checked("imap", ImapKeywords, fn, options)
        if not isinstance(items, Iterable):
            raise InvalidArgumentType(f"items must be iterable, got {checks.shown(items)}")
        return Results(ImapFlow(self._engine, chosen, items))

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
            WouldBlock: If it would have to wait where it cannot: on a running event loop, write
                ``await pool.submit_async(...)``.
        """
        return self._calls.submit(checks.call("fn", fn), args, kwargs)

    @overload
    def worker(
        self, fn: Callable[[_T], abc.ObservableBase[_R]], **options: Unpack[WorkerKeywords]
    ) -> MapWorker[_T, list[_R]]: ...

    @overload
    def worker(
        self, fn: Callable[[_T], Awaitable[_R]], **options: Unpack[WorkerKeywords]
    ) -> MapWorker[_T, _R]: ...

    @overload
    def worker(
        self, fn: Callable[[_T], _R], **options: Unpack[WorkerKeywords]
    ) -> MapWorker[_T, _R]: ...

    def worker(self, fn: Callable[[Any], Any], **options: Any) -> MapWorker[Any, Any]:
        """A handle that runs *fn* on items one by one or on lists of items.

        `MapWorker.execute` gives a future for an item, `MapWorker.execute_batch` one for a
        list; `MapWorker.metrics` says what became of them.  Can be used from any thread.

        Args:
            fn: As for `map`; if it returns an Observable, the result is the list of its items.
            options: `concurrency`, ``order="key"`` with `key`, `priority`, `timeout`,
                `deadline`, `retry`, `breaker`, `limit`, `hedge`, `fallback`, `journal`,
                `max_pending` and `overflow`, as for `map`.

        Raises:
            InvalidArgument: If an option is out of its range.
            PoolClosed: If the pool is closed.
        """
        chosen = self._checked("worker", WorkerKeywords, fn, options)
        if chosen.order == "input":
            raise InvalidArgument(
                "worker() gives each item its own future: order='input' has no meaning"
            )
        name = getattr(fn, "__name__", type(fn).__name__)
        return MapWorker(self._engine, chosen, f"{self.name}.worker({name})", self)

    @overload
    def collect(
        self,
        fn: Callable[[_T], abc.ObservableBase[_R]],
        items: Iterable[_T],
        **options: Unpack[CollectKeywords],
    ) -> Collected[_T, list[_R]]: ...

    @overload
    def collect(
        self,
        fn: Callable[[_T], Awaitable[_R]],
        items: Iterable[_T],
        **options: Unpack[CollectKeywords],
    ) -> Collected[_T, _R]: ...

    @overload
    def collect(
        self,
        fn: Callable[[_T], _R],
        items: Iterable[_T],
        **options: Unpack[CollectKeywords],
    ) -> Collected[_T, _R]: ...

    def collect(
        self, fn: Callable[[Any], Any], items: Iterable[Any], **options: Any
    ) -> Collected[Any, Any]:
        """Run *fn* on all *items*, wait, and answer what became of each, in their order.

        ::

            done = pool.collect(fetch, urls, retry=3)
            done.raise_failures()
            pages = done.values()

        Where an event loop runs on this thread it waits only when it is awaited:
        ``done = await pool.collect(fetch, urls)``.  An error of *items* itself is raised when
        what was accepted is done.

        Args:
            fn: As for `outcomes`; if it returns an Observable, its value is the list of items.
            items: What to read; only as far ahead as `max_pending` and the workers allow.
            options: `concurrency`, `max_pending`, `timeout`, `deadline`, `retry`, `breaker`,
                `limit`, `hedge`, `fallback` and `journal`, as for `map`.

        With ``on="inline"`` all of it runs in this call, also where an event loop runs: there
        a cancellation is heard when the last item is done.

        Raises:
            InvalidArgument: If an option is out of its range.
            PoolClosed: If the pool is closed before all is done.
            WouldBlock: In virtual time.
        """
        chosen = self._checked("collect", CollectKeywords, fn, options)
        if not isinstance(items, Iterable):
            raise InvalidArgumentType(f"items must be iterable, got {checks.shown(items)}")
        # All results are kept anyway: one that takes long holds nothing else back.
        chosen = replace(chosen, order="input", max_reorder=sys.maxsize)
        return collect(lambda: Results(ImapFlow(self._engine, chosen, items, outcomes=True)))

    @overload
    def submit_async(
        self, fn: Callable[_P, abc.ObservableBase[_R]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, PoolFuture[list[_R]]]: ...

    @overload
    def submit_async(
        self, fn: Callable[_P, Awaitable[_R]], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, PoolFuture[_R]]: ...

    @overload
    def submit_async(
        self, fn: Callable[_P, _R], /, *args: _P.args, **kwargs: _P.kwargs
    ) -> Coroutine[Any, Any, PoolFuture[_R]]: ...

    def submit_async(
        self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any
    ) -> Coroutine[Any, Any, PoolFuture[Any]]:
        """Like `submit`, for coroutines: waits for room, then gives the future.

        ::

            calls = await asyncio.gather(*(pool.submit_async(fetch, url) for url in urls))
            pages = await asyncio.gather(*calls)

        Those that wait come in one after the other, in the order in which they began to.
        One that is cancelled while it waits makes no call.

        Raises:
            PoolClosed: If the pool is closed, also while this waits.
        """
        return self._calls.submit_async(checks.call("fn", fn), args, kwargs)

    def as_executor(self) -> PoolExecutor:
        """This pool as a `concurrent.futures.Executor`, for libraries that want one.

        It has `submit`, `map` and `shutdown`, and is a context manager.  A worker process that
        dies costs the one call that it ran.  Shutting it down leaves the pool open.

        Raises:
            PoolClosed: If the pool is closed.
        """
        return PoolExecutor(self._engine, self)

    def stop_on(self, *signals: int, within: checks.Seconds = 10.0) -> None:
        """Close the pool on the first of *signals*, and then let it end the process.

        ::

            pool.stop_on(signal.SIGTERM, signal.SIGINT)

        Sources are cut, what was accepted is finished, batches come out, as for `close`.  When
        that is over the process ends as the signal would have ended it: SIGTERM kills it,
        SIGINT raises `KeyboardInterrupt` in the main thread.  If the program had set a handler
        before, that is called instead, and the program goes on as it likes.  A signal that was
        ignored stays ignored.  A second signal terminates the pool at once.

        Of several pools, all that heard the signal close at once.  It is undone when the pool
        ends.

        Args:
            signals: Such as ``signal.SIGTERM``.
            within: Seconds (or a timedelta) after which what is left is terminated; of several
                pools the longest holds.

        Raises:
            InvalidArgument: If that is no signal that can be handled, or *within* is negative.
            PoolClosed: If the pool is closed.
            RuntimeError: On another thread than the main one.
        """
        with self._engine.lock:
            self._engine.registry.check_open()
        stop_on(self._shutdown, self._engine.telemetry.progressed, signals, within)
