"""`max_failures`: so many may fail after all, and no more."""

import pickle
import threading
from collections import deque

import numpy
import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex.testing import TestScheduler

from rxpool import (
    Failure,
    InvalidArgument,
    PoolClosed,
    Retry,
    Success,
    TooManyFailures,
    WorkerPool,
)
from rxpool.pool._state.tally import Tally
from tests.pool.crew import Oops, Sink, collect
from tests.waiting import WAIT


def odd_fail(n):
    """Fail for odd numbers."""
    if n % 2:
        raise Oops(n)
    return n


def odd_bad(batch):
    """The same for batches."""
    return [Oops(n) if n % 2 else n for n in batch]


def run(source, method="map", fn=odd_fail, workers=1, **options):
    """Messages in virtual time; in the end nothing is inside."""
    scheduler = TestScheduler()
    with WorkerPool(workers, on=scheduler) as pool:
        out = scheduler.start(lambda: source.pipe(getattr(pool, method)(fn, **options)))
        report = pool.report()
        assert report.in_flight == 0
    values = [message.value for message in out.messages]
    return values[:-1], values[-1], report


def given_values(messages):
    """What was emitted."""
    return [message.value for message in messages]


@given(
    st.one_of(st.integers(0, 6), st.sampled_from([0.1, 0.25, 0.5, 0.9])),
    st.lists(st.booleans(), max_size=80),
)
def test_it_ends_with_the_first_that_is_too_many(most, fates):
    """Not before, and it says so once."""
    tally, failed, told = Tally("flow", most), 0, []
    for settled, fate in enumerate(fates, 1):
        failed += fate
        if (error := tally.settle(fate)) is not None:
            told.append((error.failed, error.settled))
        allowed = most if isinstance(most, int) else most * settled
        over = failed > allowed and (isinstance(most, int) or settled >= 20)
        if over and len(told) == 1 and told[0] == (failed, settled):
            continue
        assert bool(told) or not over
    assert len(told) <= 1


@pytest.mark.parametrize("order", ["completion", "input"])
def test_a_number_of_failures(order):
    """Good ones come out until there are too many; what waits is cancelled."""
    values, end, report = run(rx.range(20), order=order, max_failures=2)
    assert given_values(values) == [0, 2, 4]
    error = end.exception
    assert isinstance(error, TooManyFailures)
    assert (error.failed, error.settled) == (3, 6)
    assert "3 of 6 settled items failed (max_failures=2)" in str(error)
    assert (report.succeeded, report.failed) == (3, 3)
    assert report.cancelled == report.accepted - 6


def test_none_at_all():
    """Zero: the first failure is one too many."""
    values, end, _ = run(rx.of(0, 2, 1, 4), max_failures=0)
    assert given_values(values) == [0, 2]
    assert (end.exception.failed, end.exception.settled) == (1, 3)


def test_as_many_as_are_allowed():
    """They are left out, and the stream completes."""
    values, end, _ = run(rx.range(8), max_failures=4)
    assert given_values(values) == [0, 2, 4, 6]
    assert end.kind == "C"


@pytest.mark.parametrize(("share", "ends"), [(0.5, False), (0.49, True)])
def test_a_share(share, ends):
    """Looked at from 20 settled items on."""
    values, end, _ = run(rx.range(40), max_failures=share)
    if not ends:
        assert end.kind == "C"
        assert len(values) == 20
        return
    assert (end.exception.failed, end.exception.settled) == (10, 20)
    assert len(values) == 10


BROUGHT = threading.Event()


def held(n):
    """`odd_fail`, once all items were brought."""
    assert BROUGHT.wait(WAIT)
    return odd_fail(n)


def on_a_thread(source, **options):
    """Outcomes of work that begins when the source has ended, and the error."""
    BROUGHT.clear()
    with WorkerPool(1) as pool:
        sink = Sink().to(source.pipe(pool.outcomes(held, **options)))
        BROUGHT.set()
        try:
            sink.wait()
        except TooManyFailures as error:
            return sink.values, error
        return sink.values, None


def kinds_of(records):
    """Good, or the names of the errors."""
    return ["ok" if isinstance(one, Success) else type(one.error).__name__ for one in records]


@pytest.mark.parametrize("order", ["completion", "input"])
def test_outcomes_tell_of_all(order):
    """That failure and the cancelled ones come before the error."""
    records, error = on_a_thread(rx.range(10), max_failures=1, order=order)
    assert kinds_of(records) == ["ok", "Oops", "ok", "Oops", *["TaskCancelled"] * 6]
    assert isinstance(error, TooManyFailures)


def test_retries_and_fallback_come_first():
    """What is mended by them has not failed."""
    left = {1: 1, 3: 9}

    def flaky(n):
        if left.get(n, 0):
            left[n] -= 1
            raise Oops(n)
        return n

    _, end, _ = run(rx.range(6), fn=flaky, max_failures=1, retry=Retry(2, delay=1))
    assert end.kind == "C"
    values, end, _ = run(rx.range(6), max_failures=0, fallback=-1)
    assert given_values(values) == [0, -1, 2, -1, 4, -1]
    assert end.kind == "C"


def test_dropped_ones_do_not_count():
    """Nobody has tried them."""
    records, error = on_a_thread(
        rx.range(30), max_failures=5, max_pending=4, overflow="drop_newest"
    )
    assert error is None
    assert kinds_of(records).count("ItemDropped") >= 25
    assert len(records) == 30


@pytest.mark.parametrize("method", ["map", "outcomes", "map_batches", "imap"])
def test_cancelled_ones_do_not_count(method):
    """Where the pool is terminated, that is what is told."""
    pool, brought = WorkerPool(1), threading.Event()

    def end(_):
        assert brought.wait(WAIT)
        pool.terminate()

    if method == "imap":
        brought.set()
        with pytest.raises(PoolClosed):
            list(pool.imap(end, range(5), max_failures=0))
        return
    items = [[n] for n in range(5)] if method == "map_batches" else range(5)
    through = getattr(pool, method)(end, max_failures=0)
    sink = Sink().to(rx.from_iterable(items).pipe(through))
    brought.set()
    if method == "outcomes":
        sink.wait()
        assert kinds_of(sink.values) == ["TaskCancelled"] * 5
    else:
        with pytest.raises(PoolClosed):
            sink.wait()


def test_batches_count_items():
    """All results of the batch that brings one too many come out."""
    source = rx.of(list(range(6)), list(range(6, 12)), [12, 14])
    values, end, _ = run(source, "map_batches", odd_bad, max_failures=4)
    assert given_values(values) == [0, 2, 4, 6, 8, 10]
    assert (end.exception.failed, end.exception.settled) == (5, 10)


def test_a_batch_that_raises():
    """Each of its items has failed."""

    def bad(batch):
        raise Oops(batch)

    _, end, _ = run(rx.of([1, 2, 3], [4]), "map_batches", bad, max_failures=2)
    assert (end.exception.failed, end.exception.settled) == (3, 3)


def test_an_observer_gets_them():
    """The cancelled ones as well."""
    letters = []

    class Letters:
        def on_next(self, failure):
            letters.append((failure.item, type(failure.error).__name__))

    _, end, report = run(rx.range(6), max_failures=0, on_failure=Letters())
    assert letters[0] == (1, "Oops")
    assert [name for _, name in letters[1:]] == ["TaskCancelled"] * report.cancelled
    assert isinstance(end.exception, TooManyFailures)


def test_an_iterator():
    """What is done is given first."""
    with WorkerPool(1) as pool:
        results, seen = pool.imap(odd_fail, range(100), order="input", max_failures=3), deque()
        with pytest.raises(TooManyFailures) as raised:
            seen.extend(results)
        assert (raised.value.failed, raised.value.settled) == (4, 8)
        assert list(seen)[:4] == [0, 2, 4, 6]
        report = pool.report()
        assert report.in_flight == 0
        assert list(pool.imap(odd_fail, range(6), order="input", max_failures=3)) == [0, 2, 4]
        with pytest.raises(TooManyFailures) as raised:
            list(pool.imap(odd_fail, range(100), max_failures=0.4))
        assert raised.value.settled >= 20


@pytest.mark.parametrize("on", ["threads", "asyncio", "processes"])
def test_among_workers(on):
    """As many failures as are too many, whoever is quick."""
    with WorkerPool(4, on=on) as pool:
        through = pool.map(odd_fail, max_failures=10)
        sink = Sink().to(rx.range(400).pipe(through))
        with pytest.raises(TooManyFailures) as raised:
            sink.wait()
        assert raised.value.failed == 11
        assert collect(rx.of(2).pipe(pool.map(odd_fail, max_failures=0))) == [2]


def test_what_runs_is_cancelled():
    """It is not waited for."""
    gate, all_run = threading.Event(), threading.Barrier(3)

    def work(n):
        all_run.wait(WAIT)
        if n:
            gate.wait(WAIT)
        raise Oops(n)

    with WorkerPool(3) as pool:
        sink = Sink().to(rx.range(3).pipe(pool.outcomes(work, max_failures=0)))
        with pytest.raises(TooManyFailures):
            sink.wait()
        names = [type(one.error).__name__ for one in sink.values if isinstance(one, Failure)]
        assert names == ["Oops", "TaskCancelled", "TaskCancelled"]
        gate.set()


def test_the_error_travels():
    """With its numbers."""
    error = pickle.loads(pickle.dumps(TooManyFailures("why", 3, 5)))
    assert (str(error), error.failed, error.settled) == ("why", 3, 5)


@pytest.mark.parametrize("value", [-1, 0.0, 1.0, 1.5, "3", True, float("nan"), [1]])
def test_what_cannot_be_meant(value):
    """Is refused at once, with the value."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgument, match="max_failures must be"):
        pool.map(abs, max_failures=value)


@pytest.mark.parametrize("value", [numpy.int64(3), numpy.float64(0.5)])
def test_numbers_of_numpy(value):
    """Count as what they are."""
    with WorkerPool(1) as pool:
        assert collect(rx.of(2).pipe(pool.map(odd_fail, max_failures=value))) == [2]
