"""Arguments: numbers of all makes, and values that have no repr."""

from fractions import Fraction

import numpy
import pytest

from rxpool import (
    CircuitBreaker,
    Hedge,
    InvalidArgument,
    Limit,
    Retry,
    WorkerPool,
    _checks,
    current_task,
    guarded,
    iterate,
)
from rxpool import operators as ops
from rxpool.faces import BatchProcessor
from rxpool.records import Journal

NUMBERS = [numpy.float64, numpy.float32, numpy.int64, numpy.int8, numpy.uint16]
WHOLE = NUMBERS[2:]


class Mute:
    """Has no repr."""

    def __repr__(self):
        raise LookupError("mine")


@pytest.mark.parametrize("kind", NUMBERS)
def test_a_number_of_numpy_is_a_number(kind):
    """Wherever one is asked for; it is kept as one of Python."""
    found = _checks.number("x", kind(3))
    assert (found, type(found)) == (3.0, float)
    assert _checks.duration("x", kind(3)) == 3.0
    assert _checks.number("x", Fraction(1, 2)) == 0.5
    Limit(kind(3), per=kind(2), burst=kind(4), cost=kind(1), initial=kind(2))
    assert Limit(10, cost=lambda item: kind(1)).acquire()
    Retry(delay=kind(2), max_delay=kind(9), jitter=kind(1), budget=kind(1))
    CircuitBreaker(failure_rate_threshold=kind(1), wait_duration_in_open_state=kind(3))
    Hedge(after=kind(1))
    ops.throttle(kind(3), per=kind(2), burst=kind(4))
    ops.batch(max_delay=kind(2))
    ops.debounce(kind(1))
    current_task().progress(kind(1))


@pytest.mark.parametrize("kind", WHOLE)
def test_a_whole_number_of_numpy_is_one(kind):
    """As a number of items, attempts or workers."""
    found = _checks.count("x", kind(3))
    assert (found, type(found)) == (3, int)
    retry = Retry(kind(2))
    assert type(retry.max_attempts) is int
    assert retry.wait_before_next(2, ValueError(), 0.0, 0.0) is None
    ops.batch(kind(3))
    ops.retry(kind(3))
    with WorkerPool(kind(2), max_pending=kind(10)) as pool:
        options = {"concurrency": kind(1), "retry": kind(2), "timeout": kind(9)}
        assert sorted(pool.imap(abs, [1, -2], max_pending=kind(3), **options)) == [1, 2]
        pool.resize(kind(1))
    BatchProcessor(list, max_size=kind(2), retry=kind(2)).close()


@pytest.mark.parametrize("kind", WHOLE)
def test_the_wait_that_an_error_asks_for(kind):
    """May come out of numpy as well."""
    error = ValueError("busy")
    error.retry_after = kind(7)
    assert Retry().wait_before_next(1, error, 0.0, 0.0) == 7.0
    limit = Limit(100, burst=100)

    def fail():
        raise error

    with pytest.raises(ValueError, match="busy"):
        guarded(fail, limit=limit)()
    assert not limit.acquire(timeout=0)


@pytest.mark.parametrize(
    "value",
    [numpy.float64("nan"), numpy.float64("inf"), numpy.bool_(True), 1j, numpy.array([1])],
)
def test_what_is_no_number_all_the_same(value):
    """Not finite, a truth, complex, several."""
    for check in (_checks.number, _checks.duration, _checks.count):
        with pytest.raises(InvalidArgument):
            check("x", value)


def test_a_number_that_is_too_large_is_not_finite():
    """However many digits it has."""
    for check in (_checks.number, _checks.duration):
        with pytest.raises(InvalidArgument, match="x must be finite"):
            check("x", 10**400)


REFUSING = [
    lambda mute: _checks.number("x", mute),
    lambda mute: _checks.count("x", mute),
    lambda mute: _checks.duration("x", mute),
    lambda mute: _checks.flag("x", mute),
    lambda mute: _checks.one_of("x", mute, ("a",)),
    lambda mute: _checks.call("x", mute),
    lambda mute: _checks.timing("x", mute),
    lambda mute: Limit(mute),
    lambda mute: Limit.all(mute),
    lambda mute: Retry(mute),
    lambda mute: Retry(on=mute),
    lambda mute: Retry(backoff=mute),
    lambda mute: Retry.http(statuses=mute),
    lambda mute: CircuitBreaker(name=mute),
    lambda mute: guarded(abs, retry=mute),
    lambda mute: guarded(abs, limit=mute),
    lambda mute: ops.batch(mute),
    lambda mute: ops.throttle(mute),
    lambda mute: ops.throttle(1, strict=mute),
    lambda mute: ops.retry(mute),
    lambda mute: iterate(mute),
    lambda mute: BatchProcessor(list, max_size=1, retry=mute),
    lambda mute: current_task().progress(mute),
    lambda mute: Journal("x", fingerprint=mute),
    lambda mute: Journal("x", emit=mute),
    lambda mute: WorkerPool(on=mute),
    lambda mute: WorkerPool(on=mute, initializer=abs),
    lambda mute: WorkerPool(name=mute),
    lambda mute: WorkerPool(initializer=abs, initargs=mute),
]
METHODS = [
    lambda pool, mute: pool.imap(abs, mute),
    lambda pool, mute: pool.collect(abs, mute),
    lambda pool, mute: pool.map(abs, mute),
    lambda pool, mute: pool.stop_on(mute),
    lambda pool, mute: pool.submit(mute),
    lambda pool, mute: pool.resize(mute),
]
OPTIONS = ["retry", "limit", "breaker", "hedge", "timeout", "order", "overflow", "max_failures"]


@pytest.mark.parametrize("use", REFUSING)
def test_a_value_without_a_repr_is_named_by_its_type(use):
    """What its repr raises is not what comes out."""
    with pytest.raises(InvalidArgument, match="Mute"):
        use(Mute())


@pytest.mark.parametrize("use", METHODS)
def test_an_argument_of_a_method_is_too(use):
    """Whichever method it is."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgument, match="Mute"):
        use(pool, Mute())


@pytest.mark.parametrize("option", [*OPTIONS, "on_failure", "concurrency", "max_pending"])
def test_options_of_flows_are(option):
    """The same."""
    with WorkerPool(1) as pool:
        with pytest.raises(InvalidArgument, match="Mute"):
            pool.map(abs, **{option: Mute()})
        with pytest.raises(InvalidArgument, match="Mute"):
            pool.pull(Mute())
