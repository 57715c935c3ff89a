"""How many run and wait: never more than was said, whatever happens to the rest."""

import threading

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import Failure, ItemDropped, Overflow, WouldBlock
from tests import jobs
from tests.conformance.lanes import REAL, VIRTUAL, counted, counts, source
from tests.waiting import WAIT


def in_work(pool):
    """How many items the books say are being worked on."""
    report = pool.report()
    return report.in_flight - report.waiting


ITEMS = [str(n) for n in range(12)]


@pytest.mark.parametrize(("workers", "concurrency"), [(4, None), (4, 2), (2, 9), (1, None)])
def test_so_many_run_at_once_and_never_more(lane, workers, concurrency):
    """The workers and `concurrency` bound what runs, and are used up."""
    expected = min(workers, concurrency or workers)
    with lane.pool(workers) as pool:
        stream = rx.of(*ITEMS).pipe(pool.map(lane.hold, concurrency=concurrency))
        sink = lane.subscribe(stream)
        for begun in range(expected, 13, expected):
            # Which ones is not said: short items go to processes several at a time.
            lane.until(lambda begun=begun: len(lane.started) == begun)
            lane.until(lambda: in_work(pool) == expected)  # when results are counted
            running = lane.running
            assert len(running) == expected
            lane.open(*running)
        assert sorted(sink.result()) == sorted(ITEMS)
    assert lane.most == expected


def test_flows_share_the_workers(lane):
    """Two flows together run no more than the pool's workers, and take turns."""
    with lane.pool(2) as pool:
        one = lane.subscribe(rx.of("a", "b", "c").pipe(pool.map(lane.hold)))
        lane.until_running("a", "b")
        two = lane.subscribe(rx.of("x", "y").pipe(pool.map(lane.hold)))
        lane.open("a")
        lane.until(lambda: len(lane.running) == 2 and "a" not in lane.running)
        lane.open("b")
        lane.until(lambda: len(lane.started) == 4)
        assert {"x", "c"} <= set(lane.started)
        lane.open("*")
        assert sorted(one.result()) == list("abc")
        assert sorted(two.result()) == list("xy")
    assert lane.most == 2


def test_resize_up(lane):
    """What waits starts in the new slots."""
    with lane.pool(1) as pool:
        sink = lane.subscribe(rx.of(*"abcd").pipe(pool.map(lane.hold)))
        lane.until_running("a")
        pool.resize(3)
        assert pool.workers == 3
        lane.until_running(*"abc")
        lane.open("*")
        assert sorted(sink.result()) == list("abcd")
    assert lane.most == 3


def test_resize_down(lane):
    """What runs is not interrupted; from then on no more run than that."""
    with lane.pool(3) as pool:
        sink = lane.subscribe(rx.of(*"abcdef").pipe(pool.map(lane.hold)))
        lane.until_running(*"abc")
        pool.resize(1)
        lane.open("a", "b")
        lane.until_running("c")
        lane.until(lambda: len(sink.values) == 2)
        assert len(lane.started) == 3
        lane.open("c")
        lane.until_running("d")
        lane.open("d", "e")
        lane.until_running("f")
        pool.resize(2)
        lane.open("f")
        assert sorted(sink.result()) == list("abcdef")


@pytest.mark.parametrize("lane", REAL, indirect=True)
@pytest.mark.parametrize("pending", [0, 1, 3])
@pytest.mark.parametrize("order", ["completion", "input"])
def test_block_lets_the_producer_wait(lane, pending, order):
    """A plain source is read until all workers are busy, `max_pending` wait, one in hand."""
    read = []
    with lane.pool(2, max_pending=pending) as pool:
        stream = rx.from_iterable(counted(ITEMS, read)).pipe(pool.map(lane.hold, order=order))
        sink = lane.start(stream)
        lane.until_running("0", "1")
        lane.until(lambda: len(read) == 2 + pending + 1)
        assert counts(pool)["accepted"] == 2 + pending
        assert pool.report().waiting == pending
        lane.open("0")
        lane.until(lambda: len(read) == 2 + pending + 2)
        assert counts(pool)["accepted"] == 3 + pending
        lane.open("*")
        assert sorted(sink.result()) == sorted(ITEMS)
    assert lane.most == 2


@pytest.mark.parametrize("lane", VIRTUAL, indirect=True)
@pytest.mark.parametrize("pending", [0, 1, 3])
@pytest.mark.parametrize("order", ["completion", "input"])
def test_block_where_nobody_can_wait(lane, pending, order):
    """In virtual time what was accepted comes out, then `WouldBlock`."""
    with lane.pool(2, max_pending=pending) as pool:
        through = pool.map(lane.hold, order=order)
        sink = lane.start(rx.from_iterable(ITEMS).pipe(through))
        lane.until_running("0", "1")
        lane.open("*")
        sink.wait()
        assert sink.values == ITEMS[: 2 + pending]
        assert isinstance(sink.error, WouldBlock)
        assert "pool.pull" in str(sink.error)


# workers=1, "a" runs while the others come: policy, max_pending, results, dropped
DROPS = [
    ("drop_oldest", 2, "ade", "bc"),
    ("drop_oldest", 1, "ae", "bcd"),
    ("drop_oldest", 0, "a", "bcde"),
    ("drop_newest", 2, "abc", "de"),
    ("drop_newest", 1, "ab", "cde"),
    ("drop_newest", 0, "a", "bcde"),
]


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize(("policy", "pending", "kept", "dropped"), DROPS)
def test_drops(lane, policy, pending, kept, dropped, order):
    """Which items go is the policy's; they have outcomes and are counted."""
    items = Subject()
    options = {"overflow": policy, "max_pending": pending, "order": order}
    with lane.pool(1) as pool:
        sink = lane.subscribe(items.pipe(pool.outcomes(lane.hold, **options)))
        items.on_next("a")
        lane.until_running("a")
        for item in "bcde":
            items.on_next(item)
        assert counts(pool)["dropped"] == len(dropped)
        assert [record.item for record in sink.values] == list(dropped)
        assert all(isinstance(record.error, ItemDropped) for record in sink.values)
        items.on_completed()
        lane.open("*")
        records = sink.result()
        assert [r.item for r in records if not isinstance(r, Failure)] == list(kept)
        assert counts(pool) == {
            "accepted": 5,
            "succeeded": len(kept),
            "dropped": len(dropped),
        }
    assert lane.started == list(kept)


@pytest.mark.parametrize("policy", ["drop_oldest", "drop_newest"])
def test_map_leaves_dropped_items_out(lane, policy):
    """They are no failures: the stream goes on."""
    items = Subject()
    with lane.pool(1, max_pending=1) as pool:
        sink = lane.subscribe(items.pipe(pool.map(lane.hold, overflow=policy)))
        items.on_next("a")
        lane.until_running("a")
        items.on_next("b")
        items.on_next("c")
        items.on_completed()
        lane.open("*")
        assert sink.result() == ["a", "c" if policy == "drop_oldest" else "b"]


@pytest.mark.parametrize("order", ["completion", "input"])
def test_overflow_as_an_error(lane, order):
    """What was accepted comes out, then `Overflow`."""
    items = Subject()
    with lane.pool(1, max_pending=1) as pool:
        sink = lane.subscribe(items.pipe(pool.map(lane.hold, overflow="error", order=order)))
        items.on_next("a")
        lane.until_running("a")
        for item in "bcd":
            items.on_next(item)
        assert not items.observers
        lane.open("*")
        sink.wait()
        assert sink.values == ["a", "b"]
        assert isinstance(sink.error, Overflow)
        assert counts(pool) == {"accepted": 2, "succeeded": 2}


@pytest.mark.parametrize("lane", REAL, indirect=True)
@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("pulled", [False, True])
def test_a_slow_subscriber_holds_the_source_back(lane, order, pulled):
    """While it is busy with one result the source is read as far as the bounds allow."""
    gate, entered, read = threading.Event(), threading.Event(), []

    def slow(_):
        entered.set()
        assert gate.wait(WAIT)

    options = {"order": order, "max_pending": 3}
    if order == "input":
        options["max_reorder"] = 4
    with lane.pool(2) as pool:
        numbers = counted(range(100), read)
        numbers = pool.pull(numbers) if pulled else rx.from_iterable(numbers)
        sink = lane.start(numbers.pipe(pool.map(jobs.double, **options)), slow)
        assert entered.wait(WAIT)
        # One is with the subscriber, 2 run or have run, 3 wait for the one or the other,
        # and the producer has one in hand; in input order 4 are started and not fetched.
        most = 1 + {"completion": 2 + 3, "input": 4 + 3}[order] + 1
        lane.until(lambda: len(read) >= 3)
        assert len(read) <= most
        gate.set()
        assert sorted(sink.result()) == list(range(0, 200, 2))


def test_what_waits_for_a_subscriber_counts(lane):
    """Results that a full flow downstream cannot take hold back the one before it."""
    read = []
    with lane.pool(3, max_pending=2) as pool:
        stream = pool.pull(counted(ITEMS, read)).pipe(
            pool.map(jobs.same, concurrency=1), pool.map(lane.hold, concurrency=1)
        )
        sink = lane.start(stream)
        lane.until_running("0")
        lane.until(lambda: len(read) >= 6)
        # In the second flow 1 runs and 2 wait; the first one holds 2 results and may run 1.
        assert len(read) <= 3 + 3 + 1
        lane.open("*")
        assert sink.result() == ITEMS
    assert lane.most == 1


@pytest.mark.parametrize("fn", [jobs.same, jobs.fail_odd])
def test_the_books_add_up_at_every_instant(lane, fn):
    """The report is whole whenever it is asked for, from wherever."""
    with lane.pool(3, max_pending=8) as pool:
        sums = []

        def sample(_):
            sums.append(counts(pool)["accepted"])

        through = pool.outcomes(fn)
        stop = threading.Event()

        def watch():
            while not stop.is_set():
                counts(pool)

        if not lane.virtual:
            lane.spawn(watch)
        sink = lane.subscribe(source(lane, pool, range(200)).pipe(through), sample)
        sink.result()
        stop.set()
        assert sums == sorted(sums)
        good = 200 if fn is jobs.same else 100
        assert pool.report().succeeded == good
        assert pool.report().failed == 200 - good
