"""Tasks on threads that wait for work of their own pool."""

import pytest
import reactivex as rx

from rxpool import WorkerPool
from tests.pool.crew import balanced, collect
from tests.waiting import WAIT


def via_result(pool, item):
    """Submit and wait for the result."""
    return pool.submit(str, item).result(WAIT)


def via_many_results(pool, item):
    """Submit several, wait in the wrong order."""
    calls = [pool.submit(str, item) for _ in range(3)]
    return {call.result(WAIT) for call in reversed(calls)}.pop()


def via_exception(pool, item):
    """Submit and wait for the exception."""
    assert isinstance(pool.submit(int, "x").exception(WAIT), ValueError)
    return str(item)


def via_imap(pool, item):
    """Iterate over results."""
    (result,) = set(pool.imap(str, [item] * 5))
    return result


def via_map(pool, item):
    """Run a flow to its end."""
    return rx.of(*[item] * 5).pipe(pool.map(str)).run()


async def via_await(pool, item):
    """Await a call."""
    return await pool.submit(str, item)


def via_two_levels(pool, item):
    """A call that makes a call."""
    return pool.submit(via_result, pool, item).result(WAIT)


def via_observable(pool, item):
    """Return a flow of the same pool."""
    return rx.of(item).pipe(pool.map(str))


WAYS = [
    via_result, via_many_results, via_exception, via_imap, via_map, via_await,
    via_two_levels, via_observable,
]  # fmt: skip


@pytest.mark.parametrize("pending", [1, 100])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_waits_for_its_own_pool(way, workers, pending):
    """A worker that would wait for its own pool runs the waiting task itself."""

    def fn(item):
        return way(pool, item)

    with WorkerPool(workers, max_pending=pending) as pool:
        assert sorted(collect(rx.from_iterable(range(6)).pipe(pool.map(fn)))) == list("012345")
        if way is not via_await:
            assert pool.submit(fn, 7).result(WAIT) in ("7", ["7"])
    balanced(pool)
