"""Sources that read ahead only while there is room."""

import asyncio

import pytest
from reactivex import operators as ro

from tests import jobs
from tests.conformance.lanes import counted, counts

ITEMS = [str(n) for n in range(30)]


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize(("workers", "pending"), [(1, 1), (2, 0), (2, 3)])
def test_it_reads_as_far_as_there_is_room(lane, workers, pending, order):
    """So many run, so many wait, and nothing is in hand; each end lets one more be read."""
    read = []
    with lane.pool(workers, max_pending=pending) as pool:
        stream = pool.pull(counted(ITEMS, read)).pipe(pool.map(lane.hold, order=order))
        sink = lane.start(stream)
        for n in range(5):
            lane.until(lambda n=n: len(read) == workers + pending + n)
            lane.until(lambda: len(lane.running) == workers)
            assert counts(pool)["accepted"] == len(read) == workers + pending + n
            lane.open(str(n))
            lane.until(lambda n=n: len(sink.values) == n + 1)
        lane.open("*")
        assert sorted(sink.result()) == sorted(ITEMS)
        assert read == ITEMS


def test_the_window_bounds_it_too(lane):
    """In input order a slow head stops the reading."""
    read = []
    with lane.pool(2, max_pending=3) as pool:
        through = pool.map(lane.hold, order="input", max_reorder=4)
        sink = lane.start(pool.pull(counted(ITEMS, read)).pipe(through))
        lane.open(*ITEMS[1:])
        lane.until(lambda: pool.report().succeeded == 3)
        lane.until(lambda: len(read) == 4 + 3)
        assert counts(pool)["accepted"] == 7
        lane.open("0")
        assert sink.result() == ITEMS


def test_operators_may_be_in_between(lane):
    """It finds the flow that it feeds behind them."""
    read = []
    with lane.pool(1, max_pending=2) as pool:
        stream = pool.pull(counted(range(60), read)).pipe(
            ro.filter(lambda n: n % 2 == 0), ro.map(str), pool.map(lane.hold)
        )
        sink = lane.start(stream)
        lane.until(lambda: pool.report().accepted == 3)
        lane.until_running("0")
        # 0, 2 and 4 are inside; nothing was read when there was no room.
        assert len(read) == 5
        lane.open("*")
        assert sink.result() == [str(n) for n in range(0, 60, 2)]


def test_a_chain_holds_it_back(lane):
    """What the last flow cannot take stops the reading at the top."""
    read = []
    with lane.pool(2, max_pending=1) as pool:
        stream = pool.pull(counted(ITEMS, read)).pipe(
            pool.map(jobs.same, concurrency=1), pool.map(lane.hold, concurrency=1)
        )
        sink = lane.start(stream)
        lane.until_running("0")
        lane.until(lambda: len(read) >= 4)
        # The second flow runs 1 and 1 waits; the first may hold 1, run 1, deliver 1.
        assert len(read) <= 5
        lane.open("*")
        assert sink.result() == ITEMS
        assert read == ITEMS


def test_dispose_stops_the_reading(lane):
    """What has left is read for no more."""
    read = []
    with lane.pool(1, max_pending=1) as pool:
        taken = pool.pull(counted(ITEMS, read)).pipe(pool.map(lane.hold), ro.take(2))
        sink = lane.start(taken)
        lane.open("0", "1")
        assert sink.result() == ["0", "1"]
        lane.until(lambda: not pool.report().flows)
        lane.until(lambda: pool.report().in_flight == 0)
        assert len(read) <= 5


def test_an_async_iterable(lane):
    """It is read on a loop of its own, as far ahead as any other."""
    read = []

    async def items():
        for item in ITEMS[:10]:
            await asyncio.sleep(0)
            read.append(item)
            yield item

    with lane.pool(2, max_pending=1) as pool:
        sink = lane.start(pool.pull(items()).pipe(pool.map(lane.hold)))
        lane.until(lambda: len(read) == 3)
        lane.until_running("0", "1")
        assert counts(pool)["accepted"] == 3
        lane.open("*")
        assert sorted(sink.result()) == ITEMS[:10]


def test_it_can_be_subscribed_twice(lane):
    """A list is read from its beginning each time."""
    with lane.pool(2, max_pending=1) as pool:
        stream = pool.pull(range(20)).pipe(pool.map(jobs.double, order="input"))
        assert lane.collect(stream) == lane.collect(stream) == list(range(0, 40, 2))


def test_an_empty_iterable(lane):
    """The stream completes."""
    with lane.pool() as pool:
        assert lane.collect(pool.pull([]).pipe(pool.map(jobs.double))) == []
