"""How ``throttle`` ends: by its source, its subscriber, or a function that raises."""

import math

import pytest
import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import MetricEvent
from rxpool import operators as ops
from rxpool.errors import InvalidItem
from tests.alarms import Alarms
from tests.operators.sources import BOOM, items, on_completed, on_error, on_next, subscribe


def test_an_error_keeps_its_identity():
    """The error that comes after the waiting items is the source's own."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*items(210, 211), on_error(212, BOOM))
    results = scheduler.start(lambda: xs.pipe(ops.throttle(1, per=10)))
    assert results.messages[-1].value.exception is BOOM


def test_dispose_drops_what_waits_and_counts_it():
    """A subscriber that leaves takes its timer along; what waited is counted."""
    scheduler = Alarms()
    xs = scheduler.create_hot_observable(*items(210, 211, 212))
    events = []
    results = scheduler.start(
        lambda: xs.pipe(ops.throttle(1, per=10, monitor=events.append)), disposed=215
    )
    assert results.messages == [on_next(210, 1)]
    assert xs.subscriptions == [subscribe(200, 215)]
    assert events[-1] == MetricEvent(
        "rxpool.dropped", 2, "{item}", 215.0, {"policy": "dispose"}
    )
    assert (scheduler.set, scheduler.rang) == (1, 0)


def test_dispose_while_the_end_waits():
    """A subscriber that leaves between the end of the source and its own gets no more."""
    scheduler = Alarms()
    xs = scheduler.create_hot_observable(*items(210, 211, 212), on_completed(213))
    results = scheduler.start(lambda: xs.pipe(ops.throttle(1, per=10)), disposed=225)
    assert results.messages == [*items(210, 220)]
    assert (scheduler.set, scheduler.rang) == (2, 1)


@pytest.mark.parametrize("name", ["key", "cost"])
def test_a_user_function_that_raises_ends_the_stream(name):
    """The error comes after what waits, at its time; the source is let go at once."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*items(210, 211, 212, 213))

    def function(item):
        return 1 if item < 3 else 1 / 0

    results = scheduler.start(lambda: xs.pipe(ops.throttle(1, per=10, **{name: function})))
    error = results.messages[-1].value.exception
    assert results.messages == [*items(210, 220), on_error(220, error)]
    assert isinstance(error, ZeroDivisionError)
    assert xs.subscriptions == [subscribe(200, 212)]


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("cost", [-1, -0.5, math.nan, math.inf, -math.inf])
def test_an_impossible_cost_ends_the_stream(cost, strict):
    """A negative or endless cost is an error that names it, after what waits."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(on_next(210, 1), on_next(211, 1), on_next(212, cost))
    results = scheduler.start(
        lambda: xs.pipe(ops.throttle(1, per=10, cost=float, strict=strict))
    )
    error = results.messages[-1].value.exception
    assert results.messages == [on_next(210, 1), on_next(220, 1), on_error(220, error)]
    assert isinstance(error, InvalidItem)
    assert repr(float(cost)) in str(error)


@pytest.mark.parametrize("waiting", [False, True], ids=["alone", "behind another"])
def test_a_cost_over_a_strict_rate_ends_the_stream(waiting):
    """Such an item could never pass; the stream says so and does not hang."""
    before = items(210, 211) if waiting else items(210)
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*before, on_next(230 - 15 * waiting, 9))
    results = scheduler.start(
        lambda: xs.pipe(
            ops.throttle(2, per=10, strict=True, cost=lambda item: 3 if item == 9 else 2)
        )
    )
    error = results.messages[-1].value.exception
    expected = [*items(210, 220), on_error(220, error)]
    assert results.messages == (expected if waiting else [*items(210), on_error(230, error)])
    assert isinstance(error, InvalidItem)


@pytest.mark.parametrize("raises", [False, True])
def test_an_item_that_is_measured_when_the_end_comes(raises):
    """The end that came first counts: the item is no more taken, nor is its error."""
    scheduler = TestScheduler()
    source, seen = Subject(), []

    def cost(item):
        if item == 3:
            source.on_completed()
            if raises:
                raise BOOM
        return 1

    source.pipe(ops.throttle(1, per=10, cost=cost, scheduler=scheduler)).subscribe(
        seen.append, seen.append, lambda: seen.append("end")
    )
    for item in (1, 2, 3):
        source.on_next(item)
    scheduler.start()
    assert seen == [1, 2, "end"]


def test_a_cost_that_is_no_number_ends_the_stream():
    """The TypeError of the comparison is the stream's error."""
    seen = []
    rx.of("dear").pipe(ops.throttle(1, cost=lambda item: item)).subscribe(
        seen.append, seen.append
    )
    assert [type(error) for error in seen] == [TypeError]
