"""``batch`` in virtual time: what comes out and when, what it tells and what it refuses."""

import math
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex.scheduler import TimeoutScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import MetricEvent, TimerScheduler
from rxpool import operators as ops
from rxpool.errors import InvalidArgument
from rxpool.operators._batch import BatchState
from tests.operators.sources import BOOM, by_first, on_completed, on_error, on_next, subscribe


def second_as_number(item):
    return float(item[1:])


# options, source, result
TABLE = {
    "the size closes": (
        {"max_size": 3},
        [on_next(210, 1), on_next(220, 2), on_next(230, 3), on_next(240, 4), on_completed(250)],
        [on_next(230, [1, 2, 3]), on_next(250, [4]), on_completed(250)],
    ),
    "a size of one batches nothing": (
        {"max_size": 1, "max_delay": 40},
        [on_next(210, 1), on_next(210, 2), on_completed(250)],
        [on_next(210, [1]), on_next(210, [2]), on_completed(250)],
    ),
    "the delay runs from the first item": (
        {"max_delay": 40},
        [on_next(210, 1), on_next(240, 2), on_completed(300)],
        [on_next(250, [1, 2]), on_completed(300)],
    ),
    "after a full batch the delay starts again with the next item": (
        {"max_size": 2, "max_delay": 40},
        [on_next(210, 1), on_next(220, 2), on_next(240, 3), on_completed(300)],
        [on_next(220, [1, 2]), on_next(280, [3]), on_completed(300)],
    ),
    "no delay runs while nothing is open": (
        {"max_delay": 10},
        [on_next(210, 1), on_next(290, 2), on_completed(500)],
        [on_next(220, [1]), on_next(300, [2]), on_completed(500)],
    ),
    "an item at the very tick of the timer comes before it": (
        {"max_delay": 40},
        [on_next(210, 1), on_next(250, 2), on_completed(300)],
        [on_next(250, [1, 2]), on_completed(300)],
    ),
    "an item at the very tick of the timer may fill the batch": (
        {"max_size": 2, "max_delay": 40},
        [on_next(210, 1), on_next(250, 2), on_next(250, 3), on_completed(300)],
        [on_next(250, [1, 2]), on_next(290, [3]), on_completed(300)],
    ),
    "completion flushes": (
        {"max_size": 3, "max_delay": 40},
        [on_next(210, 1), on_completed(215)],
        [on_next(215, [1]), on_completed(215)],
    ),
    "an error comes after the open batch": (
        {"max_size": 3, "max_delay": 40},
        [on_next(210, 1), on_error(215, BOOM)],
        [on_next(215, [1]), on_error(215, BOOM)],
    ),
    "nothing in, no batch": ({"max_delay": 10}, [on_completed(300)], [on_completed(300)]),
    "nothing in, only the error": (
        {"max_delay": 10},
        [on_error(300, BOOM)],
        [on_error(300, BOOM)],
    ),
    "None is an item": (
        {"max_size": 2},
        [on_next(210, None), on_next(220, None), on_completed(250)],
        [on_next(220, [None, None]), on_completed(250)],
    ),
    "a weight that would go over closes the batch and opens the next": (
        {"max_weight": 10, "weight": float},
        [on_next(210, 4), on_next(220, 6), on_next(230, 1), on_completed(250)],
        [on_next(230, [4, 6]), on_next(250, [1]), on_completed(250)],
    ),
    "a heavier item travels alone": (
        {"max_weight": 10, "weight": float},
        [on_next(210, 4), on_next(220, 11), on_next(230, 2), on_completed(250)],
        [on_next(220, [4]), on_next(220, [11]), on_next(250, [2]), on_completed(250)],
    ),
    "a heavier first item opens no batch": (
        {"max_weight": 10, "weight": float, "max_delay": 30},
        [on_next(210, 11), on_completed(250)],
        [on_next(210, [11]), on_completed(250)],
    ),
    "the delay of a batch opened by weight runs from its own first item": (
        {"max_weight": 10, "weight": float, "max_delay": 30},
        [on_next(210, 8), on_next(230, 8), on_completed(300)],
        [on_next(230, [8]), on_next(260, [8]), on_completed(300)],
    ),
    "items without weight add nothing": (
        {"max_weight": 1, "weight": float, "max_size": 3},
        [on_next(210, 1), on_next(220, 0), on_next(230, 0), on_next(240, 0), on_completed(250)],
        [on_next(230, [1, 0, 0]), on_next(250, [0]), on_completed(250)],
    ),
    "each key has its own batch and its own delay": (
        {"max_delay": 40, "key": by_first},
        [on_next(210, "a1"), on_next(220, "b1"), on_next(230, "a2"), on_completed(300)],
        [on_next(250, ["a1", "a2"]), on_next(260, ["b1"]), on_completed(300)],
    ),
    "each key has its own size": (
        {"max_size": 2, "key": by_first},
        [on_next(210, "a1"), on_next(220, "b1"), on_next(230, "b2"), on_completed(240)],
        [on_next(230, ["b1", "b2"]), on_next(240, ["a1"]), on_completed(240)],
    ),
    "each key has its own weight": (
        {"max_weight": 5, "weight": second_as_number, "key": by_first},
        [
            on_next(210, "a4"),
            on_next(220, "b4"),
            on_next(230, "a1"),
            on_next(240, "b2"),
            on_completed(250),
        ],
        [
            on_next(240, ["b4"]),
            on_next(250, ["a4", "a1"]),
            on_next(250, ["b2"]),
            on_completed(250),
        ],
    ),
    "the end closes the batches of all keys, oldest first": (
        {"max_size": 9, "key": by_first},
        [on_next(210, "b1"), on_next(220, "a1"), on_next(230, "b2"), on_error(240, BOOM)],
        [on_next(240, ["b1", "b2"]), on_next(240, ["a1"]), on_error(240, BOOM)],
    ),
    "durations may be timedeltas": (
        {"max_delay": timedelta(seconds=40)},
        [on_next(210, 1), on_completed(300)],
        [on_next(250, [1]), on_completed(300)],
    ),
}


@pytest.mark.parametrize(("options", "source", "expected"), TABLE.values(), ids=TABLE)
def test_table(options, source, expected):
    """Values and ticks are exact, and the source is let go when it ends."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*source)

    results = scheduler.start(lambda: xs.pipe(ops.batch(**options)))

    assert results.messages == expected
    assert xs.subscriptions == [subscribe(200, source[-1].time)]


@pytest.mark.parametrize(("options", "source", "expected"), TABLE.values(), ids=TABLE)
def test_table_with_a_monitor(options, source, expected):
    """Measuring changes nothing, and every batch is one event of its size."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*source)
    events = []

    results = scheduler.start(lambda: xs.pipe(ops.batch(**options, monitor=events.append)))

    assert results.messages == expected
    sizes = [event.value for event in events if event.name == "rxpool.batch.size"]
    assert sizes == [len(m.value.value) for m in expected if m.value.kind == "N"]


def test_limits_may_be_given_by_position():
    """``batch(max_size, max_delay)``."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(
        on_next(210, 1), on_next(220, 2), on_next(230, 3), on_completed(300)
    )
    results = scheduler.start(lambda: xs.pipe(ops.batch(2, 40)))
    assert results.messages == [on_next(220, [1, 2]), on_next(270, [3]), on_completed(300)]


# -- schedulers ----------------------------------------------------------------


def test_the_argument_beats_the_subscribers_scheduler():
    """`scheduler=` is the clock whatever the subscriber passes."""
    mine, other = TestScheduler(), TestScheduler()
    source, seen = Subject(), []
    source.pipe(ops.batch(max_delay=40, scheduler=mine)).subscribe(seen.append, scheduler=other)
    source.on_next(1)
    other.advance_to(1000)
    assert seen == []
    mine.advance_to(40)
    assert seen == [[1]]


def test_without_any_scheduler_the_shared_one_serves():
    """The shared `TimerScheduler` has the timer, until the subscriber leaves."""
    source = Subject()
    subscription = source.pipe(ops.batch(max_delay=60)).subscribe()
    before = TimerScheduler.singleton().pending
    source.on_next(1)
    assert TimerScheduler.singleton().pending == before + 1
    subscription.dispose()
    assert TimerScheduler.singleton().pending == before


def test_a_scheduler_that_fails_ends_the_stream():
    """Without a timer nothing would come out ever: the error says why; nothing lingers."""

    class Broken(TimeoutScheduler):
        def __new__(cls):
            return object.__new__(cls)

        def schedule_relative(self, duetime, action, state=None):
            raise BOOM

    source, seen, events = Subject(), [], []
    source.pipe(ops.batch(max_delay=1, scheduler=Broken(), monitor=events.append)).subscribe(
        seen.append, seen.append
    )
    source.on_next(1)
    assert seen == [BOOM]
    assert source.observers == []
    assert [(e.name, e.value) for e in events] == [("rxpool.dropped", 1)]


def test_one_operator_serves_many_subscriptions():
    """Two subscriptions of one operator value share nothing."""
    scheduler = TestScheduler()
    operator = ops.batch(2, 40, scheduler=scheduler)
    first, second, seen = Subject(), Subject(), []
    first.pipe(operator).subscribe(lambda batch: seen.append(("first", batch)))
    second.pipe(operator).subscribe(lambda batch: seen.append(("second", batch)))
    first.on_next(1)
    second.on_next(2)
    first.on_next(3)
    assert seen == [("first", [1, 3])]
    scheduler.advance_to(40)
    assert seen == [("first", [1, 3]), ("second", [2])]


def test_many_items_at_one_instant_do_not_move_the_clock():
    """Virtual time does not drift: the operator schedules nothing per item."""
    scheduler = TestScheduler()
    results = scheduler.start(
        lambda: rx.concat(rx.from_iterable(range(350)), rx.never()).pipe(
            ops.batch(7, 5, key=int)
        )
    )
    assert [m.time for m in results.messages] == [205] * 350
    assert [m.value.value for m in results.messages] == [[i] for i in range(350)]


def test_many_batches_at_one_instant():
    """350 items come out in 35 batches at the tick they came in."""
    scheduler = TestScheduler()
    results = scheduler.start(lambda: rx.from_iterable(range(350)).pipe(ops.batch(10, 5)))
    batches = [list(range(i, i + 10)) for i in range(0, 350, 10)]
    assert results.messages == [*(on_next(200, b) for b in batches), on_completed(200)]


# -- measurements and state ----------------------------------------------------


def test_events():
    """Size and reason of every batch; the reasons say what closed it."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(
        *(on_next(t, w) for t, w in [(210, 1), (211, 1), (212, 4), (213, 4), (214, 9)]),
        on_next(240, 1),
        on_next(260, 1),
        on_completed(261),
    )
    flush = scheduler.create_hot_observable(on_next(241, None))
    events = Subject()
    seen = []
    events.subscribe(seen.append)
    scheduler.start(
        lambda: xs.pipe(
            ops.batch(2, 15, max_weight=5, weight=float, flush=flush, monitor=events)
        )
    )
    assert [e.attributes["reason"] for e in seen if e.name == "rxpool.batch.flushes"] == [
        "size",
        "weight",
        "weight",
        "weight",
        "flush",
        "end",
    ]
    assert [e.value for e in seen if e.name == "rxpool.batch.size"] == [2, 1, 1, 1, 1, 1]
    assert seen[0] == MetricEvent("rxpool.batch.size", 2, "{item}", 211.0, {"reason": "size"})
    assert seen[1] == MetricEvent(
        "rxpool.batch.flushes", 1, "{batch}", 211.0, {"reason": "size"}
    )


def test_the_time_is_a_reason():
    """A batch closed by its age says so."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(on_next(210, 1))
    seen = []
    scheduler.start(lambda: xs.pipe(ops.batch(9, 15, monitor=seen.append)))
    assert [(e.at, e.attributes["reason"]) for e in seen] == [(225, "time")] * 2


def test_a_monitor_that_raises_fails_nothing(caplog):
    """The failure goes to the log, the stream goes on."""

    def monitor(_):
        raise BOOM

    seen = []
    rx.of(1, 2).pipe(ops.batch(1, monitor=monitor)).subscribe(seen.append)
    assert seen == [[1], [2]]
    assert {record.name for record in caplog.records} == {"rxpool"}
    assert "the monitor raised" in caplog.text


def test_a_key_with_no_open_batch_costs_no_memory():
    """A closed batch leaves nothing of its key."""
    state = BatchState(max_size=2)
    for key in range(1000):
        state.offer("x", 0.0, (key, 0.0))
        state.offer("y", 0.0, (key, 0.0))
        state.ready.clear()
    assert state.held == 0
    assert len(state._open) == 0


# -- refusals ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "none"),
        ({"max_size": 0}, "max_size.*0"),
        ({"max_size": -3}, "max_size.*-3"),
        ({"max_size": 1.5}, r"max_size.*1\.5"),
        ({"max_size": True}, "max_size.*True"),
        ({"max_size": "7"}, "max_size.*'7'"),
        ({"max_delay": 0}, "max_delay.*0"),
        ({"max_delay": -0.5}, r"max_delay.*-0\.5"),
        ({"max_delay": math.nan}, "max_delay.*nan"),
        ({"max_delay": math.inf}, "max_delay.*inf"),
        ({"max_delay": timedelta(0)}, "max_delay.*0"),
        ({"max_delay": "1s"}, "max_delay.*'1s'"),
        ({"max_weight": 0, "weight": float}, "max_weight.*0"),
        ({"max_weight": math.nan, "weight": float}, "max_weight.*nan"),
        ({"max_weight": 10**400, "weight": float}, "max_weight.*1000"),
        ({"max_weight": 5}, "max_weight=5"),
        ({"max_size": 5, "weight": float}, "weight=<class 'float'>"),
        ({"max_weight": 5, "weight": 3}, "weight.*3"),
        ({"max_size": 5, "key": "k"}, "key.*'k'"),
        ({"flush": 5}, "flush.*5"),
        ({"max_size": 5, "monitor": 7}, "monitor.*7"),
        ({"max_size": 5, "scheduler": 7}, "scheduler.*7"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, said):
    """The mistake is reported where it is written, with the value."""
    with pytest.raises(InvalidArgument, match=said):
        ops.batch(**options)


def test_options_are_keywords():
    """Only the two first limits have positions."""
    with pytest.raises(TypeError):
        ops.batch(1, 1, 1)
