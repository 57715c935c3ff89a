"""``progress`` in virtual time: its lines, its items, its arguments."""

import io
import threading
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import InvalidArgument
from rxpool import operators as ops
from tests.operators.displays import BAD, BOOM, GOOD, Stamped
from tests.operators.sources import on_completed, on_error, on_next, subscribe

# -- virtual time ------------------------------------------------------------------------------

# options, messages of the source, lines; `dispose` is at 300
RUNS = {
    "a line when it is due, not earlier, with all that came until then": (
        {"every": 10},
        [on_next(203, 1), on_next(204, 2), on_next(217, 3), on_completed(218)],
        [(210, "2, 0.2/s, 10.0 s\n"), (218, "3, 0.2/s, 18.0 s, done\n")],
    ),
    "nothing while nothing comes, then at once": (
        {"every": timedelta(seconds=10)},
        [on_next(205, 1), on_next(240, 2), on_next(243, 3), on_completed(299)],
        [
            (210, "1, 0.1/s, 10.0 s\n"),
            (240, "2, 0.1/s, 40.0 s\n"),
            (250, "3, 0.1/s, 50.0 s\n"),
            (299, "3, 0.0/s, 99.0 s, done\n"),
        ],
    ),
    "an empty stream": ({}, [on_completed(200 + 5)], [(205, "0, 0.0/s, 5.0 s, done\n")]),
    "two seconds by default": (
        {},
        [on_next(201, 1), on_next(201, 2), on_completed(204)],
        [(202, "2, 1.0/s, 2.0 s\n"), (204, "2, 0.5/s, 4.0 s, done\n")],
    ),
    "an error": (
        {"total": 4, "description": "files", "every": 50},
        [on_next(210, 1), on_error(220, BOOM)],
        [(220, "files: 1 of 4 (25 %), 0.1/s, 20.0 s, failed\n")],
    ),
    "dispose": (
        {"every": 60},
        [on_next(210, 1), on_next(270, 2)],
        [(260, "1, 0.0/s, 60.0 s\n"), (300, "2, 0.0/s, 100.0 s, disposed\n")],
    ),
    "outcomes": (
        {"every": 5},
        [on_next(201, GOOD), on_next(202, BAD), on_next(203, BAD), on_completed(210)],
        [
            (205, "3, 2 failed, 0.6/s, 5.0 s\n"),
            (210, "3, 2 failed, 0.3/s, 10.0 s, done\n"),
        ],
    ),
}


@pytest.mark.parametrize(("options", "messages", "lines"), RUNS.values(), ids=RUNS)
def test_lines_come_at_exact_ticks_and_items_as_they_came(options, messages, lines):
    """Also: everything is handed on at its tick, and the source is let go."""
    scheduler = TestScheduler()
    file = Stamped(scheduler)
    source = scheduler.create_hot_observable(messages)
    result = scheduler.start(
        lambda: source.pipe(ops.progress(bar="plain", file=file, **options)), disposed=300
    )
    assert result.messages == messages
    end = messages[-1].time if messages[-1].value.kind != "N" else 300
    assert source.subscriptions == [subscribe(200, end)]
    assert file.lines == lines


def test_nothing_is_left_in_the_scheduler():
    """After the end no timer rings."""
    scheduler = TestScheduler()
    file = Stamped(scheduler)
    source = scheduler.create_hot_observable(on_next(210, 1), on_completed(211))
    scheduler.start(lambda: source.pipe(ops.progress(file=file, every=500)), disposed=2000)
    assert scheduler.clock <= 2000
    assert [tick for tick, _ in file.lines] == [211]


def test_take_ends_it_with_the_item_counted():
    """A subscriber that leaves while it is given an item has been given it."""
    file = io.StringIO()
    rx.range(100).pipe(ops.progress(file=file), ro.take(3)).run()
    assert file.getvalue().startswith("3, ")
    assert file.getvalue().endswith(", disposed\n")


def test_each_subscription_counts_for_itself():
    """One operator value can be used in many streams."""
    file = io.StringIO()
    stream = rx.range(2).pipe(ops.progress(file=file))
    stream.run()
    stream.run()
    assert [text.split(",")[0] for text in file.getvalue().splitlines()] == ["2", "2"]


def test_a_subscriber_that_pushes_while_it_is_given_an_item():
    """Nothing is lost, doubled or nested."""
    source, seen, depth = Subject(), [], []

    def take(value):
        assert not depth
        depth.append(1)
        if value < 5:
            source.on_next(value + 1)
        seen.append(value)
        depth.pop()

    file = io.StringIO()
    source.pipe(ops.progress(file=file)).subscribe(take)
    source.on_next(0)
    source.on_completed()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert file.getvalue().startswith("6, ")


def test_a_scheduler_that_sleeps_does_not_hold_back_the_stream():
    """Caught: a timer on the subscriber's trampoline, which would sleep until it rings."""
    file, ended = io.StringIO(), threading.Event()
    rx.range(3).pipe(ops.progress(file=file, every=3600)).subscribe(
        on_completed=ended.set, scheduler=CurrentThreadScheduler()
    )
    assert ended.is_set()


# -- rich, tqdm, and which of them -------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.progress(-1), "total must be 0 or more, got -1"),
        (lambda: ops.progress(1.5), "total must be a whole number, got 1.5"),
        (lambda: ops.progress(True), "total must be a whole number, got True"),
        (lambda: ops.progress(description=3), "description must be a str or None, got 3"),
        (
            lambda: ops.progress(bar="x"),
            "bar must be one of auto, rich, tqdm, notebook, plain, none, got 'x'",
        ),
        (lambda: ops.progress(file="x"), "file must have write and flush, got 'x'"),
        (lambda: ops.progress(every=0), "every must be finite and greater than 0, got 0"),
        (lambda: ops.progress(every="x"), "every must be seconds or a timedelta, got 'x'"),
        (lambda: ops.progress(keep=1), "keep must be True or False, got 1"),
        (
            lambda: ops.progress(scheduler="x"),
            "scheduler must be a reactivex scheduler, got 'x'",
        ),
    ],
)
def test_arguments_are_checked_where_they_are_written(make, message):
    """The message names the value."""
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert str(caught.value) == message
