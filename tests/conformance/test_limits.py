"""Limits in time: `timeout` from the start of an attempt, `deadline` from acceptance."""

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import DeadlineExceeded, Failure, Success, TaskTimeout
from tests import jobs
from tests.conformance.lanes import counts

LONG = 150  #: ticks: more than enough for work that ends at once


def warm(lane, pool):
    """Have the workers started, so that no limit is over before they are."""
    assert len(lane.collect(rx.of(*range(8)).pipe(pool.map(jobs.same)))) == 8


@pytest.mark.parametrize("order", ["completion", "input"])
def test_an_attempt_that_runs_too_long(lane, order):
    """It fails with `TaskTimeout` and is stopped; the others have their results."""
    with lane.pool(2) as pool:
        warm(lane, pool)
        lane.open("b", "c", "d")
        through = pool.outcomes(lane.hold, timeout=LONG * lane.tick, order=order)
        sink = lane.subscribe(rx.of(*"abcd").pipe(through))
        lane.until(lambda: len(sink.values) == 4)
        lane.until_cut_off("a")
        records = {record.item: record for record in sink.result()}
        failed = records.pop("a")
        assert isinstance(failed.error, TaskTimeout)
        assert isinstance(failed.error, TimeoutError)
        assert failed.attempts == 1
        assert failed.took >= LONG * lane.tick * 0.99
        assert all(isinstance(record, Success) for record in records.values())
        assert order == "completion" or [r.item for r in sink.values] == list("abcd")
        assert counts(pool)["failed"] == 1


def test_its_slot_is_free(lane):
    """What waited behind work that never ends runs when that has timed out.

    Where it cannot be ended, that is when it has ended after all.
    """
    with lane.pool(1) as pool:
        warm(lane, pool)
        lane.open("c")
        through = pool.outcomes(lane.hold, timeout=LONG * lane.tick)
        sink = lane.subscribe(rx.of("a", "b", "c").pipe(through))
        if not lane.frees_at_once:
            for count, name in enumerate("ab", 1):
                lane.until(lambda count=count: len(sink.values) == count)
                assert name in lane.running
                lane.open(name)
        records = sink.result()
        assert [type(r) for r in records] == [Failure, Failure, Success]
        assert [r.item for r in records] == ["a", "b", "c"]
        lane.until_cut_off("a", "b")


def test_waiting_is_not_running(lane):
    """A `timeout` does not count the wait for a worker."""
    with lane.pool(1) as pool:
        warm(lane, pool)
        # Together they last far longer than each of them may.
        items = [(n, LONG // 5) for n in range(8)]
        through = pool.map(lane.last, timeout=LONG * lane.tick)
        assert lane.collect(rx.of(*items).pipe(through)) == list(range(8))


def test_map_raises_the_timeout(lane):
    """The stream ends with it."""
    with lane.pool(1) as pool:
        sink = lane.subscribe(rx.of("a").pipe(pool.map(lane.hold, timeout=LONG * lane.tick)))
        sink.wait()
        assert isinstance(sink.error, TaskTimeout)
        lane.until_cut_off("a")


@pytest.mark.parametrize("order", ["completion", "input"])
def test_a_deadline_of_what_runs(lane, order):
    """It fails with `DeadlineExceeded` and is stopped; the others have their results."""
    with lane.pool(2) as pool:
        warm(lane, pool)
        lane.open("b", "c")
        through = pool.outcomes(lane.hold, deadline=LONG * lane.tick, order=order)
        sink = lane.subscribe(rx.of(*"abc").pipe(through))
        records = {record.item: record for record in sink.result()}
        lane.until_cut_off("a")
        assert isinstance(records["a"].error, DeadlineExceeded)
        assert isinstance(records["a"].error, TimeoutError)
        assert records["a"].attempts == 1
        assert isinstance(records["b"], Success)
        assert isinstance(records["c"], Success)


@pytest.mark.parametrize("order", ["completion", "input"])
def test_a_deadline_of_what_waits(lane, order):
    """While the pool is busy with other things items fail that never ran."""
    with lane.pool(1) as pool:
        other = lane.subscribe(rx.of("busy").pipe(pool.map(lane.hold)))
        lane.until_running("busy")
        through = pool.outcomes(lane.hold, deadline=LONG * lane.tick, order=order)
        records = lane.collect(rx.of(*"abc").pipe(through))
        assert [record.item for record in records] == list("abc")
        assert all(isinstance(record.error, DeadlineExceeded) for record in records)
        assert [record.attempts for record in records] == [0, 0, 0]
        assert lane.started == ["busy"]
        lane.open("busy")
        assert other.result() == ["busy"]


def test_a_deadline_counts_from_acceptance(lane):
    """What came in later has its time from then on."""
    subject = Subject()
    with lane.pool(2) as pool:
        warm(lane, pool)
        sink = lane.subscribe(subject.pipe(pool.outcomes(lane.hold, deadline=LONG * lane.tick)))
        subject.on_next("a")
        lane.until(lambda: len(sink.values) == 1)
        subject.on_next("b")
        lane.open("b")
        subject.on_completed()
        a, b = sink.result()
        assert isinstance(a.error, DeadlineExceeded)
        assert isinstance(b, Success)


def test_limits_that_are_kept_change_nothing(lane):
    """Work that ends in time has its results, and no alarm is left."""
    with lane.pool(2) as pool:
        through = pool.map(jobs.double, timeout=1000 * LONG, deadline=1000 * LONG)
        results = lane.collect(rx.of(*range(50)).pipe(through))
        assert sorted(results) == list(range(0, 100, 2))
