"""Pools of processes behind one face, each used the way its documentation shows.

All but loky and joblib, which have a way of their own, start their processes with
``forkserver``, as rxpool does.
"""

import multiprocessing
import os
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing.connection import Connection, wait
from threading import Event
from typing import Any

import reactivex as rx

from benchmarks.work import who
from rxpool import WorkerPool

__all__ = ("PEERS", "Peer", "Pipes", "executor", "stream", "until_done", "warm")

Work = Callable[[Any], Any]
Sink = Callable[[Any], object]


def context() -> Any:
    """How processes are started."""
    methods = multiprocessing.get_all_start_methods()
    return multiprocessing.get_context("forkserver" if "forkserver" in methods else "spawn")


# -- the floor ---------------------------------------------------------------------------


def serve(connection: Connection) -> None:
    """What a process of `Pipes` does: a function, then items or chunks until None."""
    try:
        while (message := connection.recv()) is not None:
            fn, chunked = message
            if chunked:
                while (items := connection.recv()) is not None:
                    connection.send([fn(item) for item in items])
            else:
                while (item := connection.recv()) is not None:
                    connection.send(fn(item))
    except (EOFError, OSError, KeyboardInterrupt):
        pass


class Pipes:
    """The floor: a process and a pipe a worker, four messages ahead, read in turn.

    Faults are not thought of, nor work that takes unequal time.
    """

    def __init__(self, workers: int) -> None:
        self._stack = ExitStack()
        self.connections = [self._start() for _ in range(workers)]

    def _start(self) -> Connection:
        here, there = context().Pipe()
        process = context().Process(target=serve, args=(there,), daemon=True)
        process.start()
        there.close()
        self._stack.callback(process.join)
        self._stack.callback(here.close)
        self._stack.callback(here.send, None)
        return here  # type: ignore[no-any-return]

    def __enter__(self) -> "Pipes":
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def imap(self, fn: Work, items: Iterable[Any], chunk: int = 1) -> Iterator[Any]:
        """Results in the order in which the processes are read."""
        iterator = iter(items)
        for connection in self.connections:
            connection.send((fn, chunk > 1))
        messages: Iterator[Any] = iterator
        if chunk > 1:
            messages = iter(lambda: list(islice(iterator, chunk)), [])
        busy = []
        for _ in range(4):
            for connection in self.connections:
                for message in islice(messages, 1):
                    connection.send(message)
                    busy.append(connection)
        # Each connection is in `busy` once for each message that it has: read in turn.
        while busy:
            again = []
            for connection in busy:
                result = connection.recv()
                for message in islice(messages, 1):
                    connection.send(message)
                    again.append(connection)
                if chunk > 1:
                    yield from result
                else:
                    yield result
            busy = again
        for connection in self.connections:
            connection.send(None)

    def imap_ready(self, fn: Work, items: Iterable[Any]) -> Iterator[Any]:
        """Whoever has a result is read and fed next, two items ahead: for long work."""
        iterator = iter(items)
        for connection in self.connections:
            connection.send((fn, False))
        out = 0
        for connection in [*self.connections, *self.connections]:
            for item in islice(iterator, 1):
                connection.send(item)
                out += 1
        while out:
            for connection in wait(self.connections):
                result = connection.recv()
                out -= 1
                for item in islice(iterator, 1):
                    connection.send(item)
                    out += 1
                yield result
        for connection in self.connections:
            connection.send(None)

    def submit(self, fn: Work, item: Any) -> Callable[[], Any]:
        """One call to the first process, as an answer that can be waited for."""
        connection = self.connections[0]
        connection.send((fn, False))
        connection.send(item)
        connection.send(None)
        return connection.recv  # type: ignore[no-any-return]


# -- the peers ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Peer:
    """A kind of pool.

    - *open* makes one with a number of workers, as a context manager.
    - *feed* has all items computed, in chunks of a size, and calls a sink with each result.
    - *submit* makes one call, with a limit in seconds or None; what it answers waits.
    """

    open: Callable[[int], AbstractContextManager[Any]]
    feed: Callable[[Any, Work, Iterable[Any], int, Sink], None]
    submit: Callable[[Any, Work, Any, float | None], Callable[[], Any]] | None = None
    needs: str = ""


def pulled(use: Callable[[Any, Work, Iterable[Any], int], Iterable[Any]]) -> Any:
    """A *feed* out of what answers an iterable."""

    def feed(pool: Any, fn: Work, items: Iterable[Any], chunk: int, sink: Sink) -> None:
        for result in use(pool, fn, items, chunk):
            sink(result)

    return feed


def executor(workers: int) -> Any:
    """The standard library's, or loky's: the same methods."""
    return ProcessPoolExecutor(workers, mp_context=context())


def executor_map(pool: Any, fn: Work, items: Iterable[Any], chunk: int) -> Iterable[Any]:
    """Reads all of its input first."""
    return pool.map(fn, items, chunksize=chunk)  # type: ignore[no-any-return]


def executor_submit(pool: Any, fn: Work, item: Any, limit: float | None) -> Callable[[], Any]:
    """The limit is of the wait alone."""
    future = pool.submit(fn, item)
    return lambda: future.result(limit)


def pool_submit(pool: Any, fn: Work, item: Any, limit: float | None) -> Callable[[], Any]:
    """The limit is of the wait alone."""
    result = pool.apply_async(fn, (item,))
    return lambda: result.get(limit)


def pebble(workers: int) -> Any:
    """pebble's pool."""
    from pebble import ProcessPool

    return ProcessPool(workers, context=context())


def pebble_submit(pool: Any, fn: Work, item: Any, limit: float | None) -> Callable[[], Any]:
    """The limit is of the run: the process is killed."""
    return pool.schedule(fn, args=[item], timeout=limit).result  # type: ignore[no-any-return]


def pebble_schedule(pool: Any, fn: Work, items: Iterable[Any], chunk: int, sink: Sink) -> None:
    """All items first, then the results in their order."""
    for future in [pool.schedule(fn, args=[item], timeout=60.0) for item in items]:
        sink(future.result())


def pebble_map(pool: Any, fn: Work, items: Iterable[Any], chunk: int) -> Iterable[Any]:
    """Reads all of its input first."""
    return pool.map(fn, items, chunksize=chunk).result()  # type: ignore[no-any-return]


def loky(workers: int) -> Any:
    """loky's executor, not the one that is reused."""
    from loky import ProcessPoolExecutor as Executor

    return Executor(workers)


def joblib(return_as: str) -> Callable[[int], AbstractContextManager[Any]]:
    """joblib's default, which is loky and a size of batches that it finds itself."""

    @contextmanager
    def opened(workers: int) -> Iterator[Any]:
        from joblib import Parallel
        from joblib.externals.loky import get_reusable_executor

        try:
            with Parallel(n_jobs=workers, return_as=return_as) as parallel:
                yield parallel
        finally:
            get_reusable_executor().shutdown(wait=True, kill_workers=True)

    return opened


def joblib_map(pool: Any, fn: Work, items: Iterable[Any], chunk: int) -> Iterable[Any]:
    """The size of the batches is joblib's own."""
    from joblib import delayed

    return pool(delayed(fn)(item) for item in items)  # type: ignore[no-any-return]


def mpire(workers: int) -> Any:
    """mpire's pool, with processes that stay."""
    from mpire import WorkerPool as Pool

    return Pool(workers, start_method="forkserver", keep_alive=True)


def mpire_map(pool: Any, fn: Work, items: Iterable[Any], chunk: int) -> Iterable[Any]:
    """Bounded: two chunks a worker by default."""
    return pool.imap_unordered(fn, items, chunk_size=chunk)  # type: ignore[no-any-return]


def mpire_submit(pool: Any, fn: Work, item: Any, limit: float | None) -> Callable[[], Any]:
    """The limit is of the run."""
    return pool.apply_async(fn, (item,), task_timeout=limit).get  # type: ignore[no-any-return]


# -- rxpool ------------------------------------------------------------------------------


def rxpool(workers: int) -> Any:
    """Ours, with nothing tuned."""
    return WorkerPool(workers, on="processes")


@contextmanager
def rxpool_on_executor(workers: int) -> Iterator[Any]:
    """Ours in front of the standard library's."""
    with executor(workers) as inner, WorkerPool(workers, on=inner) as pool:
        yield pool


def rxpool_submit(pool: Any, fn: Work, item: Any, limit: float | None) -> Callable[[], Any]:
    """The limit is of the wait alone."""
    future = pool.submit(fn, item)
    return lambda: future.result(limit)


def stream(operator: Any, items: Iterable[Any], sink: Sink) -> None:
    """From an observable through *operator* to *sink*; raises what the stream ends with."""
    until_done(rx.from_iterable(items).pipe(operator), sink)


def until_done(source: rx.Observable[Any], sink: Sink) -> None:
    """All of *source* to *sink*; raises what it ends with."""
    done = Event()
    errors: list[BaseException] = []

    def failed(error: BaseException) -> None:
        errors.append(error)
        done.set()

    source.subscribe(sink, failed, done.set)
    done.wait()
    if errors:
        raise errors[0]


def rxpool_map(pool: Any, fn: Work, items: Iterable[Any], chunk: int, sink: Sink) -> None:
    """As a stream."""
    stream(pool.map(fn), items, sink)


PEERS = {
    "floor": Peer(
        Pipes,
        pulled(lambda pool, fn, items, chunk: pool.imap(fn, items, chunk)),
        lambda pool, fn, item, limit: pool.submit(fn, item),
    ),
    "floor, whoever is ready": Peer(
        Pipes, pulled(lambda pool, fn, items, chunk: pool.imap_ready(fn, items))
    ),
    "ProcessPoolExecutor": Peer(executor, pulled(executor_map), executor_submit),
    "multiprocessing.Pool": Peer(
        lambda workers: context().Pool(workers),
        pulled(lambda pool, fn, items, chunk: pool.imap_unordered(fn, items, chunk)),
        pool_submit,
    ),
    "pebble": Peer(pebble, pulled(pebble_map), pebble_submit, "pebble"),
    "pebble schedule": Peer(pebble, pebble_schedule, pebble_submit, "pebble"),
    "loky": Peer(loky, pulled(executor_map), executor_submit, "loky"),
    "joblib": Peer(joblib("list"), pulled(joblib_map), None, "joblib"),
    "joblib generator": Peer(joblib("generator_unordered"), pulled(joblib_map), None, "joblib"),
    "mpire": Peer(mpire, pulled(mpire_map), mpire_submit, "mpire"),
    "rxpool map": Peer(rxpool, rxpool_map, rxpool_submit),
    "rxpool imap": Peer(
        rxpool, pulled(lambda pool, fn, items, chunk: pool.imap(fn, items)), rxpool_submit
    ),
    "rxpool on an executor": Peer(rxpool_on_executor, rxpool_map, rxpool_submit),
}


def warm(peer: Peer, pool: Any, workers: int) -> None:
    """Use *pool* until each of its processes has answered."""
    seen: set[int] = set()
    end = time.monotonic() + 10
    while len(seen) < workers and time.monotonic() < end:
        peer.feed(pool, who, range(4 * workers), 1, seen.add)
    if os.getpid() in seen or len(seen) < workers:
        raise AssertionError(f"answers from {len(seen)} processes, not {workers}")
