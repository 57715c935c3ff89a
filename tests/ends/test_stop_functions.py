"""Errors that mean an end, raised by other functions of the user: of options and operators."""

import asyncio
import threading

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import Limit, Retry, iterate
from rxpool import operators as ops
from tests import jobs
from tests.ends.stops import STOPS, check, drain, give_all, leave, raised

pytestmark = pytest.mark.timeout(60)


def stop(*_):
    """A function that should have given a default to `next`."""
    return next(iter(()))


def stop_async(*_):
    """The same for an async iterator that is driven by hand."""
    raise StopAsyncIteration


def the_failure(lane, pool, items=(1,), fn=jobs.double, **options):
    """The error of the only item that fails."""
    found = lane.collect(pool.pull(items).pipe(pool.outcomes(fn, **options)))
    (failure,) = (outcome for outcome in found if not hasattr(outcome, "value"))
    return failure.error


RAISED = {stop: StopIteration, stop_async: StopAsyncIteration, leave: GeneratorExit}


@pytest.mark.parametrize("fn", RAISED)
def test_functions_of_options(lane, fn):
    """Those of keys, priorities, costs, retries and fallbacks are the item's failure too."""
    kind = RAISED[fn]
    retry_on, backoff = Retry(3, delay=0, on=fn), Retry(3, delay=0, backoff=fn)
    with lane.pool(1) as pool:
        check(the_failure(lane, pool, order="key", key=fn), kind)
        check(the_failure(lane, pool, priority=fn), kind)
        check(the_failure(lane, pool, limit=Limit(1000, cost=fn)), kind)
        check(the_failure(lane, pool, limit=Limit(1000, key=fn), retry=3), kind)
        for options in ({"fallback": fn}, {"retry": retry_on}, {"retry": backoff}):
            error = the_failure(lane, pool, fn=jobs.fail_odd, **options)
            check(error, kind)
            first = error if fn is leave else error.__cause__
            assert isinstance(first.__cause__, jobs.Oops)
        seen = []

        def note(item, error):
            seen.append(error)
            return item

        stream = pool.pull([1]).pipe(pool.map(jobs.fail_odd, retry=retry_on, fallback=note))
        assert lane.collect(stream) == [1]
        check(seen[0], kind)
        worker = pool.worker(jobs.double, order="key", key=fn)
        future = worker.execute(1)
        lane.until(future.done)
        check(future.exception(), kind)


@pytest.mark.parametrize("fn", [stop, stop_async])
def test_functions_of_operators(fn):
    """They end the stream with it."""
    kind = RAISED[fn]
    source = rx.of(1, 2)
    for operator in (
        ops.batch(2, key=fn),
        ops.batch(max_weight=2, weight=fn),
        ops.throttle(1000, cost=fn),
        ops.throttle(1000, key=fn),
        ops.debounce(0.01, key=fn),
        ops.retry(Retry(2, delay=0, on=fn)),
        ops.fallback(fn),
    ):
        failing = source.pipe(ro.concat(rx.throw(jobs.Oops())), operator)
        check(raised(list, iterate(failing)), kind)
        check(raised(failing.run), kind)


@pytest.mark.parametrize("kind", STOPS)
def test_the_error_of_a_source(lane, kind):
    """It comes out as that of a function does, through a flow, an operator or a loop."""
    with lane.pool(1) as pool:
        stream = rx.throw(kind("x")).pipe(pool.map(jobs.double))
        check(lane.subscribe(stream).wait().error, kind)
        stream = pool.pull([1, 2]).pipe(ro.concat(rx.throw(kind("x"))), ops.batch(2))
        sink = lane.subscribe(stream).wait()
        assert sink.values == [[1, 2]]
        check(sink.error, kind)
    subject = Subject()
    items = iter(iterate(subject))
    threading.Timer(0.01, subject.on_error, [kind("x")]).start()
    values, error = drain(lambda: next(items))
    assert values == []
    check(error, kind)

    async def main():
        async for _ in iterate(rx.throw(kind("x"))):
            pass

    check(raised(asyncio.run, main()), kind)


class Numbers:
    """An iterator that ends with the exception it is given."""

    def __init__(self, end):
        self.left = [3, 2, 1]
        self.end = end

    def __iter__(self):
        return self

    def __next__(self):
        if self.left:
            return self.left.pop()
        raise self.end


def test_the_end_of_an_input(real):
    """StopIteration is the end of an input, StopAsyncIteration an error of it."""
    with real.pool(2) as pool:
        double = jobs.double
        assert list(pool.imap(double, Numbers(StopIteration()), order="input")) == [2, 4, 6]
        results = pool.imap(double, Numbers(StopAsyncIteration()), order="input")
        values, error = drain(lambda: next(results))
        assert values == [2, 4, 6]
        check(error, StopAsyncIteration)


def give(kind):
    """An exception as a value."""
    return jobs.FATES[kind](kind)


@pytest.mark.parametrize("kind", STOPS)
def test_values_that_are_exceptions(real, kind):
    """What is returned is a value, whichever way it goes."""
    name = kind.__name__
    with real.pool(2) as pool:

        async def main():
            assert type(await pool.submit(give, name)) is kind
            assert [type(e) async for e in pool.imap(give, [name] * 3)] == [kind] * 3

        real.coroutine(main())
        assert type(pool.submit(give, name).result()) is kind
        assert [type(each) for each in pool.imap(give, [name] * 3)] == [kind] * 3
        stream = pool.pull([name] * 3).pipe(pool.map(give))
        assert [type(each) for each in iterate(stream)] == [kind] * 3
        assert type(stream.run()) is kind


@pytest.mark.parametrize("kind", STOPS)
def test_results_of_batches_that_are_exceptions(lane, kind):
    """Where an exception stands for a failed item, it fails as if the function had raised."""
    batch = ["a", kind.__name__, "b"]
    letters, kept = Subject(), []
    letters.subscribe(kept.append)
    with lane.pool(1) as pool:
        stream = pool.pull([batch]).pipe(pool.map_batches(give_all))
        sink = lane.subscribe(stream).wait()
        assert sink.values == ["a"]
        check(sink.error, kind)
        stream = pool.pull([batch]).pipe(pool.map_batches(give_all, on_failure=letters))
        assert lane.collect(stream) == ["a", "b"]
        check(kept[0].error, kind)
