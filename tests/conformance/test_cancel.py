"""Leaving: what waits never runs, what runs is stopped if possible, nothing comes after."""

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from tests import jobs
from tests.conformance.lanes import VIRTUAL, adds_up, counted, counts, source


def fill(lane, stream, items, on_next=lambda value: None):
    """Subscribe to the flow of a subject, and give it the items."""
    subject = Subject()
    sink = lane.subscribe(subject.pipe(stream), on_next)
    for item in items:
        subject.on_next(item)
    return sink, subject


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("kind", ["map", "outcomes"])
def test_dispose(lane, order, kind):
    """Two run and three wait: nothing of them comes out, and the pool goes on with others."""
    with lane.pool(2) as pool:
        sink, subject = fill(lane, getattr(pool, kind)(lane.hold, order=order), "abcde")
        lane.until_running("a", "b")
        sink.subscription.dispose()
        assert not subject.observers
        lane.until_cut_off("a", "b")
        lane.open("*")
        assert lane.collect(rx.of(1, 2).pipe(pool.map(jobs.same, order="input"))) == [1, 2]
        assert counts(pool) == {"accepted": 7, "succeeded": 2, "cancelled": 5}
    assert sorted(lane.started) == ["a", "b"]
    assert sink.values == []
    assert not sink.ended.is_set()


def test_the_slots_of_what_was_disposed_are_free(lane):
    """Others run at once; where that work cannot be ended, when it has ended."""
    with lane.pool(2) as pool:
        sink, _ = fill(lane, pool.map(lane.hold), "ab")
        lane.until_running("a", "b")
        sink.subscription.dispose()
        other, subject = fill(lane, pool.map(lane.hold), "xy")
        if not lane.frees_at_once:
            assert pool.report().abandoned == 2
            assert not {"x", "y"} & set(lane.running)
            lane.open("a", "b")
        lane.until(lambda: {"x", "y"} <= set(lane.running))
        lane.open("x", "y")
        subject.on_completed()
        assert sorted(other.result()) == ["x", "y"]


@pytest.mark.parametrize("order", ["completion", "input"])
def test_take(lane, order):
    """After so many results the stream completes, and the source is read no further."""
    read = []
    with lane.pool(2, max_pending=4) as pool:
        numbers = source(lane, pool, counted(range(10_000), read))
        sink = lane.subscribe(numbers.pipe(pool.map(jobs.same, order=order), ro.take(5)))
        assert len(sink.result()) == 5
        assert sink.completed
        assert order == "completion" or sink.values == [0, 1, 2, 3, 4]
        lane.until(lambda: not pool.report().flows)
        # 5 results, 4 that wait, 2 that run, one in hand; in input order 16 in the window.
        lane.until(lambda: adds_up(pool).in_flight == 0)
        assert len(read) <= (5 + 4 + 2 + 1 if order == "completion" else 5 + 4 + 16 + 1) + 2


def test_take_stops_what_runs(lane):
    """One result is enough: the work on the others is cancelled."""
    with lane.pool(3) as pool:
        sink, subject = fill(lane, lambda s: s.pipe(pool.map(lane.hold), ro.take(1)), "abcde")
        lane.until_running(*"abc")
        lane.open("b")
        assert sink.result() == ["b"]
        assert not subject.observers
        lane.until_cut_off("a", "c")


def test_dispose_from_within(lane):
    """A subscriber that leaves while it is given a value gets no other."""
    with lane.pool(2) as pool:
        sink = None

        def leave(_):
            sink.subscription.dispose()

        subject = Subject()
        sink = lane.subscribe(subject.pipe(pool.map(jobs.same)), leave)
        for n in range(20):
            subject.on_next(n)
        lane.until(lambda: not pool.report().flows)
        assert len(sink.values) == 1
        assert not subject.observers


def test_a_failure_cancels_the_rest(lane):
    """With `on_failure="raise"` what runs is stopped and what waits does not run."""
    with lane.pool(2) as pool:
        sink, subject = fill(lane, pool.map(lane.hold), ["a!", "b", "c", "d"])
        lane.until_running("a!", "b")
        lane.open("a!")
        sink.wait()
        assert isinstance(sink.error, jobs.Oops)
        assert not subject.observers
        lane.until_cut_off("b")
        lane.until(lambda: not pool.report().flows)
        # The slot of the failed item may have gone to the next one before the error was told.
        assert counts(pool) == {"accepted": 4, "failed": 1, "cancelled": 3}


def test_a_subscriber_that_raises_ends_its_own_flow_only(lane):
    """It gets nothing more, the exception is a fault of the pool, other flows go on."""
    boom = RuntimeError("boom")

    def fall(_):
        raise boom

    with lane.pool(2) as pool:
        other, others = fill(lane, pool.map(lane.hold), "xy")
        lane.until_running("x", "y")
        sink, subject = fill(lane, pool.map(jobs.same), range(10), fall)
        lane.open("x")
        lane.until(lambda: lane.faults)
        lane.until(lambda: not subject.observers)
        assert len(sink.values) == 1
        assert not sink.ended.is_set()
        assert lane.faults == [boom]
        lane.faults.clear()
        others.on_completed()
        lane.open("*")
        assert sorted(other.result()) == ["x", "y"]


@pytest.mark.parametrize("lane", VIRTUAL, indirect=True)
def test_dispose_leaves_nothing_in_virtual_time(lane):
    """No timer of the work or of its limits is left to be run."""
    with lane.pool(2) as pool:
        sink, _ = fill(lane, pool.map(lane.hold, timeout=500, deadline=900), "abcd")
        lane.until_running("a", "b")
        sink.subscription.dispose()
        left = [item for item, _ in lane.on._queue.items if not item.is_cancelled()]
        assert left == []
