"""How ``batch`` ends: by its source, its subscriber, or a function that raises."""

import math

import pytest
import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import MetricEvent
from rxpool import operators as ops
from rxpool.errors import InvalidItem
from tests.alarms import Alarms
from tests.operators.sources import BOOM, on_error, on_next, subscribe


def test_the_error_is_the_sources_own():
    """Types of errors are compared apart: test notifications find all of them equal."""
    seen = []
    rx.throw(BOOM).pipe(ops.batch(3)).subscribe(on_error=seen.append)
    assert seen == [BOOM]


def test_nothing_comes_after_the_end():
    """A source that breaks the grammar cannot make the operator break it."""
    seen = []

    def rude(observer, _):
        observer.on_next(1)
        observer.on_completed()
        observer.on_next(2)
        observer.on_error(BOOM)

    rx.create(rude).pipe(ops.batch(9)).subscribe(
        seen.append, lambda e: seen.append(e), lambda: seen.append("end")
    )
    assert seen == [[1], "end"]


def test_an_item_that_is_measured_when_the_end_comes():
    """An item whose key is computed while the source ends opens no batch and sets no timer."""
    scheduler = Alarms()
    source, seen = Subject(), []

    def key(item):
        source.on_completed()

    source.pipe(ops.batch(max_delay=10, key=key, scheduler=scheduler)).subscribe(
        seen.append, seen.append, lambda: seen.append("end")
    )
    source.on_next(1)
    scheduler.start()
    assert (seen, scheduler.set) == (["end"], 0)


def test_dispose_drops_what_is_held_and_counts_it():
    """A subscriber that leaves takes its timer along; what was held is counted."""
    scheduler = Alarms()
    xs = scheduler.create_hot_observable(on_next(210, 1), on_next(220, 2))
    events = []
    results = scheduler.start(
        lambda: xs.pipe(ops.batch(max_delay=40, monitor=events.append)), disposed=230
    )
    assert results.messages == []
    assert xs.subscriptions == [subscribe(200, 230)]
    assert (scheduler.set, scheduler.rang) == (1, 0)
    assert events == [MetricEvent("rxpool.dropped", 2, "{item}", 230.0, {"policy": "dispose"})]


def test_a_full_batch_leaves_its_timer_to_the_next():
    """Full batches arm one timer for all; none is armed per item."""
    scheduler = Alarms()
    xs = scheduler.create_hot_observable(*(on_next(210 + i, i) for i in range(30)))
    scheduler.start(lambda: xs.pipe(ops.batch(3, 1000)), disposed=240)
    assert scheduler.set <= 1 + 1
    assert scheduler.rang == 0


@pytest.mark.parametrize(
    "options",
    [{"key": lambda _: 1 / 0}, {"max_weight": 5, "weight": lambda _: 1 / 0}],
    ids=["key", "weight"],
)
def test_a_user_function_that_raises_ends_the_stream(options):
    """The error comes after the open batch, and the source is let go at once."""
    (name,) = {"key", "weight"} & set(options)
    good = {"key": str, "weight": float}[name]
    bad = options[name]
    options = {**options, name: lambda item: good(item) if item < 2 else bad(item)}
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(on_next(210, 1), on_next(220, 2), on_next(230, 1))
    results = scheduler.start(lambda: xs.pipe(ops.batch(9, **options)))
    error = results.messages[-1].value.exception
    assert results.messages == [on_next(220, [1]), on_error(220, error)]
    assert isinstance(error, ZeroDivisionError)
    assert xs.subscriptions == [subscribe(200, 220)]


@pytest.mark.parametrize("weight", [-1, -math.inf, math.nan])
def test_a_negative_weight_ends_the_stream(weight):
    """A weight that means nothing is an error after the open batch, and names the value."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(on_next(210, 1), on_next(220, weight), on_next(230, 1))
    results = scheduler.start(lambda: xs.pipe(ops.batch(max_weight=5, weight=float)))
    error = results.messages[-1].value.exception
    assert results.messages == [on_next(220, [1]), on_error(220, error)]
    assert isinstance(error, InvalidItem)
    assert repr(float(weight)) in str(error)


def test_a_weight_that_is_no_number_ends_the_stream():
    """The TypeError of the comparison is the stream's error."""
    seen = []
    rx.of("heavy").pipe(ops.batch(max_weight=5, weight=lambda item: item)).subscribe(
        seen.append, seen.append
    )
    assert [type(error) for error in seen] == [TypeError]


def test_a_key_that_cannot_be_hashed_ends_the_stream():
    """The error of an unhashable key is the stream's error."""
    seen = []
    rx.of([1]).pipe(ops.batch(3, key=lambda item: item)).subscribe(seen.append, seen.append)
    assert [type(error) for error in seen] == [TypeError]
