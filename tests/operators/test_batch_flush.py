"""``batch`` with a stream that flushes it."""

import pytest
import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import operators as ops
from tests.operators.sources import BOOM, by_first, on_completed, on_error, on_next, subscribe


def test_flush_closes_what_is_open():
    """Each item of `flush` closes all open batches, oldest first, and never an empty one."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(
        on_next(210, "b1"), on_next(215, "a1"), on_next(240, "a2"), on_completed(300)
    )
    flush = scheduler.create_hot_observable(on_next(205, 0), on_next(220, 0), on_next(230, 0))
    results = scheduler.start(lambda: xs.pipe(ops.batch(9, key=by_first, flush=flush)))
    assert results.messages == [
        on_next(220, ["b1"]),
        on_next(220, ["a1"]),
        on_next(300, ["a2"]),
        on_completed(300),
    ]
    assert flush.subscriptions == [subscribe(200, 300)]


def test_flush_restarts_the_delay():
    """After a flush the delay runs from the next first item."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(on_next(210, 1), on_next(225, 2), on_completed(300))
    flush = scheduler.create_hot_observable(on_next(220, 0))
    results = scheduler.start(lambda: xs.pipe(ops.batch(max_delay=40, flush=flush)))
    assert results.messages == [on_next(220, [1]), on_next(265, [2]), on_completed(300)]


def test_flush_may_be_the_only_limit_and_its_completion_changes_nothing():
    """With `flush` alone batches grow until it emits; when it is over, until the end."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(
        on_next(210, 1), on_next(220, 2), on_next(260, 3), on_completed(300)
    )
    flush = scheduler.create_hot_observable(on_next(230, 0), on_completed(240))
    results = scheduler.start(lambda: xs.pipe(ops.batch(flush=flush)))
    assert results.messages == [on_next(230, [1, 2]), on_next(300, [3]), on_completed(300)]


def test_the_error_of_flush_ends_the_stream_after_the_open_batch():
    """The rule of the end holds for an error of `flush`, and the source is let go."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(on_next(210, 1), on_next(260, 3), on_completed(300))
    flush = scheduler.create_hot_observable(on_error(240, BOOM))
    results = scheduler.start(lambda: xs.pipe(ops.batch(flush=flush)))
    assert results.messages == [on_next(240, [1]), on_error(240, BOOM)]
    assert results.messages[-1].value.exception is BOOM
    assert xs.subscriptions == [subscribe(200, 240)]


def test_a_flush_that_fails_at_once_spares_the_source():
    """Nothing is subscribed to for a stream that is over already."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(on_next(210, 1))
    results = scheduler.start(
        lambda: xs.pipe(ops.batch(flush=rx.create(lambda observer, _: observer.on_error(BOOM))))
    )
    assert results.messages == [on_error(200, BOOM)]
    assert xs.subscriptions == []


def test_a_subscriber_that_raises_lets_flush_go():
    """Neither the source nor `flush` stays subscribed behind a broken subscriber."""
    source, flush = Subject(), Subject()

    def broken(_):
        raise BOOM

    source.pipe(ops.batch(1, flush=flush)).subscribe(broken)
    with pytest.raises(RuntimeError, match="boom"):
        source.on_next(1)
    assert (source.observers, flush.observers) == ([], [])


def test_flush_and_source_get_the_subscribers_scheduler():
    """What the subscriber passes as scheduler reaches both."""
    scheduler = TestScheduler()
    seen = []

    def spy(name):
        def subscribe_(_, given=None):
            seen.append((name, given))

        return rx.create(subscribe_)

    spy("source").pipe(ops.batch(1, flush=spy("flush"))).subscribe(scheduler=scheduler)
    assert sorted(seen, key=str) == [("flush", scheduler), ("source", scheduler)]
