"""Only the newest item counts, or only the one that runs."""

import random

import pytest
import reactivex as rx
from reactivex.observer import Observer
from reactivex.subject import Subject

from rxpool import Failure, TaskTimeout
from tests import jobs
from tests.conformance.lanes import counts


def test_switch_map_stops_the_one_before(lane):
    """A new item cancels the work on the last one, which is stopped; only one result."""
    subject = Subject()
    with lane.pool(2) as pool:
        sink = lane.subscribe(subject.pipe(pool.switch_map(lane.hold)))
        subject.on_next("a")
        lane.until_running("a")
        subject.on_next("b")
        lane.until_cut_off("a")
        lane.until(lambda: "b" in lane.running)
        subject.on_next("c")
        lane.until_cut_off("b")
        subject.on_completed()
        lane.open("*")
        assert sink.result() == ["c"]
        assert counts(pool) == {"accepted": 3, "succeeded": 1, "cancelled": 2}


def test_switch_map_gives_each_result_in_time(lane):
    """Items that are done before the next one comes all have results."""
    subject = Subject()
    with lane.pool(1) as pool:
        sink = lane.subscribe(subject.pipe(pool.switch_map(jobs.double)))
        for n in range(5):
            subject.on_next(n)
            lane.until(lambda n=n: sink.values == list(range(0, 2 * n + 2, 2)))
        subject.on_completed()
        assert sink.result() == [0, 2, 4, 6, 8]


@pytest.mark.parametrize("seed", range(4))
def test_switch_map_whatever_the_durations(lane, seed):
    """No result is out of order, none comes after a newer one, the last one comes."""
    draw = random.Random(seed)
    subject = Subject()
    brought = []
    with lane.pool(2) as pool:

        def newest(value):
            late.append(value != brought[-1])

        late = []
        sink = lane.subscribe(subject.pipe(pool.switch_map(lane.last)), newest)
        for n in range(25):
            brought.append(n)
            subject.on_next((n, draw.choice([0, 1, 1, 3, 9])))
            if draw.random() < 0.4:  # let it work for a while
                size, pause = len(sink.values), draw.choice([1, 2, 4])
                ticks = iter(range(pause))
                lane.until(lambda ticks=ticks, size=size: next(ticks, None) is None)
        subject.on_completed()
        values = sink.result()
        assert values == sorted(set(values))
        assert values[-1] == 24
        assert lane.virtual is False or not any(late)
        report = pool.report()
        assert report.accepted == 25 == report.succeeded + report.cancelled


def test_switch_map_waits_for_a_worker(lane):
    """While the pool is busy the newest item waits, and those before it never run."""
    subject = Subject()
    with lane.pool(1) as pool:
        other = lane.subscribe(rx.of("busy").pipe(pool.map(lane.hold)))
        lane.until_running("busy")
        sink = lane.subscribe(subject.pipe(pool.switch_map(lane.hold)))
        for item in "abc":
            subject.on_next(item)
        subject.on_completed()
        lane.open("*")
        assert sink.result() == ["c"]
        assert other.result() == ["busy"]
    assert lane.started == ["busy", "c"]


def test_switch_map_forgets_the_failure_of_an_old_item(lane):
    """Only the newest item can fail the stream."""
    subject = Subject()
    with lane.pool(2) as pool:
        sink = lane.subscribe(subject.pipe(pool.switch_map(lane.hold)))
        subject.on_next("a!")
        lane.until_running("a!")
        subject.on_next("b!")
        lane.until_cut_off("a!")
        lane.until(lambda: "b!" in lane.running)
        assert not sink.ended.is_set()
        lane.open("b!")
        sink.wait()
        assert isinstance(sink.error, jobs.Oops)
        assert sink.error.args == ("b!",)


def test_switch_map_disposed(lane):
    """The one that runs is stopped."""
    subject = Subject()
    with lane.pool(1) as pool:
        sink = lane.subscribe(subject.pipe(pool.switch_map(lane.hold)))
        subject.on_next("a")
        lane.until_running("a")
        sink.subscription.dispose()
        lane.until_cut_off("a")
        assert sink.values == []


def test_exhaust_map_drops_what_comes_meanwhile(lane):
    """While one runs others are dropped; after it the next one is taken."""
    subject = Subject()
    with lane.pool(2) as pool:
        sink = lane.subscribe(subject.pipe(pool.exhaust_map(lane.hold)))
        subject.on_next("a")
        lane.until_running("a")
        subject.on_next("b")
        subject.on_next("c")
        lane.open("a")
        lane.until(lambda: sink.values == ["a"])
        lane.until(lambda: pool.report().in_flight == 0)
        subject.on_next("d")
        subject.on_completed()
        lane.open("*")
        assert sink.result() == ["a", "d"]
        assert counts(pool) == {"accepted": 4, "succeeded": 2, "dropped": 2}


def test_exhaust_map_with_the_latest(lane):
    """The newest of those waits and runs next; the one that runs is not interrupted."""
    subject, letters = Subject(), []
    with lane.pool(2) as pool:
        through = pool.exhaust_map(
            lane.hold, queue_latest=True, on_failure=Observer(letters.append)
        )
        sink = lane.subscribe(subject.pipe(through))
        subject.on_next("a")
        lane.until_running("a")
        for item in "bcd":
            subject.on_next(item)
        assert lane.running == ["a"]
        subject.on_completed()
        lane.open("*")
        assert sink.result() == ["a", "d"]
        assert [letter.item for letter in letters] == ["b", "c"]
        assert all(isinstance(letter, Failure) for letter in letters)
        assert counts(pool) == {"accepted": 4, "succeeded": 2, "dropped": 2}
    assert lane.started == ["a", "d"]


def test_limits_hold_for_the_newest(lane):
    """A `timeout` of `switch_map` fails the item that runs too long."""
    subject, letters = Subject(), []
    with lane.pool(1) as pool:
        through = pool.switch_map(
            lane.hold, timeout=100 * lane.tick, on_failure=Observer(letters.append)
        )
        sink = lane.subscribe(subject.pipe(through))
        subject.on_next("a")
        lane.until(lambda: letters)
        assert isinstance(letters[0].error, TaskTimeout)
        lane.until_cut_off("a")
        subject.on_next("b")
        lane.open("b")
        subject.on_completed()
        assert sink.result() == ["b"]
