"""The schedulers of ``throttle``, and many items at one instant."""

import pytest
import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import TimerScheduler
from rxpool import operators as ops
from rxpool.operators._throttle_state import ThrottleState
from tests.operators.sources import on_completed, on_next


def test_the_argument_beats_the_subscribers_scheduler():
    """`scheduler=` is the clock whatever the subscriber passes."""
    mine, other = TestScheduler(), TestScheduler()
    source, seen = Subject(), []
    source.pipe(ops.throttle(1, scheduler=mine)).subscribe(seen.append, scheduler=other)
    source.on_next(1)
    source.on_next(2)
    other.advance_to(1000)
    assert seen == [1]
    mine.advance_to(1)
    assert seen == [1, 2]


def test_without_any_scheduler_the_shared_one_serves():
    """The shared `TimerScheduler` has the timer, until the subscriber leaves."""
    source = Subject()
    subscription = source.pipe(ops.throttle(1, per=60)).subscribe()
    before = TimerScheduler.singleton().pending
    source.on_next(1)
    assert TimerScheduler.singleton().pending == before
    source.on_next(2)
    source.on_next(3)
    assert TimerScheduler.singleton().pending == before + 1
    subscription.dispose()
    assert TimerScheduler.singleton().pending == before


def test_an_earlier_timer_takes_the_place_of_a_later_one():
    """However often the next time comes nearer, one timer is set."""
    source = Subject()
    before = TimerScheduler.singleton().pending
    operator = ops.throttle(1, per=60, burst=0, key=str, cost=float)
    subscription = source.pipe(operator).subscribe()
    for cost in (5, 4, 3, 2, 1):
        source.on_next(cost)
        assert TimerScheduler.singleton().pending == before + 1
    subscription.dispose()
    assert TimerScheduler.singleton().pending == before


def test_one_operator_serves_many_subscriptions():
    """Two subscriptions of one operator value have a bucket each."""
    scheduler = TestScheduler()
    operator = ops.throttle(1, per=10, scheduler=scheduler)
    seen = []
    for name in ("first", "second"):
        rx.of(1, 2).pipe(operator).subscribe(lambda item, name=name: seen.append((name, item)))
    assert seen == [("first", 1), ("second", 1)]
    scheduler.advance_to(10)
    assert seen[2:] == [("first", 2), ("second", 2)]


@pytest.mark.parametrize("options", [{}, {"key": int}, {"strict": True}], ids=str)
def test_many_items_at_one_instant_do_not_move_the_clock(options):
    """350 items pass at the tick they came in."""
    scheduler = TestScheduler()
    results = scheduler.start(
        lambda: rx.from_iterable(range(350)).pipe(ops.throttle(350, burst=350, **options))
    )
    assert results.messages == [*(on_next(200, i) for i in range(350)), on_completed(200)]


def test_many_items_that_become_due_at_one_instant():
    """350 items that wait for the same tick leave at it."""
    scheduler = TestScheduler()
    results = scheduler.start(
        lambda: rx.from_iterable(range(350)).pipe(ops.throttle(1, per=10, burst=0, key=int))
    )
    assert results.messages == [*(on_next(210, i) for i in range(350)), on_completed(210)]


def test_a_long_queue_keeps_the_pace():
    """The last of 350 items leaves at exactly its time."""
    scheduler = TestScheduler()
    results = scheduler.start(
        lambda: rx.from_iterable(range(350)).pipe(ops.throttle(1, per=2)), disposed=2000
    )
    assert [m.time for m in results.messages[:-1]] == [200 + 2 * i for i in range(350)]
    assert results.messages[-1] == on_completed(200 + 2 * 349)


def test_ticks_that_floats_cannot_hold():
    """An item exactly `per` after the oldest passes whatever the rounding."""
    for start in range(1, 300):
        state = ThrottleState(1, per=0.1, strict=True, max_pending=0, overflow="drop_newest")
        for step in range(5):
            state.offer(step, (start + step) / 10, None)
            state.delivered((start + step) / 10)
        assert list(state.ready) == [0, 1, 2, 3, 4]
