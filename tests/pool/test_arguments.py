"""Bad arguments are refused where they are written, with the value in the message."""

import math
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from rxpool import InvalidArgument, Retry, WorkerPool
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
    *wrong_type("key", 1, "name", ["key"]),
    *wrong_type("priority", 1, "name", {}),
]
LIMITS = [
    *wrong_type("timeout", "4", True, [3], 1j),
    *out_of_range("timeout", 0, -1, math.nan, math.inf),
    *wrong_type("deadline", "4", True, [3], 1j),
    *out_of_range("deadline", 0, -0.5, math.nan, math.inf),
]
OVERFLOW = [
    *wrong_type("overflow", 1, None, True),
    *out_of_range("overflow", "drop", "Block", ""),
]
ON_FAILURE = [
    *wrong_type("on_failure", 1, None, print, ["skip"]),
    *out_of_range("on_failure", "ignore", ""),
]


@pytest.mark.parametrize(("error", "name", "value"), [*FLOW, *LIMITS, *OVERFLOW, *ON_FAILURE])
def test_map(pool, error, name, value):
    """The options of `map`, refused before anything is subscribed."""
    options = {"order": "input"} if name == "max_reorder" else {}
    refused(error, value, lambda: pool.map(str, **options | {name: value}))


@pytest.mark.parametrize(("error", "name", "value"), [*FLOW, *LIMITS, *OVERFLOW])
def test_outcomes(pool, error, name, value):
    """The options of `outcomes`."""
    options = {"order": "input"} if name == "max_reorder" else {}
    refused(error, value, lambda: pool.outcomes(str, **options | {name: value}))


@pytest.mark.parametrize(("error", "name", "value"), [*FLOW, *LIMITS, *ON_FAILURE])
def test_imap(pool, error, name, value):
    """The options of `imap`, refused before anything is read."""
    options = {"order": "input"} if name == "max_reorder" else {}
    items = iter([1])
    refused(error, value, lambda: pool.imap(str, items, **options | {name: value}))
    assert next(items) == 1


BISECT = wrong_type("bisect", None, 0, 1, "yes")
QUEUE_LATEST = wrong_type("queue_latest", None, 0, 1, "yes")


@pytest.mark.parametrize(
    ("error", "name", "value"), [*FLOW, *LIMITS, *OVERFLOW, *ON_FAILURE, *BISECT]
)
def test_map_batches(pool, error, name, value):
    """The options of `map_batches`."""
    options = {"order": "input"} if name == "max_reorder" else {}
    refused(error, value, lambda: pool.map_batches(list, **options | {name: value}))


@pytest.mark.parametrize(("error", "name", "value"), [*LIMITS, *ON_FAILURE])
def test_switch_map(pool, error, name, value):
    """The options of `switch_map`."""
    refused(error, value, lambda: pool.switch_map(str, **{name: value}))


@pytest.mark.parametrize(("error", "name", "value"), [*LIMITS, *ON_FAILURE, *QUEUE_LATEST])
def test_exhaust_map(pool, error, name, value):
    """The options of `exhaust_map`."""
    refused(error, value, lambda: pool.exhaust_map(str, **{name: value}))


COMMON = ["concurrency", "deadline", "key", "max_pending", "max_reorder", "order", "priority"]
COMMON += ["breaker", "hedge", "limit", "retry"]
TOLERANT = [*COMMON, "max_failures"]
KNOWN = {
    "map": [*TOLERANT, "fallback", "journal", "on_failure", "overflow", "timeout"],
    "outcomes": [*TOLERANT, "fallback", "journal", "overflow", "timeout"],
    "imap": [*TOLERANT, "fallback", "journal", "on_failure", "timeout"],
    "map_batches": [*TOLERANT, "bisect", "on_failure", "overflow", "timeout"],
    "switch_map": ["deadline", "on_failure", "timeout"],
    "exhaust_map": ["deadline", "on_failure", "queue_latest", "timeout"],
}


@pytest.mark.parametrize("method", KNOWN)
def test_unknown_options(pool, method):
    """An option that a method has not is refused by name, and those that it has are named."""
    items = [[]] if method == "imap" else []
    every = {name for names in KNOWN.values() for name in names}
    for name in [*sorted(every - set(KNOWN[method])), "workers", "time_out", "fn_"]:
        with pytest.raises(InvalidArgumentType) as raised:
            getattr(pool, method)(str, *items, **{name: None})
        text = str(raised.value)
        assert text.startswith(f"{method}() has no option {name!r}")
        assert "it has " + ", ".join(sorted(KNOWN[method])) in text


@pytest.mark.parametrize("method", ["map", "outcomes", "imap", "map_batches"])
def test_options_that_need_one_another(pool, method):
    """A key needs its order and the order a key; input order and a priority exclude it."""

    def call(**options):
        return getattr(pool, method)(str, *([[]] if method == "imap" else []), **options)

    with pytest.raises(InvalidArgument, match="order='key' needs key"):
        call(order="key")
    for order in ("input", "completion"):
        with pytest.raises(
            InvalidArgument, match=f"key needs order='key', got order='{order}'"
        ):
            call(order=order, key=len)
    with pytest.raises(InvalidArgument, match="key needs order='key'"):
        call(key=len)
    with pytest.raises(InvalidArgument, match="choose one"):
        call(order="input", priority=len)
    with pytest.raises(InvalidArgument, match="max_reorder=3 needs order='input'"):
        call(order="key", key=len, max_reorder=3)
    with pytest.raises(InvalidArgument, match="max_pending of 1 or more"):
        call(order="key", key=len, max_pending=0)


@pytest.mark.parametrize(
    ("error", "workers"),
    [
        *[(InvalidArgumentType, value) for value in [*NOT_A_NUMBER, None]],
        (InvalidArgument, 0),
        (InvalidArgument, -2),
    ],
)
def test_resize(pool, error, workers):
    """The number of workers of `resize`; a bad one changes nothing."""
    refused(error, workers, lambda: pool.resize(workers))
    assert pool.workers == 1


@pytest.mark.parametrize(
    ("error", "name", "value"),
    [
        *wrong_type("initializer", 5, "init"),
        *wrong_type("initargs", 5, "args", {}, None),
        *wrong_type("max_tasks_per_worker", *NOT_A_NUMBER),
        *out_of_range("max_tasks_per_worker", 0, -1),
        *wrong_type("max_memory_per_worker", *NOT_A_NUMBER),
        *out_of_range("max_memory_per_worker", 0, -1),
        *wrong_type("poison_after", *NOT_A_NUMBER, None),
        *out_of_range("poison_after", 0, -1),
    ],
)
def test_options_of_processes(error, name, value):
    """They are checked before any process is started."""
    refused(error, value, lambda: WorkerPool(1, on="processes", **{name: value}))


@pytest.mark.parametrize("on", ["threads", "asyncio", TestScheduler()])
def test_options_of_processes_elsewhere(on):
    """They are refused where there are none; unknown ones are refused by name anywhere."""
    with pytest.raises(InvalidArgument, match="poison_after needs on='processes', got on="):
        WorkerPool(1, on=on, poison_after=2)
    for place in (on, "processes"):
        with pytest.raises(InvalidArgumentType, match="no option 'max_task'"):
            WorkerPool(1, on=place, max_task=2)


@pytest.mark.parametrize("fn", [None, 5, "str", [str]])
def test_functions(pool, fn):
    """What cannot be called is no function."""
    for call in (
        lambda: pool.map(fn),
        lambda: pool.outcomes(fn),
        lambda: pool.map_batches(fn),
        lambda: pool.switch_map(fn),
        lambda: pool.exhaust_map(fn),
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
        {"order": "key", "key": len, "max_pending": 1, "priority": len},
        {"priority": len, "max_pending": 1},
        {"timeout": 1e-9, "deadline": timedelta(microseconds=1)},
        dict.fromkeys(
            [
                "concurrency",
                "key",
                "priority",
                "max_reorder",
                "max_pending",
                "timeout",
                "deadline",
            ]
        ),
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


@pytest.mark.parametrize("method", [method for method in KNOWN if method != "imap"])
def test_options_are_given_by_name(method):
    """Who gives a policy by its place is not told of items."""
    with WorkerPool(1) as pool:
        for option in (Retry(3), 4):
            with pytest.raises(InvalidArgumentType, match="options by name") as raised:
                getattr(pool, method)(abs, option)
            assert repr(option)[:20] in str(raised.value)
        with pytest.raises(InvalidArgumentType, match=r"pool\.imap"):
            getattr(pool, method)(abs, [1, 2])
