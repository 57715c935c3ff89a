"""Demand in virtual time: how far `pull` reads, and how flows take turns."""

from collections import Counter

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.testing import ReactiveTest, TestScheduler

from rxpool import WorkerPool
from tests.pool.marbles import counts, shown, work


def counting(items, read, clock):
    """Give *items*, noting at which tick each was read."""
    for item in items:
        read[clock()] += 1
        yield item


@pytest.mark.parametrize(
    ("workers", "options", "expected"),
    [
        (2, {"max_pending": 3}, "5 2 2 2 1"),
        (2, {"max_pending": 0}, "2 2 2 2 2 2"),
        (4, {"max_pending": 1, "concurrency": 1}, "2 1 1 1 1 1 1 1 1 1 1"),
        (2, {"max_pending": 1, "order": "input"}, "3 2 2 2 2 1"),
        (2, {}, "12"),
    ],
)
def test_pull_reads_no_further_than_the_bounds(workers, options, expected):
    """`pull` reads what runs and what may wait, and one more for each that ends."""
    scheduler = TestScheduler()
    read = Counter()
    pool = WorkerPool(workers, on=scheduler)
    items = counting(["a10"] * 12, read, lambda: scheduler.clock)
    results = scheduler.start(lambda: pool.pull(items).pipe(pool.map(work, **options)))
    assert len(results.messages) == 13
    assert results.messages[-1].value.kind == "C"
    assert read == {200 + 10 * n: int(count) for n, count in enumerate(expected.split())}


def test_pull_reads_ahead_no_further_past_a_slow_head():
    """In input order a slow head stops the reading at `max_reorder` plus `max_pending`."""
    scheduler = TestScheduler()
    read = Counter()
    pool = WorkerPool(2, on=scheduler)
    items = counting(["a200"] + ["b10"] * 30, read, lambda: scheduler.clock)
    options = {"order": "input", "max_reorder": 5, "max_pending": 2}
    results = scheduler.start(lambda: pool.pull(items).pipe(pool.map(work, **options)))
    assert sum(n for tick, n in read.items() if tick < 400) == 5 + 2
    assert "".join(m.value.value for m in results.messages[:-1]) == "a" + "b" * 30


def test_pull_through_operators_in_between():
    """The demand is known through operators between `pull` and `map`."""
    scheduler = TestScheduler()
    read = Counter()
    pool = WorkerPool(1, on=scheduler)
    items = counting(["a10"] * 6, read, lambda: scheduler.clock)
    results = scheduler.start(
        lambda: pool.pull(items).pipe(
            ro.map(str), ro.filter(bool), pool.map(work, max_pending=1)
        )
    )
    assert shown(results.messages[-2:]) == "a@260 |@260"
    assert read == {200: 2, 210: 1, 220: 1, 230: 1, 240: 1}


def test_pull_stops_when_its_subscriber_leaves():
    """Nothing is read after the subscriber left."""
    scheduler = TestScheduler()
    read = Counter()
    pool = WorkerPool(1, on=scheduler)
    items = counting(["a10"] * 50, read, lambda: scheduler.clock)
    scheduler.start(lambda: pool.pull(items).pipe(pool.map(work, max_pending=1)), disposed=235)
    assert sum(read.values()) == 2 + 3
    assert counts(pool) == {"accepted": 5, "succeeded": 3, "cancelled": 2}


def test_pull_of_an_async_iterable():
    """An async iterable is read on demand too."""
    scheduler = TestScheduler()
    read = Counter()

    async def items():
        for _ in range(4):
            read[scheduler.clock] += 1
            yield "a10"

    pool = WorkerPool(1, on=scheduler)
    results = scheduler.start(lambda: pool.pull(items()).pipe(pool.map(work, max_pending=0)))
    assert shown(results.messages) == "a@210 a@220 a@230 a@240 |@240"
    assert read == {200: 1, 210: 1, 220: 1, 230: 1}


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("pending", [0, 1, 3])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_chain_of_maps_on_one_pool_finishes(workers, pending, order):
    """Three maps on one pool finish however small its bounds, and no worker ever idles."""
    scheduler = TestScheduler()
    pool = WorkerPool(workers, on=scheduler, max_pending=pending)
    busy = [0, 0]

    def step(number):
        def end(_):
            busy[0] -= 1
            return number + 1

        busy[0] += 1
        busy[1] = max(busy)
        return rx.timer(10.0).pipe(ro.map(end))

    through = pool.map(step, order=order)
    source = range(0, 200, 10)
    results = scheduler.start(
        lambda: pool.pull(source).pipe(through, through, through), disposed=2000
    )
    assert sorted(m.value.value for m in results.messages[:-1]) == [n + 3 for n in source]
    assert results.messages[-1].value.kind == "C"
    assert busy == [0, workers]
    if workers == 1:
        assert results.messages[-1].time == 200 + 10 * 3 * len(source)
    assert counts(pool) == {"accepted": 60, "succeeded": 60}


def test_a_flow_inside_a_task():
    """A task may run a flow of its own pool, on the only worker there is."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler, max_pending=1)

    def outer(item):
        return pool.pull([f"{item}10", f"{item}20"]).pipe(pool.map(work))

    results = scheduler.start(lambda: rx.of("a", "b").pipe(pool.map(outer)))
    assert Counter(m.value.value for m in results.messages[:-1]) == {"a": 2, "b": 2}
    assert results.messages[-1].value.kind == "C"
    assert counts(pool) == {"accepted": 6, "succeeded": 6}


def test_flows_take_turns():
    """Two flows share the workers in turn, however much one of them has waiting."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    many = rx.of(*["a10"] * 6).pipe(pool.map(work))
    few = rx.of(*["b10"] * 3).pipe(pool.map(work))
    results = scheduler.start(lambda: rx.merge(many, few))
    letters = "".join(m.value.value for m in results.messages[:-1])
    assert letters == "aabababaa"
    assert results.messages[-1].time == 290


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("pulled", [True, False])
def test_many_items_at_one_instant_take_no_time(order, pulled):
    """A thousand items of no duration come out at the instant at which they went in."""
    scheduler = TestScheduler()
    pool = WorkerPool(3, on=scheduler)
    source = pool.pull(range(1000)) if pulled else rx.from_iterable(range(1000))
    results = scheduler.start(lambda: source.pipe(pool.map(str, order=order)))
    assert results.messages == [
        *(ReactiveTest.on_next(200.0, str(n)) for n in range(1000)),
        ReactiveTest.on_completed(200.0),
    ]
