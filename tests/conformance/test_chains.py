"""Flows that feed flows of the same pool never wait for one another for ever."""

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import operators as ops
from tests import jobs
from tests.conformance.lanes import counted, counts, source

MANY = 60


@pytest.mark.parametrize("pending", [0, 1])
@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("pulled", [False, True])
def test_two_maps_on_one_worker(lane, order, pending, pulled):
    """One worker, hardly any room: everything comes out, in order."""
    with lane.pool(1, max_pending=pending) as pool:
        numbers = pool.pull(range(MANY)) if pulled else source(lane, pool, range(MANY))
        stream = numbers.pipe(
            pool.map(jobs.double, order=order), pool.map(jobs.double, order=order)
        )
        assert lane.collect(stream) == list(range(0, 4 * MANY, 4))
        assert counts(pool) == {"accepted": 2 * MANY, "succeeded": 2 * MANY}


@pytest.mark.parametrize("workers", [1, 3])
def test_five_maps(lane, workers):
    """The same with a longer chain."""
    with lane.pool(workers, max_pending=1) as pool:
        stages = [pool.map(jobs.double, order="input") for _ in range(5)]
        stream = source(lane, pool, range(MANY)).pipe(*stages)
        assert lane.collect(stream) == list(range(0, 32 * MANY, 32))


@pytest.mark.parametrize("workers", [1, 2])
def test_map_batch_map(lane, workers):
    """A batch in between holds items of one flow for another."""
    with lane.pool(workers, max_pending=1) as pool:
        stream = source(lane, pool, range(MANY)).pipe(
            pool.map(jobs.double), ops.batch(max_size=7), pool.map_batches(jobs.doubles)
        )
        assert sorted(lane.collect(stream)) == list(range(0, 4 * MANY, 4))


def test_a_merge_of_two_flows(lane):
    """Two flows of one worker become one stream, which becomes a third flow."""
    with lane.pool(1, max_pending=1) as pool:
        one = source(lane, pool, range(20)).pipe(pool.map(jobs.double))
        two = source(lane, pool, range(100, 120)).pipe(pool.map(jobs.double))
        stream = rx.merge(one, two).pipe(pool.map(jobs.same))
        expected = [2 * n for n in (*range(20), *range(100, 120))]
        assert sorted(lane.collect(stream)) == expected


def test_two_flows_of_one_source(lane):
    """A source that is shared feeds two flows of one worker, which meet again."""
    with lane.pool(1) as pool:
        subject = Subject()
        stream = rx.merge(
            subject.pipe(pool.map(jobs.double)), subject.pipe(pool.map(jobs.same))
        )
        sink = lane.subscribe(stream.pipe(pool.map(jobs.same)))
        lane.until(lambda: len(subject.observers) == 2)
        for n in range(MANY):
            subject.on_next(n)
        subject.on_completed()
        assert sorted(sink.result()) == sorted([*range(MANY), *range(0, 2 * MANY, 2)])


def test_a_subscriber_feeds_another_flow(lane):
    """Results are pushed into a second flow of the pool by the subscriber of the first."""
    with lane.pool(1) as pool:
        second = Subject()
        sink = lane.subscribe(second.pipe(pool.map(jobs.double)))
        first = lane.subscribe(
            source(lane, pool, range(MANY)).pipe(
                pool.map(jobs.double), ro.do_action(on_completed=second.on_completed)
            ),
            second.on_next,
        )
        first.result()
        assert sorted(sink.result()) == list(range(0, 4 * MANY, 4))


def test_a_subscriber_feeds_its_own_flow(lane):
    """Each result brings the next item, as a crawler does."""
    with lane.pool(1, max_pending=1) as pool:
        subject = Subject()

        def follow(n):
            if n >= 200:
                subject.on_completed()
            else:
                subject.on_next(n + 1)
                if n % 50 == 0:
                    subject.on_next(1000)

        def stop_at(n):
            if n != 1000:
                follow(n)

        sink = lane.subscribe(subject.pipe(pool.map(jobs.same)), stop_at)
        subject.on_next(0)
        values = sink.result()
        assert [n for n in values if n != 1000] == list(range(201))
        assert values.count(1000) <= 4


def test_a_chain_keeps_the_order_of_its_keys(lane):
    """Order by key holds from one flow to the next."""
    with lane.pool(3, max_pending=2) as pool:

        def stage():
            return pool.map(jobs.same, order="key", key=lambda n: n % 3)

        results = lane.collect(source(lane, pool, range(MANY)).pipe(stage(), stage()))
        for key in range(3):
            assert [n for n in results if n % 3 == key] == list(range(key, MANY, 3))


def test_a_failure_ends_the_chain(lane):
    """The error of the first flow comes out of the last, after the results before it."""
    with lane.pool(1, max_pending=1) as pool:
        stream = source(lane, pool, [0, 2, 4, 5, 6]).pipe(
            pool.map(jobs.fail_odd, order="input"), pool.map(jobs.double, order="input")
        )
        sink = lane.subscribe(stream).wait()
        assert sink.values == [0, 4, 8]
        assert isinstance(sink.error, jobs.Oops)


def test_what_a_merge_cannot_take_waits(lane):
    """A slow flow behind a merge has all results in the end, and holds its sources back."""
    read = []
    with lane.pool(2, max_pending=2) as pool:
        one = pool.pull(counted((f"a{n}" for n in range(40)), read)).pipe(pool.map(jobs.same))
        two = pool.pull(counted((f"b{n}" for n in range(40)), read)).pipe(pool.map(jobs.same))
        sink = lane.start(rx.merge(one, two).pipe(pool.map(lane.hold, concurrency=1)))
        lane.until(lambda: len(lane.running) == 1)
        lane.until(lambda: len(read) >= 4)
        # The slow flow runs 1, and 2 wait; before it each flow may run 2, hold 2 and have one
        # result in hand; where results come in lots, one of these before that is noticed.
        assert len(read) < 40
        lane.open("*")
        assert sorted(sink.result()) == sorted(f"{k}{n}" for k in "ab" for n in range(40))
    assert lane.most == 1


@pytest.mark.usefixtures("frantic")
def test_merged_flows_do_not_stop_one_another(lane):
    """While one is held up, what it waits for is not held up behind it.

    Catches a worker that waits for room while it holds the lock of `merge`, which the worker
    wants that is to make room.
    """
    with lane.pool(2, max_pending=2) as pool:
        slow = pool.map(lane.last, concurrency=1)
        for _ in range(6):
            flows = [pool.pull([(n, 0)] * 30).pipe(pool.map(jobs.same)) for n in range(2)]
            values = lane.collect(rx.merge(*flows).pipe(slow))
            assert sorted(values) == [0] * 30 + [1] * 30
