"""Bad arguments are refused where they are written, with the value in the message."""

import math
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from rxpool import InvalidArgument, WorkerPool
from rxpool.backends import ThreadBackend
from rxpool.errors import InvalidArgumentType

NOT_A_NUMBER = ["4", 1.5, True, math.nan, [3]]


def refused(error, value, call):
    """Check that *call* is refused with *error*, which names *value*."""
    with pytest.raises(InvalidArgument) as raised:
        call()
    assert type(raised.value) is error
    assert isinstance(raised.value, TypeError if error is InvalidArgumentType else ValueError)
    assert repr(value) in str(raised.value)


@pytest.fixture
def pool():
    """A pool that nothing is given to."""
    with WorkerPool(1) as pool:
        yield pool


def wrong_type(name, *values):
    """Rows of options of a wrong type."""
    return [(InvalidArgumentType, name, value) for value in values]


def out_of_range(name, *values):
    """Rows of options out of range."""
    return [(InvalidArgument, name, value) for value in values]


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        *wrong_type("workers", *NOT_A_NUMBER),
        *out_of_range("workers", 0, -1),
        *wrong_type("max_pending", *NOT_A_NUMBER, None),
        *out_of_range("max_pending", -1),
        *wrong_type("name", 5, b"pool", ["p"]),
        *wrong_type("on", "thread", "process", None, 5, object, ThreadBackend),
    ],
)
def test_the_pool(error, name, value):
    """The arguments of `WorkerPool`."""
    refused(error, value, lambda: WorkerPool(**{name: value}))


FLOW = [
    *wrong_type("concurrency", *NOT_A_NUMBER),
    *out_of_range("concurrency", 0, -2),
    *wrong_type("order", 1, None, ["input"]),
    *out_of_range("order", "inputs", "", "INPUT"),
    *wrong_type("max_reorder", *NOT_A_NUMBER),
    *out_of_range("max_reorder", 0, -7),
    *wrong_type("max_pending", *NOT_A_NUMBER),
    *out_of_range("max_pending", -3),
]
OVERFLOW = [
    *wrong_type("overflow", 1, None, True),
    *out_of_range("overflow", "drop", "Block", ""),
]
ON_FAILURE = [
    *wrong_type("on_failure", 1, None, print, ["skip"]),
    *out_of_range("on_failure", "ignore", ""),
]


@pytest.mark.parametrize(("error", "name", "value"), [*FLOW, *OVERFLOW, *ON_FAILURE])
def test_map(pool, error, name, value):
    """The options of `map`, refused before anything is subscribed."""
    options = {"order": "input"} if name == "max_reorder" else {}
    refused(error, value, lambda: pool.map(str, **options | {name: value}))


@pytest.mark.parametrize(("error", "name", "value"), [*FLOW, *OVERFLOW])
def test_outcomes(pool, error, name, value):
    """The options of `outcomes`."""
    options = {"order": "input"} if name == "max_reorder" else {}
    refused(error, value, lambda: pool.outcomes(str, **options | {name: value}))


@pytest.mark.parametrize(("error", "name", "value"), [*FLOW, *ON_FAILURE])
def test_imap(pool, error, name, value):
    """The options of `imap`, refused before anything is read."""
    options = {"order": "input"} if name == "max_reorder" else {}
    items = iter([1])
    refused(error, value, lambda: pool.imap(str, items, **options | {name: value}))
    assert next(items) == 1


@pytest.mark.parametrize("fn", [None, 5, "str", [str]])
def test_functions(pool, fn):
    """What cannot be called is no function."""
    for call in (
        lambda: pool.map(fn),
        lambda: pool.outcomes(fn),
        lambda: pool.imap(fn, []),
        lambda: pool.submit(fn),
    ):
        refused(InvalidArgumentType, fn, call)


@pytest.mark.parametrize("items", [None, 5, print])
def test_items(pool, items):
    """What cannot be iterated over is no input."""
    refused(InvalidArgumentType, items, lambda: pool.pull(items))
    refused(InvalidArgumentType, items, lambda: pool.imap(str, items))


def test_max_reorder_needs_input_order(pool):
    """A bound on reordering means nothing where nothing is reordered."""
    for call in (
        lambda: pool.map(str, max_reorder=5),
        lambda: pool.outcomes(str, max_reorder=5, order="completion"),
        lambda: pool.imap(str, [], max_reorder=5),
    ):
        with pytest.raises(InvalidArgument, match=r"max_reorder=5 needs order='input'"):
            call()


@pytest.mark.parametrize("timeout", ["1", True, [1], 1j])
def test_the_type_of_a_timeout(pool, timeout):
    """A timeout is a number of seconds or a timedelta."""
    refused(InvalidArgumentType, timeout, lambda: pool.close(timeout))
    assert pool.submit(str, 1).result() == "1"  # and the pool is still open


@pytest.mark.parametrize("timeout", [-1, -0.5, math.nan, math.inf])
def test_the_range_of_a_timeout(pool, timeout):
    """A timeout is finite and not negative."""
    refused(InvalidArgument, timeout, lambda: pool.close(timeout))
    assert pool.submit(str, 1).result() == "1"


@pytest.mark.parametrize("timeout", [None, 0, 5, 0.5, timedelta(seconds=1)])
def test_good_timeouts(timeout):
    """Zero, whole numbers, fractions and timedeltas are timeouts."""
    assert WorkerPool(1).close(timeout) is True


@pytest.mark.parametrize(
    "options",
    [
        {"concurrency": 1},
        {"order": "completion"},
        {"order": "input", "max_reorder": 1},
        {"max_pending": 0},
        {"overflow": "drop_oldest"},
        {"overflow": "drop_newest"},
        {"overflow": "error"},
        {"on_failure": "skip"},
        {"on_failure": rx.subject.Subject()},
    ],
)
def test_good_options(options):
    """The least and the last of each option are taken."""
    with WorkerPool(1, on=TestScheduler(), max_pending=0, name="") as pool:
        assert callable(pool.map(str, **options))


def test_names():
    """A pool has a name of its own, which its representation shows."""
    first, second = WorkerPool(3), WorkerPool()
    assert first.name != second.name
    named = WorkerPool(2, name="crew")
    assert named.name == "crew"
    assert repr(named) == "<WorkerPool 'crew' of 2, open>"
    for pool in (first, second, named):
        pool.close()
    assert repr(named) == "<WorkerPool 'crew' of 2, closed>"
    assert second.workers >= 1


def test_a_backend_object():
    """`on` takes a backend."""
    with WorkerPool(1, on=ThreadBackend("mine")) as pool:
        assert pool.submit(str, 1).result() == "1"
