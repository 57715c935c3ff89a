"""What starts first, and in which order results come out."""

from collections import defaultdict

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import Failure
from tests import jobs
from tests.conformance.lanes import source

LETTERS = "abcdefgh"


def test_completion_order(lane):
    """Each result comes out when it is there."""
    with lane.pool(4) as pool:
        sink = lane.subscribe(rx.of(*"abcd").pipe(pool.map(lane.hold)))
        lane.until_running(*"abcd")
        for n, item in enumerate("cadb", 1):
            lane.open(item)
            lane.until(lambda n=n: len(sink.values) == n)
        assert sink.result() == list("cadb")


def test_input_order(lane):
    """Results wait for those before them, and then come out together."""
    with lane.pool(4) as pool:
        sink = lane.subscribe(rx.of(*"abcd").pipe(pool.map(lane.hold, order="input")))
        lane.until_running(*"abcd")
        lane.open("c", "b", "d")
        lane.until_running("a")
        lane.until(lambda: pool.report().succeeded == 3)
        assert sink.values == []
        lane.open("a")
        assert sink.result() == list("abcd")


@pytest.mark.parametrize(
    ("options", "window"),
    [({"max_reorder": 1}, 1), ({"max_reorder": 5}, 5), ({}, 16), ({"concurrency": 1}, 8)],
)
def test_the_window_of_input_order(lane, options, window):
    """Behind a slow head no more are started than fit; by default 8 times the concurrency."""
    items = [str(n) for n in range(30)]
    with lane.pool(2) as pool:
        sink = lane.subscribe(rx.of(*items).pipe(pool.map(lane.hold, order="input", **options)))
        alone = window == 1 or options.get("concurrency") == 1
        lane.open(*items[1:])
        # With one place in the window, or one task at a time, the head is all that starts.
        begun = 1 if alone else window
        lane.until(lambda: len(lane.started) == begun)
        lane.until(lambda: pool.report().succeeded == begun - 1)
        assert lane.running == ["0"]
        report = pool.report()
        assert report.in_flight - report.waiting == 1
        assert sink.values == []
        lane.open("0")
        assert sink.result() == items
        assert len(lane.started) == 30


def test_the_window_moves_with_the_head(lane):
    """What has come out makes room for as many more."""
    items = [str(n) for n in range(12)]
    with lane.pool(2) as pool:
        stream = rx.of(*items).pipe(pool.map(lane.hold, order="input", max_reorder=3))
        sink = lane.subscribe(stream)
        lane.open(*items[1:6])
        lane.until(lambda: pool.report().succeeded == 2 and "0" in lane.started)
        assert len(lane.started) == 3
        lane.open("0")
        lane.until(lambda: len(lane.running) == 2 and set(lane.running) <= {"6", "7", "8"})
        lane.until(lambda: sink.values == items[:6])
        lane.open(*items)
        assert sink.result() == items


def test_input_order_with_failures(lane):
    """An outcome keeps its place whichever it is."""
    with lane.pool(3) as pool:
        records = lane.collect(
            source(lane, pool, range(40)).pipe(pool.outcomes(jobs.fail_odd, order="input"))
        )
        assert [record.item for record in records] == list(range(40))
        assert [isinstance(record, Failure) for record in records] == [False, True] * 20


def test_a_failure_in_input_order_waits_for_its_turn(lane):
    """The results of the items before it come out first."""
    with lane.pool(3) as pool:
        sink = lane.subscribe(rx.of("a", "b!", "c").pipe(pool.map(lane.hold, order="input")))
        lane.until_running("a", "b!", "c")
        lane.open("b!")
        lane.until(lambda: pool.report().failed == 1)
        assert not sink.ended.is_set()
        lane.open("a")
        sink.wait()
        assert (sink.values, type(sink.error)) == (["a"], jobs.Oops)


def test_keys_one_at_a_time_and_in_order(lane):
    """Items of one key never overlap; different keys run in parallel."""
    items = ["a1", "a2", "b1", "a3", "b2", "c1"]
    with lane.pool(3) as pool:
        stream = rx.of(*items).pipe(pool.map(lane.hold, order="key", key=lambda i: i[0]))
        sink = lane.subscribe(stream)
        lane.until_running("a1", "b1", "c1")
        lane.open("c1")
        lane.until(lambda: sink.values == ["c1"])
        assert sorted(lane.running) == ["a1", "b1"]
        lane.open("a2", "a1")
        lane.until_running("b1", "a3")
        lane.open("b1", "b2", "a3")
        results = sink.result()
    for key in "abc":
        assert [i for i in results if i[0] == key] == [i for i in items if i[0] == key]
        assert [i for i in lane.started if i[0] == key] == [i for i in items if i[0] == key]


def test_keys_with_many_items(lane):
    """Whatever the workers do, each key's results are in the order of its items."""
    with lane.pool(4) as pool:
        numbers = range(300)
        stream = source(lane, pool, numbers)
        through = pool.map(jobs.same, order="key", key=lambda n: n % 7)
        by_key = defaultdict(list)
        for n in lane.collect(stream.pipe(through)):
            by_key[n % 7].append(n)
    assert by_key == {key: list(range(key, 300, 7)) for key in range(7)}


def test_a_failure_frees_its_key(lane):
    """The next item of the key runs when the one before it is settled, however."""
    with lane.pool(2) as pool:
        stream = rx.of("a1!", "a2", "a3").pipe(
            pool.outcomes(lane.hold, order="key", key=lambda i: i[0])
        )
        sink = lane.subscribe(stream)
        lane.until_running("a1!")
        lane.open("a1!")
        lane.until_running("a2")
        lane.open("a2", "a3")
        assert [record.item for record in sink.result()] == ["a1!", "a2", "a3"]


def test_a_key_that_cannot_be_told_is_a_failure(lane):
    """If `key` raises that is the failure of the item; the others have their results."""

    def key(item):
        return 1 // item

    with lane.pool() as pool:
        stream = rx.of(1, 0, 2).pipe(pool.outcomes(jobs.same, order="key", key=key))
        records = {record.item: record for record in lane.collect(stream)}
        assert isinstance(records[0].error, ZeroDivisionError)
        assert records[0].attempts == 0
        assert {records[1].value, records[2].value} == {1, 2}


def test_priority(lane):
    """Of what waits the smallest number starts first, equals first come."""
    urgency = {"a": 5, "b": 9, "c": 1, "d": 5, "e": 1, "f": 5}
    items = Subject()
    with lane.pool(1) as pool:
        sink = lane.subscribe(items.pipe(pool.map(lane.hold, priority=urgency.__getitem__)))
        items.on_next("b")
        lane.until_running("b")
        for item in "acdef":
            items.on_next(item)
        items.on_completed()
        lane.open("*")
        assert sink.result() == list("bceadf")
    assert lane.started == list("bceadf")


def test_priority_with_keys(lane):
    """An urgent item goes first, but not past an earlier one of its own key."""
    urgency = {"a0": 0, "a1": 9, "a2": 0, "b1": 5, "c1": 1}
    items = Subject()
    with lane.pool(1) as pool:
        through = pool.map(
            lane.hold, order="key", key=lambda i: i[0], priority=urgency.__getitem__
        )
        sink = lane.subscribe(items.pipe(through))
        items.on_next("a0")
        lane.until_running("a0")
        for item in ("a1", "a2", "b1", "c1"):
            items.on_next(item)
        items.on_completed()
        lane.open("*")
        results = sink.result()
    assert results.index("a1") < results.index("a2")
    assert results.index("c1") < results.index("b1")
