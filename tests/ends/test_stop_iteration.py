"""Errors that mean an end to Python itself are failures like any other, and end nothing early.

StopIteration and StopAsyncIteration end iterations that they pass through, GeneratorExit a
coroutine, KeyboardInterrupt and SystemExit a loop, CancelledError a task.
"""

import itertools

import pytest
from reactivex.subject import Subject

from rxpool import Retry, iterate
from tests import jobs
from tests.ends.stops import FATES, check, drain, raised, raised_by

FORMS = {"def": jobs.meet, "async def": jobs.meet_later, "Observable": jobs.meet_observed}

pytestmark = pytest.mark.timeout(60)


def cases():
    """What is raised, and by which form of function."""
    for kind, (form, fn) in itertools.product(FATES, FORMS.items()):
        if form != "Observable" or issubclass(kind, Exception):  # it has no other errors
            yield kind, fn


def way_map(pool, lane, fn, fate):
    """The stream ends with the error, after what came before."""
    sink = lane.subscribe(pool.pull(["a", fate, "b"]).pipe(pool.map(fn, order="input")))
    assert sink.wait().values == ["a"]
    return sink.error


def way_run(pool, lane, fn, fate):
    """`run` raises it."""
    return raised(pool.pull(["a", fate, "b"]).pipe(pool.map(fn, order="input")).run)


def way_outcomes(pool, lane, fn, fate):
    """It is in the outcome."""
    stream = pool.pull(["a", fate, "b"]).pipe(pool.outcomes(fn, order="input"))
    before, failure, after = lane.collect(stream)
    assert (before.item, after.item, failure.item) == ("a", "b", fate)
    return failure.error


def way_dead_letter(pool, lane, fn, fate):
    """It is in the dead letter, and the others go on."""
    letters = Subject()
    kept = []
    letters.subscribe(kept.append)
    through = pool.map(fn, on_failure=letters, order="input")
    assert lane.collect(pool.pull(["a", fate, "b"]).pipe(through)) == ["a", "b"]
    return kept[0].error


def way_retried(pool, lane, fn, fate):
    """What decides about another attempt is asked about what is told in the end."""
    seen = []
    retry = Retry(2, delay=0, on=lambda error: seen.append(error) or True)
    stream = pool.pull([fate]).pipe(pool.outcomes(fn, retry=retry))
    (failure,) = lane.collect(stream)
    assert failure.attempts == 2
    assert [type(error) for error in seen] == [type(failure.error)]
    return failure.error


def way_imap_for(pool, lane, fn, fate):
    """A loop ends with it."""
    values = []

    def loop():
        for value in pool.imap(fn, ["a", fate, "b"], order="input"):
            values.append(value)

    error = raised(loop)
    assert values == ["a"]
    return error


def way_imap_next(pool, lane, fn, fate):
    """`next` raises it."""
    results = pool.imap(fn, ["a", fate, "b"], order="input")
    values, error = drain(lambda: next(results))
    assert values == ["a"]
    return error


def way_imap_async_for(pool, lane, fn, fate):
    """An asynchronous loop ends with it."""
    values = []

    async def loop():
        async for value in pool.imap(fn, ["a", fate, "b"], order="input"):
            values.append(value)

    async def main():
        return await raised_by(loop())

    error = lane.coroutine(main())
    assert values == ["a"]
    return error


def way_iterate_for(pool, lane, fn, fate):
    """A loop over a stream ends with it."""
    stream = pool.pull(["a", fate, "b"]).pipe(pool.map(fn, order="input"))
    with iterate(stream) as items:
        values, error = drain(lambda: next(items))
    assert values == ["a"]
    return error


def way_iterate_async_for(pool, lane, fn, fate):
    """An asynchronous loop over a stream ends with it."""
    stream = pool.pull(["a", fate, "b"]).pipe(pool.map(fn, order="input"))
    values = []

    async def loop():
        async for value in iterate(stream):
            values.append(value)

    async def main():
        return await raised_by(loop())

    error = lane.coroutine(main())
    assert values == ["a"]
    return error


def way_future(pool, lane, fn, fate):
    """The future has it."""
    future = pool.submit(fn, fate)
    lane.until(future.done)
    error = raised(future.result)
    assert future.exception() is error
    return error


def way_await(pool, lane, fn, fate):
    """Awaiting raises it, before the call is done and after."""

    async def main():
        future = pool.submit(fn, fate)
        error = await raised_by(future)
        assert await raised_by(future) is error
        return error

    return lane.coroutine(main())


def way_worker(pool, lane, fn, fate):
    """A handle's futures have it, those of a list too."""
    worker = pool.worker(fn)
    futures = [worker.execute("a"), worker.execute(fate), worker.execute_batch(["a", fate])]
    lane.until(lambda: all(future.done() for future in futures))
    assert futures[0].result() in ("a", ["a"])
    first, second = raised(futures[1].result), raised(futures[2].result)
    assert type(first) is type(second)
    return first


WAYS = [value for name, value in list(globals().items()) if name.startswith("way_")]

#: those in which no thread waits
STILL = [way_map, way_outcomes, way_dead_letter, way_retried, way_future, way_worker]


def name_of(way):
    """The name of a case."""
    return way.__name__.removeprefix("way_")


@pytest.mark.parametrize("way", STILL, ids=name_of)
def test_every_way_out(lane, way):
    """The item fails with it, whichever function raised it and however one hears of that."""
    with lane.pool(1) as pool:
        for kind, fn in cases():
            check(way(pool, lane, fn, kind.__name__), kind, lane)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in STILL], ids=name_of)
def test_every_way_out_that_waits(real, way):
    """The same where a thread or a coroutine waits for it."""
    with real.pool(2) as pool:
        for kind, fn in cases():
            check(way(pool, real, fn, kind.__name__), kind, real)
