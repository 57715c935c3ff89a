"""Subscribers of ``batch`` that push, leave or raise while they are given a value."""

import pytest
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import operators as ops
from tests.operators.sources import BOOM


def test_a_subscriber_may_push_into_the_source():
    """What is pushed during a delivery is neither lost, doubled nor nested."""
    source, seen, depth = Subject(), [], 0

    def on_batch(items):
        nonlocal depth
        depth += 1
        assert depth == 1
        seen.append(items)
        if items[0] == 1:
            for i in range(10, 15):
                source.on_next(i)
            source.on_completed()
        depth -= 1

    source.pipe(ops.batch(2)).subscribe(on_batch, on_completed=lambda: seen.append("end"))
    source.on_next(1)
    source.on_next(2)
    assert seen == [[1, 2], [10, 11], [12, 13], [14], "end"]


def test_a_subscriber_may_push_when_a_timer_delivers():
    """The item opens the next batch, which has a delay of its own."""
    scheduler = TestScheduler()
    source, seen = Subject(), []

    def on_batch(items):
        seen.append((scheduler.clock, items))
        if items == [1]:
            source.on_next(2)

    source.pipe(ops.batch(max_delay=40)).subscribe(on_batch, scheduler=scheduler)
    scheduler.schedule_absolute(210, lambda *_: source.on_next(1))
    scheduler.start()
    assert seen == [(250, [1]), (290, [2])]


def test_a_subscriber_may_dispose_while_given_a_value():
    """Nothing follows, also not what was ready already."""
    source, seen = Subject(), []

    def on_batch(items):
        seen.append(items)
        source.on_next("late")
        subscription.dispose()
        source.on_next("later")

    subscription = source.pipe(ops.batch(1)).subscribe(on_batch)
    source.on_next(1)
    source.on_next(2)
    assert seen == [[1]]
    assert source.observers == []


def test_a_subscriber_that_raises_gets_no_more():
    """On the caller's own thread the exception goes to the caller."""
    source, seen = Subject(), []

    def broken(items):
        seen.append(items)
        raise BOOM

    source.pipe(ops.batch(2)).subscribe(broken, seen.append, lambda: seen.append("end"))
    source.on_next(1)
    with pytest.raises(RuntimeError, match="boom"):
        source.on_next(2)
    source.on_next(3)
    source.on_completed()
    assert seen == [[1, 2]]
