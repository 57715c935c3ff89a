"""What functions and iterators raise on threads fails its item, or ends the stream."""

import asyncio

import pytest
import reactivex as rx

import rxpool
from rxpool import Failure, Success, WorkerPool
from tests.pool.crew import Oops, Sink, balanced, collect
from tests.waiting import WAIT

# -- what functions and iterators raise --------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [Oops, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_whatever_a_function_raises_is_the_failure_of_its_item(kind, asynchronous):
    """Even what would end a thread or a loop is a failure like any other."""

    def fn(item):
        if item == 2:
            raise kind("no")
        return item

    async def coroutine(item):
        return fn(item)

    expected = RuntimeError if kind is StopIteration else kind
    with WorkerPool(1) as pool:
        through = pool.outcomes(coroutine if asynchronous else fn)
        first, second, third = collect(rx.of(1, 2, 3).pipe(through))
        assert (first.value, third.value) == (1, 3)
        assert isinstance(second, Failure)
        assert type(second.error) is expected
        future = pool.submit(coroutine if asynchronous else fn, 2)
        assert type(future.exception(WAIT)) is expected
        assert collect(rx.of(1, 2, 3).pipe(pool.map(fn, on_failure="skip"))) == [1, 3]
    assert balanced(pool).failed == 3


def test_a_failure_keeps_its_traceback():
    """The exception is the very object, with the line where it was raised."""

    def deep(_):
        raise Oops

    with WorkerPool(1) as pool:
        (failure,) = collect(rx.of(1).pipe(pool.outcomes(deep)))
    names = []
    trace = failure.error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "deep"


def failing_after(count):
    """An iterator that raises after *count* items."""
    yield from range(count)
    raise Oops("the input")


def test_an_iterator_that_raises_in_pull():
    """What was read comes out, then the error."""
    sink = Sink()
    with WorkerPool(2) as pool:
        sink.to(pool.pull(failing_after(5)).pipe(pool.map(lambda n: n)))
        with pytest.raises(Oops, match="the input"):
            sink.wait()
    assert sorted(sink.values) == [0, 1, 2, 3, 4]


def test_an_iterator_that_raises_in_imap():
    """What was read comes out, then the error, then nothing."""
    got = []
    with WorkerPool(2) as pool:
        results = pool.imap(lambda n: n, failing_after(5))
        with pytest.raises(Oops, match="the input"):
            got.extend(value for value in results if got.append(value))
        assert next(results, "end") == "end"
    assert sorted(got) == [0, 1, 2, 3, 4]


# -- whole programs ----------------------------------------------------------------------


def test_success_is_exported():
    """The names that outcomes are matched by are public."""
    assert rxpool.Success is Success
