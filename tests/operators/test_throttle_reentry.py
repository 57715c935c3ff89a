"""Subscribers of ``throttle`` that push, leave or raise while they are given a value."""

import pytest
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import operators as ops
from rxpool.errors import WouldBlock
from tests.operators.sources import BOOM


def test_a_subscriber_may_push_into_the_source():
    """What is pushed during a delivery follows at its time, neither lost nor nested."""
    scheduler = TestScheduler()
    source, seen, depth = Subject(), [], 0

    def on_item(item):
        nonlocal depth
        depth += 1
        assert depth == 1
        seen.append((scheduler.clock, item))
        if item < 5:
            source.on_next(item + 1)
        depth -= 1

    source.pipe(ops.throttle(1, per=10, burst=2)).subscribe(on_item, scheduler=scheduler)
    scheduler.schedule_absolute(210, lambda *_: source.on_next(1))
    scheduler.start()
    assert seen == [(210, 1), (210, 2), (220, 3), (230, 4), (240, 5)]


def test_re_entry_where_nothing_needs_to_wait():
    """What is pushed while an item passes as it came follows it, and so does the end."""
    source, seen, depth = Subject(), [], 0

    def on_item(item):
        nonlocal depth
        depth += 1
        assert depth == 1
        seen.append(item)
        if item == 1:
            source.on_next(2)
            source.on_next(3)
        if item == 3:
            source.on_next(4)
        if item == 10:
            source.on_next(11)
            source.on_completed()
        depth -= 1

    source.pipe(ops.throttle(1e9, burst=1e9)).subscribe(
        on_item, on_completed=lambda: seen.append("end")
    )
    for item in (0, 1):
        source.on_next(item)
    assert seen == [0, 1, 2, 3, 4]
    source.on_next(5)
    source.on_next(10)
    assert seen == [0, 1, 2, 3, 4, 5, 10, 11, "end"]


def test_a_timer_is_set_for_what_was_pushed_while_an_item_passed():
    """The pushed item leaves at its time although nothing else happens."""
    scheduler = TestScheduler()
    source, seen = Subject(), []

    def on_item(item):
        seen.append((scheduler.clock, item))
        if item == 2:
            source.on_next(3)

    source.pipe(ops.throttle(1, per=10, burst=2)).subscribe(on_item, scheduler=scheduler)
    source.on_next(1)
    source.on_next(2)
    scheduler.start()
    assert seen == [(0, 1), (0, 2), (10, 3)]


@pytest.mark.parametrize("warm", [0, 1, 2])
def test_leaving_where_nothing_needs_to_wait(warm):
    """Dispose in the middle of an item that passes as it came: nothing follows."""
    source, seen = Subject(), []

    def on_item(item):
        seen.append(item)
        if item == warm:
            source.on_next("late")
            subscription.dispose()
            source.on_next("later")

    subscription = source.pipe(ops.throttle(1e9, burst=1e9)).subscribe(on_item)
    for item in range(5):
        source.on_next(item)
    assert seen == list(range(warm + 1))
    assert source.observers == []


def test_raising_where_nothing_needs_to_wait():
    """The exception goes to the caller, also where an item passes as it came."""
    source, seen = Subject(), []

    def broken(item):
        seen.append(item)
        if item == 2:
            raise BOOM

    source.pipe(ops.throttle(1e9, burst=1e9)).subscribe(broken)
    source.on_next(0)
    source.on_next(1)
    with pytest.raises(RuntimeError, match="boom"):
        source.on_next(2)
    source.on_next(3)
    assert seen == [0, 1, 2]
    assert source.observers == []


def test_a_subscriber_that_pushes_too_much_cannot_wait_for_itself():
    """With ``"block"`` the stream ends, after what waits, and nothing hangs."""
    scheduler = TestScheduler()
    source, seen = Subject(), []

    def on_item(item):
        seen.append((scheduler.clock, item))
        if item == 1:
            source.on_next(2)
            source.on_next(3)

    source.pipe(ops.throttle(1, per=10, max_pending=1)).subscribe(
        on_item, lambda error: seen.append(type(error)), scheduler=scheduler
    )
    scheduler.schedule_absolute(210, lambda *_: source.on_next(1))
    scheduler.start()
    assert seen == [(210, 1), (220, 2), WouldBlock]


@pytest.mark.parametrize("rung", [False, True], ids=["as it came", "from the timer"])
def test_a_subscriber_may_dispose_while_given_a_value(rung):
    """Nothing follows, and no timer stays."""
    scheduler = TestScheduler()
    source, seen = Subject(), []
    last = 2 if rung else 1

    def on_item(item):
        seen.append(item)
        if item == last:
            subscription.dispose()

    subscription = source.pipe(ops.throttle(1, per=10)).subscribe(on_item, scheduler=scheduler)
    for item in (1, 2, 3):
        source.on_next(item)
    scheduler.advance_to(1000)
    assert seen == list(range(1, last + 1))
    assert source.observers == []


def test_a_subscriber_that_raises_gets_no_more():
    """On the caller's own thread the exception goes to the caller; what waits is dropped."""
    scheduler = TestScheduler()
    source, seen = Subject(), []

    def broken(item):
        seen.append(item)
        raise BOOM

    source.pipe(ops.throttle(1, burst=3)).subscribe(broken, seen.append, scheduler=scheduler)
    with pytest.raises(RuntimeError, match="boom"):
        source.on_next(1)
    source.on_next(2)
    scheduler.advance_to(100)
    assert seen == [1]
    assert source.observers == []
