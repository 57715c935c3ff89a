"""`pull` at the end of a pool: a finite input is read to its end, or there is an error."""

import asyncio
import itertools
import threading

import pytest
import reactivex as rx
from reactivex import Observer
from reactivex import operators as ro
from reactivex.scheduler import CurrentThreadScheduler

from rxpool import PoolClosed, RxPoolError, WorkerPool, WouldBlock
from rxpool import operators as ops
from rxpool._core.inlet import feeding
from rxpool.pool._flows import pull, pull_source
from tests.ends import work
from tests.ends.opened import Sink
from tests.waiting import eventually

MANY = 5000


async def same_later(value):
    """Give *value*."""
    return value


def function(on):
    """What suits the backend."""
    return same_later if on == "asyncio" else work.same


@pytest.mark.parametrize("on", ["threads", "processes", "asyncio"])
@pytest.mark.parametrize("between", [(), (ops.batch(10),)], ids=["plain", "batch"])
def test_async_with_reads_it_all(on, between):
    """More than fits into the flow at once, on a running loop."""
    sink = Sink(range(MANY))

    async def main():
        async with WorkerPool(4, on=on) as pool:
            fn = function(on)
            pool.pull(range(MANY)).pipe(pool.map(fn), *between).subscribe(sink)

    asyncio.run(main())
    sink.check(graceful=True)


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_a_plain_with_reads_it_all_where_work_goes_on_elsewhere(on):
    """The loop is blocked meanwhile, and is not needed."""
    sink = Sink(range(MANY))

    async def main():
        with WorkerPool(4, on=on) as pool:
            pool.pull(range(MANY)).pipe(pool.map(work.same)).subscribe(sink)

    asyncio.run(main())
    sink.check(graceful=True)


def test_a_plain_with_that_cannot_wait_says_what_to_write():
    """The block raises, and the stream ends with that error."""
    sink = Sink(range(MANY))

    async def main():
        with WorkerPool(4, on="asyncio") as pool:
            pool.pull(range(MANY)).pipe(pool.map(same_later)).subscribe(sink)

    with pytest.raises(WouldBlock, match="async with"):
        asyncio.run(main())
    (error,) = sink.ends
    assert isinstance(error, RxPoolError)
    assert "async with" in str(error)


async def numbers(count):
    """An asynchronous input."""
    for number in range(count):
        yield number


@pytest.mark.parametrize("on", ["threads", "asyncio"])
@pytest.mark.parametrize(
    "items",
    [
        lambda: (number for number in range(2000)),
        lambda: numbers(2000),
        lambda: iter(range(2000)),
        lambda: map(abs, range(2000)),
    ],
    ids=["generator", "async generator", "iterator", "map"],
)
def test_an_input_of_unknown_length_is_read_on(on, items):
    """What was subscribed on a loop was going to be read there."""
    sink = Sink(range(2000))

    async def main():
        async with WorkerPool(4, on=on) as pool:
            pool.pull(items()).pipe(pool.map(function(on))).subscribe(sink)

    asyncio.run(main())
    sink.check(graceful=True)


@pytest.mark.parametrize("on", ["threads", "asyncio"])
@pytest.mark.parametrize("endless", [itertools.count, lambda: numbers(10**9)])
def test_an_endless_input_on_a_loop_ends_with_an_error(on, endless, monkeypatch):
    """It is not known that it has no end, so a completion might be a lie."""
    monkeypatch.setattr(pull_source, "_READ_ON", 0.05)
    got, ends = [], []

    async def main():
        async with WorkerPool(2, on=on) as pool:
            stream = pool.pull(endless()).pipe(pool.map(function(on), order="input"))
            stream.subscribe(got.append, ends.append, lambda: ends.append(None))

    asyncio.run(main())
    (error,) = ends
    assert isinstance(error, PoolClosed)
    assert "pull" in str(error)
    assert got == list(range(len(got)))


def test_an_async_input_on_a_loop_that_a_plain_with_blocks():
    """Only that loop could read it."""
    sink = Sink(range(MANY))

    async def main():
        with WorkerPool(2) as pool:
            pool.pull(numbers(MANY)).pipe(pool.map(work.same)).subscribe(sink)

    asyncio.run(main())
    (error,) = sink.ends
    assert isinstance(error, PoolClosed)
    assert "async with" in str(error)


def test_an_endless_input_of_another_thread_is_cut():
    """Whoever closes the pool while that thread reads wants it to stop."""
    endless_input_is_cut(after=100)


def endless_input_is_cut(after):
    """Close a pool while a thread reads what has no end."""
    got, ends = [], []
    pool = WorkerPool(2)
    stream = pool.pull(itertools.count()).pipe(pool.map(work.same, order="input"))
    reader = threading.Thread(
        target=stream.subscribe, args=(got.append, ends.append, lambda: ends.append(None))
    )
    reader.start()
    eventually(lambda: len(got) >= after)
    assert pool.close() is True
    reader.join(20)
    assert not reader.is_alive()
    assert ends == [None]
    assert got == list(range(len(got)))


def test_an_input_that_never_says_anything_is_cut():
    """The thread that reads it waits for an item, for ever."""
    gate, ends = threading.Event(), []

    def silent():
        yield 1
        gate.wait()

    pool = WorkerPool(2)
    stream = pool.pull(silent()).pipe(pool.map(work.same))
    reader = threading.Thread(
        target=stream.subscribe, args=(None, ends.append, lambda: ends.append(None))
    )
    reader.start()
    eventually(lambda: pool.report().succeeded == 1)
    assert pool.close() is True
    assert ends == [None]
    gate.set()
    reader.join(20)
    assert not reader.is_alive()


def test_one_of_two_inputs_is_endless():
    """The other is read to its end."""
    got, ends = [], []
    pool = WorkerPool(2)
    finite = pool.pull([("finite", n) for n in range(3000)])
    endless = pool.pull(("endless", n) for n in itertools.count())
    stream = rx.merge(
        finite.pipe(ro.subscribe_on(rx.scheduler.NewThreadScheduler())),
        endless.pipe(ro.subscribe_on(rx.scheduler.NewThreadScheduler())),
    ).pipe(pool.map(work.same))
    stream.subscribe(got.append, ends.append, lambda: ends.append(None))
    eventually(lambda: len(got) > 100)
    assert pool.close() is True
    assert ends == [None]
    assert sum(kind == "finite" for kind, _ in got) == 3000


def test_inputs_that_are_subscribed_later():
    """The second of two that follow one another, which nothing had shown before."""
    sink = Sink([*range(500), *range(MANY)])

    async def main():
        async with WorkerPool(4) as pool:
            both = rx.concat(pool.pull(range(500)), pool.pull(range(MANY)))
            both.pipe(pool.map(work.same)).subscribe(sink)

    asyncio.run(main())
    sink.check(graceful=True)


@pytest.mark.usefixtures("frantic")
def test_cutting_races_with_reading():
    """One of the two tells the end, whatever the reader is about to do.

    Catches a `_Source._stop_with` that looks whether it is emitting before it says stop.
    """
    for _ in range(200):
        endless_input_is_cut(after=1)


def test_a_source_is_all_there_when_a_closing_pool_finds_it():
    """It is known from the end of its making on: whoever stops it then finds all of it."""

    class Known(list):
        def append(self, source):
            source._wake_up()  # as a pool that closes on another thread does
            super().append(source)

    class Below:
        sources = Known()

    with WorkerPool(1) as pool, feeding(Below()):
        here = CurrentThreadScheduler.singleton()
        reader = pull._Reader(pool._engine, Observer(), None, None, [1], here)
    assert Below.sources == [reader]
    reader.stop()
