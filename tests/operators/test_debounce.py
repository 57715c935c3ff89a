"""``debounce`` in virtual time: lodash's edges on a stream."""

import math
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

from rxpool import MetricEvent, TimerScheduler
from rxpool import operators as ops
from rxpool.errors import InvalidArgument
from rxpool.operators._debounce import DebounceState
from tests.alarms import Alarms

on_next, on_error = ReactiveTest.on_next, ReactiveTest.on_error
on_completed, subscribe = ReactiveTest.on_completed, ReactiveTest.subscribe
BOOM = RuntimeError("boom")
LEADING = {"leading": True, "trailing": False}
BOTH = {"leading": True}


def at(*times):
    """A source of the ticks themselves."""
    return [on_next(time, time) for time in times]


def by_first(item):
    return item[0]


# options of debounce(10), ticks of the items, what comes out when; the source ends at 500
TABLE = {
    "a lone item": ({}, [210], {220: 210}),
    "the last of a burst": ({}, [210, 215, 222], {232: 222}),
    "two bursts": ({}, [210, 215, 240, 241], {225: 215, 251: 241}),
    "an item at the very tick goes on with the burst": ({}, [210, 220], {230: 220}),
    "an item after the tick begins a burst": ({}, [210, 221], {220: 210, 231: 221}),
    "leading: a lone item": (LEADING, [210], {210: 210}),
    "leading: the first of a burst": (LEADING, [210, 215, 222], {210: 210}),
    "leading: two bursts": (LEADING, [210, 215, 240, 241], {210: 210, 240: 240}),
    "leading: the last item ends the burst, not the first": (
        LEADING,
        [210, 219, 228, 237, 248],
        {210: 210, 248: 248},
    ),
    "leading: at the very tick": (LEADING, [210, 220, 231], {210: 210, 231: 231}),
    "both: a lone item comes once": (BOTH, [210], {210: 210}),
    "both: a burst has two edges": (BOTH, [210, 215], {210: 210, 225: 215}),
    "both: two bursts": (
        BOTH,
        [210, 215, 240, 260, 261],
        {210: 210, 225: 215, 240: 240, 260: 260, 271: 261},
    ),
    "both: after a trailing edge the next item leads": (
        BOTH,
        [210, 215, 226],
        {210: 210, 225: 215, 226: 226},
    ),
    "max_wait runs from the first item": (
        {"max_wait": 25},
        [210, 218, 226, 233, 240],
        {235: 233, 250: 240},
    ),
    "max_wait runs again from the forced emission": (
        {"max_wait": 25},
        list(range(210, 300, 5)),
        # the item at 235 arrives at the very tick and comes before the timer
        {235: 235, 260: 260, 285: 285, 305: 295},
    ),
    "max_wait: nothing more, nothing twice": (
        {"max_wait": 25},
        [210, 218, 226, 234],
        {235: 234},
    ),
    "max_wait under wait counts as wait": (
        {"max_wait": 3},
        list(range(210, 240, 4)),
        {220: 218, 230: 230, 240: 238},
    ),
    "max_wait of zero counts as wait": (
        {"max_wait": 0},
        list(range(210, 240, 4)),
        {220: 218, 230: 230, 240: 238},
    ),
    "max_wait ends with the burst": (
        {"max_wait": 25},
        [210, 240, 249, 258, 266],
        {220: 210, 265: 258, 276: 266},
    ),
    "max_wait with both edges": (
        {"max_wait": 25, **BOTH},
        [210, 218, 226, 234, 242],
        {210: 210, 235: 234, 252: 242},
    ),
    "max_wait with both edges: a forced edge is no end, the next item does not lead": (
        {"max_wait": 25, **BOTH},
        [210, 218, 226, 234, 236, 247],
        {210: 210, 235: 234, 246: 236, 247: 247},
    ),
    "max_wait with the leading edge only: it leads again": (
        {"max_wait": 25, **LEADING},
        list(range(210, 290, 5)),
        {210: 210, 235: 235, 260: 260, 285: 285},
    ),
    "max_wait with the leading edge only: the next item after it leads": (
        {"max_wait": 25, **LEADING},
        [210, 218, 226, 234, 242, 250],
        {210: 210, 242: 242},
    ),
    "max_wait longer than the burst changes nothing": (
        {"max_wait": 100, **BOTH},
        [210, 215],
        {210: 210, 225: 215},
    ),
    "max_wait may be a timedelta": (
        {"max_wait": timedelta(seconds=25)},
        [210, 218, 226, 233],
        {235: 233},
    ),
}


@pytest.mark.parametrize("monitored", [False, True], ids=["plain", "monitored"])
@pytest.mark.parametrize(("options", "ticks", "expected"), TABLE.values(), ids=TABLE)
def test_table(options, ticks, expected, monitored):
    """Values and ticks are exact, and every item came out or is counted as superseded."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*at(*ticks), on_completed(500))
    events = []
    if monitored:
        options = {**options, "monitor": events.append}

    results = scheduler.start(lambda: xs.pipe(ops.debounce(10, **options)))

    assert results.messages == [
        *(on_next(time, item) for time, item in expected.items()),
        on_completed(500),
    ]
    assert xs.subscriptions == [subscribe(200, 500)]
    if monitored:
        lost = [e for e in events if e.name == "rxpool.dropped"]
        assert {e.attributes["policy"] for e in lost} <= {"superseded"}
        assert sum(e.value for e in lost) == len(ticks) - len(expected)
        told = [(e.at, e.value) for e in events if e.name == "rxpool.debounce.emissions"]
        assert told == [(at, 1) for at in expected]
        waits = [e for e in events if e.name == "rxpool.debounce.wait"]
        assert [e.at for e in waits] == list(expected)
        for event in waits:
            assert event.attributes["edge"] in ("leading", "trailing")
            assert event.value == 0 or event.attributes["edge"] == "trailing"
            assert event.at - event.value in (200, *ticks, *expected)


def test_wait_may_be_a_timedelta():
    """As with every duration."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*at(210), on_completed(500))
    results = scheduler.start(lambda: xs.pipe(ops.debounce(timedelta(seconds=10))))
    assert results.messages == [on_next(220, 210), on_completed(500)]


ZERO = {  # options of debounce(0), what comes out of three items at 210 and one at 211
    "trailing": ({}, [(210, "c"), (211, "d")]),
    "leading": (LEADING, [(210, "a"), (211, "d")]),
    "both": (BOTH, [(210, "a"), (210, "c"), (211, "d")]),
    "trailing, max_wait": ({"max_wait": 0}, [(210, "c"), (211, "d")]),
    "leading, max_wait": ({"max_wait": 0, **LEADING}, [(210, "a"), (211, "d")]),
    "both, max_wait": ({"max_wait": 5, **BOTH}, [(210, "a"), (210, "c"), (211, "d")]),
}


@pytest.mark.parametrize(("options", "expected"), ZERO.values(), ids=ZERO)
def test_no_wait_is_the_next_turn_of_the_scheduler(options, expected):
    """With ``wait=0`` the items of one turn are one burst."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(
        on_next(210, "a"), on_next(210, "b"), on_next(210, "c"), on_next(211, "d")
    )
    results = scheduler.start(lambda: xs.pipe(ops.debounce(0, **options)))
    assert [(m.time, m.value.value) for m in results.messages] == expected


def test_each_key_has_its_own_bursts():
    """Items of one key neither prolong nor supersede those of another."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(
        on_next(210, "a1"),
        on_next(215, "b1"),
        on_next(218, "a2"),
        on_next(226, "a3"),
        on_completed(300),
    )
    results = scheduler.start(lambda: xs.pipe(ops.debounce(10, key=by_first)))
    assert results.messages == [on_next(225, "b1"), on_next(236, "a3"), on_completed(300)]


def test_each_key_has_its_own_edges():
    """Leading edge and max_wait are per key too."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(
        on_next(210, "a1"),
        on_next(215, "b1"),
        on_next(216, "a2"),
        on_next(220, "b2"),
        on_next(222, "a3"),
    )
    results = scheduler.start(
        lambda: xs.pipe(ops.debounce(10, max_wait=15, leading=True, key=by_first))
    )
    assert results.messages == [
        on_next(210, "a1"),
        on_next(215, "b1"),
        on_next(225, "a3"),
        on_next(230, "b2"),
    ]


# -- the end -------------------------------------------------------------------


END = {
    "pending": ({}, [210, 212], [(215, 212)]),
    "pending after a leading one": (BOTH, [210, 212], [(210, 210), (215, 212)]),
    "nothing pending after a leading one": (BOTH, [210], [(210, 210)]),
    "nothing is pending without a trailing edge": (LEADING, [210, 212], [(210, 210)]),
    "nothing at all": ({}, [], []),
    "pending with max_wait": ({"max_wait": 20}, [210], [(215, 210)]),
}


@pytest.mark.parametrize("end", [on_completed(215), on_error(215, BOOM)], ids=["done", "error"])
@pytest.mark.parametrize(("options", "ticks", "expected"), END.values(), ids=END)
def test_the_end_is_a_flush(options, ticks, expected, end):
    """The pending trailing item comes out at once, then the completion or the error."""
    scheduler = Alarms()
    xs = scheduler.create_hot_observable(*at(*ticks), end)
    results = scheduler.start(lambda: xs.pipe(ops.debounce(10, **options)))
    assert results.messages == [*(on_next(time, item) for time, item in expected), end]
    assert xs.subscriptions == [subscribe(200, 215)]
    assert scheduler.rang == 0
    if end.value.kind == "E":
        assert results.messages[-1].value.exception is BOOM


def test_the_end_flushes_all_keys():
    """The pending items of all keys come out, the one that waited longest first."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(
        on_next(210, "b1"), on_next(211, "a1"), on_next(212, "b2"), on_completed(215)
    )
    results = scheduler.start(lambda: xs.pipe(ops.debounce(10, key=by_first)))
    assert results.messages == [on_next(215, "a1"), on_next(215, "b2"), on_completed(215)]


def test_dispose_drops_what_is_pending_and_counts_it():
    """A subscriber that leaves takes its timer along; superseded items are counted too."""
    scheduler = Alarms()
    xs = scheduler.create_hot_observable(*at(210, 211, 212))
    events = []
    results = scheduler.start(
        lambda: xs.pipe(ops.debounce(10, monitor=events.append)), disposed=215
    )
    assert results.messages == []
    assert xs.subscriptions == [subscribe(200, 215)]
    assert (scheduler.set, scheduler.rang) == (1, 0)
    assert events == [
        MetricEvent("rxpool.dropped", 2, "{item}", 215.0, {"policy": "superseded"}),
        MetricEvent("rxpool.dropped", 1, "{item}", 215.0, {"policy": "dispose"}),
    ]


def test_a_key_that_raises_ends_the_stream():
    """The error comes after the pending item, and the source is let go at once."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*at(210, 211, 212))
    results = scheduler.start(
        lambda: xs.pipe(ops.debounce(10, key=lambda item: 1 // (211 - item) and 0))
    )
    error = results.messages[-1].value.exception
    assert results.messages == [on_next(211, 210), on_error(211, error)]
    assert isinstance(error, ZeroDivisionError)
    assert xs.subscriptions == [subscribe(200, 211)]


def test_a_key_that_cannot_be_hashed_ends_the_stream():
    """The error of an unhashable key is the stream's error."""
    seen = []
    rx.of([1]).pipe(ops.debounce(3, key=lambda item: item)).subscribe(seen.append, seen.append)
    assert [type(error) for error in seen] == [TypeError]


# -- re-entry ------------------------------------------------------------------


def test_a_subscriber_may_push_into_the_source_from_the_timer():
    """What is pushed while an item is emitted is a burst of its own: nothing is lost."""
    scheduler = TestScheduler()
    source, seen = Subject(), []

    def on_item(item):
        seen.append((scheduler.clock, item))
        if item < 3:
            source.on_next(item + 1)

    source.pipe(ops.debounce(10)).subscribe(on_item, scheduler=scheduler)
    scheduler.schedule_absolute(210, lambda *_: source.on_next(1))
    scheduler.start()
    assert seen == [(220, 1), (230, 2), (240, 3)]


def test_a_subscriber_may_push_into_the_source_from_the_leading_edge():
    """What is pushed belongs to the burst that it is being given the first item of."""
    scheduler = TestScheduler()
    source, seen, depth = Subject(), [], 0

    def on_item(item):
        nonlocal depth
        depth += 1
        assert depth == 1
        seen.append((scheduler.clock, item))
        if item == 1:
            source.on_next(2)
            source.on_next(3)
        depth -= 1

    source.pipe(ops.debounce(10, leading=True)).subscribe(on_item, scheduler=scheduler)
    scheduler.schedule_absolute(210, lambda *_: source.on_next(1))
    scheduler.start()
    assert seen == [(210, 1), (220, 3)]


def test_a_subscriber_may_complete_the_source_while_given_a_value():
    """The end comes after what became pending meanwhile."""
    source, seen = Subject(), []

    def on_item(item):
        seen.append(item)
        if item == 1:
            source.on_next(2)
            source.on_completed()

    source.pipe(ops.debounce(10, leading=True)).subscribe(
        on_item, on_completed=lambda: seen.append("end")
    )
    source.on_next(1)
    assert seen == [1, 2, "end"]


@pytest.mark.parametrize("options", [{}, BOTH], ids=["from the timer", "as it came"])
def test_a_subscriber_may_dispose_while_given_a_value(options):
    """Nothing follows, and no timer stays."""
    scheduler = Alarms()
    source, seen = Subject(), []

    def on_item(item):
        seen.append(item)
        source.on_next("late")
        subscription.dispose()

    subscription = source.pipe(ops.debounce(10, **options)).subscribe(
        on_item, scheduler=scheduler
    )
    source.on_next(1)
    scheduler.advance_to(100)
    source.on_next(2)
    scheduler.advance_to(200)
    assert seen == [1]
    assert source.observers == []
    assert scheduler.set == scheduler.rang


def test_a_subscriber_that_raises_gets_no_more():
    """On the caller's own thread the exception goes to the caller."""
    scheduler = TestScheduler()
    source, seen = Subject(), []

    def broken(item):
        seen.append(item)
        raise BOOM

    source.pipe(ops.debounce(10, leading=True)).subscribe(
        broken, seen.append, scheduler=scheduler
    )
    with pytest.raises(RuntimeError, match="boom"):
        source.on_next(1)
    source.on_next(2)
    scheduler.advance_to(100)
    assert seen == [1]
    assert source.observers == []


# -- schedulers and sharing ----------------------------------------------------


def test_the_argument_beats_the_subscribers_scheduler():
    """`scheduler=` is the clock whatever the subscriber passes."""
    mine, other = TestScheduler(), TestScheduler()
    source, seen = Subject(), []
    source.pipe(ops.debounce(10, scheduler=mine)).subscribe(seen.append, scheduler=other)
    source.on_next(1)
    other.advance_to(1000)
    assert seen == []
    mine.advance_to(10)
    assert seen == [1]


def test_without_any_scheduler_the_shared_one_serves():
    """The shared `TimerScheduler` has one timer, until the subscriber leaves."""
    source = Subject()
    subscription = source.pipe(ops.debounce(60)).subscribe()
    before = TimerScheduler.singleton().pending
    for i in range(100):
        source.on_next(i)
    assert TimerScheduler.singleton().pending == before + 1
    subscription.dispose()
    assert TimerScheduler.singleton().pending == before


def test_one_operator_serves_many_subscriptions():
    """Two subscriptions of one operator value have bursts of their own."""
    scheduler = TestScheduler()
    operator = ops.debounce(10, scheduler=scheduler)
    first, second, seen = Subject(), Subject(), []
    first.pipe(operator).subscribe(lambda item: seen.append(("first", item)))
    second.pipe(operator).subscribe(lambda item: seen.append(("second", item)))
    first.on_next(1)
    second.on_next(2)
    scheduler.advance_to(10)
    assert seen == [("first", 1), ("second", 2)]


def test_no_timer_is_armed_per_item():
    """A burst of 300 items, with or without keys, rings a timer once in a `wait`."""
    for options in ({}, {"key": lambda item: item % 3}):
        scheduler = Alarms()
        xs = scheduler.create_hot_observable(*(on_next(201 + i, i) for i in range(300)))
        scheduler.start(lambda xs=xs, options=options: xs.pipe(ops.debounce(10, **options)))
        assert scheduler.set == scheduler.rang <= 4 * 300 / 10


@pytest.mark.parametrize(
    ("options", "expected"),
    [({}, [349]), (LEADING, [0]), (BOTH, [0, 349]), ({"key": int}, list(range(350)))],
    ids=["trailing", "leading", "both", "keyed"],
)
def test_many_items_at_one_instant_do_not_move_the_clock(options, expected):
    """350 items of one tick are one burst of one tick."""
    scheduler = TestScheduler()
    results = scheduler.start(
        lambda: rx.concat(rx.from_iterable(range(350)), rx.never()).pipe(
            ops.debounce(10, **options)
        )
    )
    assert [m.value.value for m in results.messages] == expected
    first = 200 if options.get("leading") else 210
    assert {m.time for m in results.messages} <= {first, 210}


@pytest.mark.parametrize("max_wait", [None, 0.3])
def test_ticks_that_floats_cannot_hold(max_wait):
    """An item exactly `wait` after the last goes on with the burst whatever the rounding."""
    for start in range(1, 300):
        absorbing, offering = (DebounceState(0.1, max_wait) for _ in range(2))
        for step in range(4):
            now = (start + step) / 10
            if not absorbing.absorb(step, now):
                absorbing.offer(step, now, None)
            offering.offer(step, now, None)
        for state in (absorbing, offering):
            assert (list(state.ready), state.held) == ([], 1)


def test_the_leading_edge_at_max_wait_whatever_the_rounding():
    """An item exactly `max_wait` after the leading one leads again."""
    for start in range(1, 300):
        state = DebounceState(0.2, 0.3, leading=True, trailing=False)
        for step in range(7):
            state.offer(step, (start + step) / 10, None)
        assert list(state.ready) == [0, 3, 6]


# -- measurements and memory ---------------------------------------------------


def test_superseded_items_are_counted_in_one_event():
    """A storm is one event per edge, not one per item, and holds no memory meanwhile."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*at(*range(210, 310)), *at(400, 401))
    events = []
    scheduler.start(lambda: xs.pipe(ops.debounce(10, monitor=events.append)))
    trailing = {"edge": "trailing"}
    assert events == [
        MetricEvent("rxpool.debounce.emissions", 1, "{item}", 319.0, trailing),
        MetricEvent("rxpool.debounce.wait", 109.0, "s", 319.0, trailing),
        MetricEvent("rxpool.dropped", 99, "{item}", 319.0, {"policy": "superseded"}),
        MetricEvent("rxpool.debounce.emissions", 1, "{item}", 411.0, trailing),
        MetricEvent("rxpool.debounce.wait", 11.0, "s", 411.0, trailing),
        MetricEvent("rxpool.dropped", 1, "{item}", 411.0, {"policy": "superseded"}),
    ]
    state = DebounceState(10, notes=True)
    state.offer(0, 0.0, None)
    for i in range(1000):
        state.absorb(i, i / 1000)
    assert state.notes == []


def test_a_timer_that_is_late_merges_no_bursts():
    """An item that comes after the edge, but before its timer, lets out what was due."""
    state = DebounceState(1.0)
    state.offer("a", 0.0, None)
    assert not state.absorb("b", 1.5)
    state.offer("b", 1.5, None)
    assert (list(state.ready), state.held, state.due) == (["a"], 2, 1.0)
    state.expire(1.6)
    assert (list(state.ready), state.due) == (["a"], 2.5)


def test_max_wait_counts_from_when_the_forced_edge_was_due():
    """Also where the next item comes before the timer that is late."""
    state = DebounceState(2.0, 3.0)
    state.offer("a", 0.0, None)
    state.offer("b", 1.5, None)
    assert not state.absorb("c", 3.4)
    state.offer("c", 3.4, None)  # 3.0 was the forced edge
    assert list(state.ready) == ["b"]
    state.expire(3.5)
    assert (list(state.ready), state.due) == (["b"], 5.4)
    state.offer("d", 5.3, None)
    state.expire(5.4)
    state.expire(6.0)
    assert list(state.ready) == ["b", "d"]


def test_a_key_is_forgotten_after_its_burst():
    """Keys cost memory only as long as a burst of theirs goes on."""
    state = DebounceState(1.0)
    for key in range(1000):
        state.offer(key, 0.0, key)
    state.expire(1.0)
    assert list(state.ready) == list(range(1000))
    assert (len(state._bursts), len(state._heap), state.due) == (0, 0, None)


# -- refusals ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"wait": -1}, "wait.*-1"),
        ({"wait": math.nan}, "wait.*nan"),
        ({"wait": math.inf}, "wait.*inf"),
        ({"wait": "1s"}, "wait.*'1s'"),
        ({"wait": True}, "wait.*True"),
        ({"wait": None}, "wait.*None"),
        ({"wait": timedelta(seconds=-1)}, "wait.*-1"),
        ({"max_wait": -1}, "max_wait.*-1"),
        ({"max_wait": math.nan}, "max_wait.*nan"),
        ({"max_wait": "1s"}, "max_wait.*'1s'"),
        ({"leading": 1}, "leading.*1"),
        ({"trailing": "no"}, "trailing.*'no'"),
        ({"trailing": False}, "leading=False, trailing=False"),
        ({"trailing": False, "max_wait": 5}, "leading=False, trailing=False"),
        ({"key": "k"}, "key.*'k'"),
        ({"monitor": 7}, "monitor.*7"),
        ({"scheduler": 7}, "scheduler.*7"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, said):
    """The mistake is reported where it is written, with the value; it is a ValueError."""
    with pytest.raises(InvalidArgument, match=said) as info:
        ops.debounce(**{"wait": 1, **options})
    assert isinstance(info.value, ValueError)


def test_options_are_keywords():
    """Only the wait has a position."""
    with pytest.raises(TypeError):
        ops.debounce(1, 1)
