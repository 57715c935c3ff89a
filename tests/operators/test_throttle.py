"""``throttle`` in virtual time: which items come out, when, and what becomes of the rest."""

import math
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

from rxpool import MetricEvent, TimerScheduler
from rxpool import operators as ops
from rxpool._core.state import FULL
from rxpool.errors import InvalidArgument, InvalidItem, Overflow, WouldBlock
from rxpool.operators._throttle_state import ThrottleState

on_next, on_error = ReactiveTest.on_next, ReactiveTest.on_error
on_completed, subscribe = ReactiveTest.on_completed, ReactiveTest.subscribe
BOOM = RuntimeError("boom")


class Alarms(TestScheduler):
    """Virtual time that counts the timers that were set and those that rang."""

    def __init__(self):
        super().__init__()
        self.set = self.rang = 0

    def schedule_relative(self, duetime, action, state=None):
        self.set += 1

        def ring(scheduler, state=None):
            self.rang += 1
            return action(scheduler, state)

        return super().schedule_relative(duetime, ring, state)


def items(*times):
    """A hot source of 1, 2, 3, … at these ticks."""
    return [on_next(time, number) for number, time in enumerate(times, 1)]


def by_first(item):
    return item[0]


# options, source, result, when the source is let go
TABLE = {
    "the first items of a burst pass at once, the others as tokens come": (
        {"rate": 1, "per": 10, "burst": 2},
        [*items(210, 210, 210, 210), on_completed(215)],
        [*items(210, 210, 220, 230), on_completed(230)],
        215,
    ),
    "burst is one by default": (
        {"rate": 1, "per": 10},
        [*items(210, 211, 212), on_completed(500)],
        [*items(210, 220, 230), on_completed(500)],
        500,
    ),
    "refill is continuous": (
        {"rate": 1, "per": 10, "burst": 2},
        [*items(210, 210, 215, 216), on_completed(500)],
        [*items(210, 210, 220, 230), on_completed(500)],
        500,
    ),
    "refill stops at burst": (
        {"rate": 1, "per": 10, "burst": 2},
        [*items(210, 300, 300, 300), on_completed(500)],
        [*items(210, 300, 300, 310), on_completed(500)],
        500,
    ),
    "rate and per make the pace": (
        {"rate": 5, "per": 10},
        [*items(210, 210, 210), on_completed(500)],
        [*items(210, 212, 214), on_completed(500)],
        500,
    ),
    "per is a second by default": (
        {"rate": 0.1},
        [*items(210, 210, 210), on_completed(500)],
        [*items(210, 220, 230), on_completed(500)],
        500,
    ),
    "per may be a timedelta": (
        {"rate": 1, "per": timedelta(seconds=10)},
        [*items(210, 210), on_completed(500)],
        [*items(210, 220), on_completed(500)],
        500,
    ),
    "nothing is slower than it must be": (
        {"rate": 1, "per": 10},
        [*items(210, 220, 230), on_completed(500)],
        [*items(210, 220, 230), on_completed(500)],
        500,
    ),
    "an item at the very tick another leaves waits behind it": (
        {"rate": 1, "per": 10},
        [*items(210, 211, 220), on_completed(500)],
        [*items(210, 220, 230), on_completed(500)],
        500,
    ),
    "an error comes after what waits, each at its time": (
        {"rate": 1, "per": 10},
        [*items(210, 211, 212), on_error(213, BOOM)],
        [*items(210, 220, 230), on_error(230, BOOM)],
        213,
    ),
    "an error comes at once when nothing waits": (
        {"rate": 1, "per": 10},
        [*items(210), on_error(213, BOOM)],
        [*items(210), on_error(213, BOOM)],
        213,
    ),
    "completion comes at once when nothing waits": (
        {"rate": 1, "per": 10},
        [*items(210), on_completed(213)],
        [*items(210), on_completed(213)],
        213,
    ),
    "the cost is what an item takes": (
        {"rate": 1, "per": 10, "burst": 3, "cost": float},
        [*items(210, 210, 210), on_completed(500)],
        [*items(210, 210, 240), on_completed(500)],
        500,
    ),
    "an item of no cost waits only behind others": (
        {"rate": 1, "per": 10, "cost": lambda item: item % 2},
        [*items(210, 210, 210, 211), on_completed(500)],
        [*items(210, 210, 220, 220), on_completed(500)],
        500,
    ),
    "a fraction is a cost like any other": (
        {"rate": 1, "per": 10, "cost": lambda item: 0.5},
        [*items(210, 210, 210, 210), on_completed(500)],
        [*items(210, 210, 215, 220), on_completed(500)],
        500,
    ),
    "an item that costs more than burst waits until enough tokens have come": (
        {"rate": 1, "per": 10, "burst": 2, "cost": lambda item: 5 if item == 2 else 1},
        [*items(210, 211, 212), on_completed(500)],
        # 1 token is left at 210; 4 more come until 250; the next one has to wait for its own
        [*items(210, 250, 260), on_completed(500)],
        500,
    ),
    "an item that costs more than burst waits also when the bucket was idle": (
        {"rate": 1, "per": 10, "burst": 2, "cost": lambda item: 5 if item == 2 else 1},
        [*items(210, 400), on_completed(500)],
        [*items(210, 430), on_completed(500)],
        500,
    ),
    "without burst every item waits its full cost": (
        {"rate": 1, "per": 10, "burst": 0},
        [*items(210, 300, 301), on_completed(500)],
        [*items(220, 310, 320), on_completed(500)],
        500,
    ),
    "without burst the cost sets the wait": (
        {"rate": 1, "per": 10, "burst": 0, "cost": float},
        [*items(210, 300), on_completed(500)],
        [*items(220, 320), on_completed(500)],
        500,
    ),
    "half a token of burst is half the wait": (
        {"rate": 1, "per": 10, "burst": 0.5},
        [*items(210, 300), on_completed(500)],
        [*items(215, 305), on_completed(500)],
        500,
    ),
    "when less than one token is left nothing passes for the cooldown": (
        {"rate": 1, "per": 10, "burst": 2, "cooldown": 50},
        [*items(210, 211, 212, 213, 214), on_completed(500)],
        # 2 empties the bucket at 211; it is full again at 261, so 4 follows 3 at once
        [*items(210, 211, 261, 261, 311), on_completed(500)],
        500,
    ),
    "a cooldown is measured from the admission that emptied the bucket": (
        {"rate": 1, "per": 10, "burst": 1, "cooldown": 15},
        [*items(210, 224, 250), on_completed(500)],
        [*items(210, 225, 250), on_completed(500)],
        500,
    ),
    "a cooldown that is over when the token comes delays nothing": (
        {"rate": 1, "per": 10, "burst": 1, "cooldown": timedelta(seconds=5)},
        [*items(210, 211, 212), on_completed(500)],
        [*items(210, 220, 230), on_completed(500)],
        500,
    ),
    "a whole token left means no cooldown": (
        {"rate": 1, "per": 10, "burst": 3, "cooldown": 50},
        [*items(210, 211, 230, 240), on_completed(500)],
        [*items(210, 211, 230, 240), on_completed(500)],
        500,
    ),
    "each key has its own bucket": (
        {"rate": 1, "per": 10, "key": by_first},
        [
            on_next(210, "a1"),
            on_next(211, "b1"),
            on_next(212, "a2"),
            on_next(213, "b2"),
            on_completed(500),
        ],
        [
            on_next(210, "a1"),
            on_next(211, "b1"),
            on_next(220, "a2"),
            on_next(221, "b2"),
            on_completed(500),
        ],
        500,
    ),
    "the items of a key keep their order, those of others overtake": (
        {"rate": 1, "per": 10, "key": by_first, "cost": lambda item: int(item[1:])},
        [
            on_next(210, "a1"),
            on_next(211, "a3"),
            on_next(212, "a1"),
            on_next(213, "b1"),
            on_completed(220),
        ],
        [
            on_next(210, "a1"),
            on_next(213, "b1"),
            on_next(240, "a3"),
            on_next(250, "a1"),
            on_completed(250),
        ],
        220,
    ),
    "strict admits no more than rate in any window": (
        {"rate": 2, "per": 10, "strict": True},
        [*items(210, 215, 216, 217, 218), on_completed(500)],
        [*items(210, 215, 220, 225, 230), on_completed(500)],
        500,
    ),
    "strict: an item exactly per after the oldest passes": (
        {"rate": 2, "per": 10, "strict": True, "max_pending": 0, "overflow": "drop_newest"},
        [*items(210, 219, 219, 220), on_completed(500)],
        [on_next(210, 1), on_next(219, 2), on_next(220, 4), on_completed(500)],
        500,
    ),
    "strict: burst has no effect": (
        {"rate": 2, "per": 10, "strict": True, "burst": 100},
        [*items(210, 210, 210), on_completed(500)],
        [*items(210, 210, 220), on_completed(500)],
        500,
    ),
    "strict counts costs": (
        {"rate": 4, "per": 10, "strict": True, "cost": float},
        [*items(210, 212, 213, 214), on_completed(500)],
        # 1 + 2 fit; 3 fits when both are gone, 4 when 3 is
        [*items(210, 212, 222, 232), on_completed(500)],
        500,
    ),
    "strict counts each cost that leaves the window": (
        {"rate": 5, "per": 10, "strict": True, "cost": lambda item: 1 if item == 3 else 2},
        [*items(210, 212, 214, 215), on_completed(500)],
        # the two of the first item are enough for the fourth
        [*items(210, 212, 214, 220), on_completed(500)],
        500,
    ),
    "strict with cooldown: a full window closes it": (
        {"rate": 2, "per": 10, "strict": True, "cooldown": 30},
        [*items(210, 211, 212, 213, 214), on_completed(500)],
        [*items(210, 211, 241, 241, 271), on_completed(500)],
        500,
    ),
    "strict has a window per key": (
        {"rate": 1, "per": 10, "strict": True, "key": by_first},
        [on_next(210, "a1"), on_next(211, "b1"), on_next(212, "a2"), on_completed(500)],
        [on_next(210, "a1"), on_next(211, "b1"), on_next(220, "a2"), on_completed(500)],
        500,
    ),
    "drop_newest drops the arriving item": (
        {"rate": 1, "per": 10, "max_pending": 2, "overflow": "drop_newest"},
        [*items(210, 211, 212, 213, 221), on_completed(500)],
        [on_next(210, 1), on_next(220, 2), on_next(230, 3), on_next(240, 5), on_completed(500)],
        500,
    ),
    "drop_oldest drops the item that waited longest": (
        {"rate": 1, "per": 10, "max_pending": 2, "overflow": "drop_oldest"},
        [*items(210, 211, 212, 213, 221), on_completed(500)],
        [on_next(210, 1), on_next(220, 3), on_next(230, 4), on_next(240, 5), on_completed(500)],
        500,
    ),
    "one pending with drop_oldest keeps the latest": (
        {"rate": 1, "per": 10, "max_pending": 1, "overflow": "drop_oldest"},
        [*items(210, 211, 212, 213, 225, 226), on_completed(500)],
        [on_next(210, 1), on_next(220, 4), on_next(230, 6), on_completed(500)],
        500,
    ),
    "none pending with drop_newest polices": (
        {"rate": 1, "per": 10, "burst": 2, "max_pending": 0, "overflow": "drop_newest"},
        [*items(210, 211, 212, 219, 220, 221), on_completed(500)],
        [on_next(210, 1), on_next(211, 2), on_next(220, 5), on_completed(500)],
        500,
    ),
    "none pending with drop_oldest polices too": (
        {"rate": 1, "per": 10, "max_pending": 0, "overflow": "drop_oldest"},
        [*items(210, 211, 220), on_completed(500)],
        [on_next(210, 1), on_next(220, 3), on_completed(500)],
        500,
    ),
    "the latest is kept also without burst": (
        {"rate": 1, "per": 10, "burst": 0, "max_pending": 1, "overflow": "drop_oldest"},
        [*items(*range(210, 240)), on_completed(500)],
        # nothing waits at 221: what came since then without an item to take it is lost
        [on_next(220, 11), on_next(231, 22), on_next(242, 30), on_completed(500)],
        500,
    ),
    "max_pending is the total over all keys": (
        {"rate": 1, "per": 10, "key": by_first, "max_pending": 2, "overflow": "drop_oldest"},
        [
            *(on_next(210, k + "1") for k in "abc"),
            *(on_next(212, k + "2") for k in "abc"),
            on_completed(500),
        ],
        [
            *(on_next(210, k + "1") for k in "abc"),
            *(on_next(220, k + "2") for k in "bc"),
            on_completed(500),
        ],
        500,
    ),
    "a dropped item gives its tokens back": (
        {"rate": 1, "per": 10, "max_pending": 1, "overflow": "drop_oldest", "cost": float},
        [on_next(210, 1), on_next(211, 9), on_next(212, 1), on_completed(500)],
        [on_next(210, 1), on_next(220, 1), on_completed(500)],
        500,
    ),
    "when an expensive head is dropped the next leaves as soon as it can": (
        {"rate": 1, "per": 10, "max_pending": 2, "overflow": "drop_oldest", "cost": float},
        [on_next(210, 1), on_next(211, 9), on_next(212, 1), on_next(213, 1), on_completed(500)],
        [on_next(210, 1), on_next(220, 1), on_next(230, 1), on_completed(500)],
        500,
    ),
    "when an expensive head is dropped the next may leave at once": (
        {"rate": 1, "per": 10, "max_pending": 2, "overflow": "drop_oldest", "cost": float},
        [on_next(210, 1), on_next(211, 9), on_next(212, 1), on_next(250, 1), on_completed(500)],
        # at 250 the bucket holds what the dropped one waited for, but never more than burst
        [on_next(210, 1), on_next(250, 1), on_next(260, 1), on_completed(500)],
        500,
    ),
    "None is an item": (
        {"rate": 1, "per": 10},
        [on_next(210, None), on_next(211, None), on_completed(300)],
        [on_next(210, None), on_next(220, None), on_completed(300)],
        300,
    ),
}


@pytest.mark.parametrize("monitored", [False, True], ids=["plain", "monitored"])
@pytest.mark.parametrize(
    ("options", "source", "expected", "released"), TABLE.values(), ids=TABLE
)
def test_table(options, source, expected, released, monitored):
    """Values and ticks are exact, measured or not; the source is let go when it ends."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*source)
    if monitored:
        options = {**options, "monitor": [].append}

    results = scheduler.start(lambda: xs.pipe(ops.throttle(**options)))

    assert results.messages == expected
    assert xs.subscriptions == [subscribe(200, released)]


@pytest.mark.parametrize(
    ("options", "error_type"),
    [({"overflow": "error"}, Overflow), ({"overflow": "block"}, WouldBlock), ({}, WouldBlock)],
    ids=["error", "block", "default"],
)
def test_too_many_waiting_items_end_the_stream(options, error_type):
    """What waits is delivered at its time, then the error; the source is let go at once."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*items(210, 211, 212, 213, 214), on_completed(300))
    results = scheduler.start(
        lambda: xs.pipe(ops.throttle(1, per=10, max_pending=2, **options))
    )
    error = results.messages[-1].value.exception
    assert results.messages == [*items(210, 220, 230), on_error(230, error)]
    assert type(error) is error_type
    assert xs.subscriptions == [subscribe(200, 213)]


@pytest.mark.parametrize(
    ("overflow", "error_type"), [("error", Overflow), ("block", WouldBlock)]
)
def test_none_may_wait(overflow, error_type):
    """With ``max_pending=0`` the first item that would have to wait ends the stream."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*items(210, 211))
    results = scheduler.start(
        lambda: xs.pipe(ops.throttle(1, per=10, max_pending=0, overflow=overflow))
    )
    error = results.messages[-1].value.exception
    assert results.messages == [on_next(210, 1), on_error(211, error)]
    assert type(error) is error_type


def test_would_block_says_what_to_use_instead():
    """The text names the ways out."""
    seen = []
    scheduler = TestScheduler()
    rx.of(1, 2).pipe(ops.throttle(1, max_pending=0, scheduler=scheduler)).subscribe(
        on_error=seen.append
    )
    for way_out in ("drop_oldest", "drop_newest", "max_pending", "pull"):
        assert way_out in str(seen[0])


def test_overflow_says_the_bound():
    """The text names the number that was too small."""
    seen = []
    scheduler = TestScheduler()
    rx.of(1, 2).pipe(
        ops.throttle(1, max_pending=0, overflow="error", scheduler=scheduler)
    ).subscribe(on_error=seen.append)
    assert "max_pending=0" in str(seen[0])


# -- the end -------------------------------------------------------------------


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


# -- re-entry ------------------------------------------------------------------


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


# -- schedulers and sharing ----------------------------------------------------


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


# -- measurements and state ----------------------------------------------------


def test_events():
    """How long each item waited, in seconds, and nothing of the item itself."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*items(210, 211, 213))
    events = []
    scheduler.start(lambda: xs.pipe(ops.throttle(1, per=10, monitor=events.append)))
    assert events == [
        MetricEvent("rxpool.throttle.wait", 0.0, "s", 210.0, {}),
        MetricEvent("rxpool.throttle.wait", 9.0, "s", 220.0, {}),
        MetricEvent("rxpool.throttle.wait", 17.0, "s", 230.0, {}),
    ]


@pytest.mark.parametrize("overflow", ["drop_oldest", "drop_newest"])
def test_every_dropped_item_is_an_event_at_once(overflow):
    """A storm of dropped items does not pile up until something comes out."""
    scheduler = TestScheduler()
    xs = scheduler.create_hot_observable(*items(210, 211, 212, 213))
    events = []
    scheduler.start(
        lambda: xs.pipe(
            ops.throttle(1, per=10, max_pending=1, overflow=overflow, monitor=events.append)
        )
    )
    dropped = [e for e in events if e.name == "rxpool.dropped"]
    assert dropped == [
        MetricEvent("rxpool.dropped", 1, "{item}", at, {"policy": overflow})
        for at in (212.0, 213.0)
    ]


def test_a_full_idle_bucket_is_forgotten():
    """Keys that rest cost no memory, and come back with a full bucket."""
    state = ThrottleState(1.0, burst=2)
    for i in range(1000):
        state.offer(i, i / 1000, (i, 1.0))
        state.ready.clear()
    assert state.keys == 1000
    state.offer("x", 100.0, ("x", 1.0))
    assert state.keys == 1
    state.ready.clear()
    for i in range(3):
        state.offer(i, 100.5, (0, 1.0))
    assert (list(state.ready), state.held) == ([0, 1], 3)


def test_the_cap_holds_again_after_an_item_waited_outside():
    """With ``max_pending=0``: an item that waited outside and passed leaves no claim behind."""
    state = ThrottleState(1.0, burst=1, max_pending=0)
    assert [state.offer(i, 0.0, None) for i in range(2)] == [1, FULL]
    assert state.offer(1, 1.0, None) == 1
    assert state.offer(2, 100.0, (None, 5.0)) == FULL
    assert state.retry_at((None, 5.0)) == 104.0


def test_the_cap_holds_again_after_an_item_waited_for_room():
    """An item that waited outside, and then inside, leaves no claim behind either."""
    state = ThrottleState(1.0, burst=1, max_pending=1)
    for _ in range(2):
        state.offer("a", 0.0, ("a", 1.0))  # one passes, one waits
    assert [state.offer("b", 0.0, ("b", 2.0)) for _ in range(2)] == [FULL, FULL]
    state.expire(1.0)
    state.offer("b", 1.0, ("b", 3.0))
    assert state.due == 2.0
    state.expire(2.0)
    state.offer("b", 100.0, ("b", 5.0))
    assert state.due == 104.0


def test_a_producer_waits_for_the_subscriber_when_that_is_what_holds_it_up():
    """While too many admitted items wait to be fetched, no time is named to try again."""
    state = ThrottleState(1e6, burst=1e6, max_pending=0)
    taken = 0
    while state.offer(taken, 1.0, None) != FULL:
        taken += 1
    assert taken == len(state.ready) < 100
    assert state.retry_at(None) is None


def test_a_bucket_that_is_not_full_is_remembered():
    """Forgetting gives nobody tokens."""
    state = ThrottleState(1.0, burst=2, overflow="drop_newest", max_pending=0)
    for i in range(20):
        state.offer(i, i / 10, ("a", 1.0))
        state.offer(i, i / 10, ("b", 1.0))
    assert len(state.ready) == 2 * (2 + 1)


def test_a_bucket_that_cools_down_is_remembered():
    """A full bucket that may not be used yet is not as good as new."""
    state = ThrottleState(10.0, cooldown=5.0, overflow="drop_newest", max_pending=0)
    for i in range(50):
        state.offer(i, i / 10, ("a", 1.0))
    assert list(state.ready) == [0]


def deliver(state, now):
    """The subscriber is given what is ready."""
    while state.ready:
        state.ready.popleft()
        if state.delivered is not None:
            state.delivered(now)


@pytest.mark.parametrize("strict", [False, True])
def test_a_key_that_items_wait_for_is_remembered(strict):
    """A key is forgotten neither while items of it wait nor too late after."""
    state = ThrottleState(1.0, strict=strict)
    for i in range(5):
        state.offer(i, 0.0, ("a", 1.0))
    deliver(state, 0.0)
    for now in range(1, 5):
        state.offer(now, float(now), ("b", 0.0))
        deliver(state, float(now))
        assert state.keys == 2
        state.expire(float(now))
        deliver(state, float(now))
    state.offer("x", 5.1, ("b", 0.0))
    state.offer("x", 5.2, ("b", 0.0))
    assert state.keys == 1


def test_dropped_items_leave_nothing_behind():
    """Memory is bounded also when items of many keys are dropped over and over."""
    state = ThrottleState(1.0, per=1000, burst=0, max_pending=2, overflow="drop_oldest")
    for i in range(10_000):
        state.offer(i, i / 1000, ("a", 2.0))
        state.offer(i, i / 1000, ("b", 1.0))
    assert len(state._heap) < 200
    assert state.held == 2


def test_items_of_no_cost_do_not_fill_the_strict_log():
    """What does not count is not remembered."""
    state = ThrottleState(1.0, strict=True)
    for i in range(1000):
        state.offer(i, i / 1000, (None, 0.0))
    meter = state._queues[None].meter
    assert len(meter.log) == 0


def test_a_cooldown_counts_from_the_real_admission():
    """A timer that is late shortens no cooldown, although it costs no tokens."""
    state = ThrottleState(1.0, cooldown=5.0)
    for i in range(3):
        state.offer(i, 0.0, None)
    state.expire(5.04)  # due at 5.0
    assert list(state.ready) == [0, 1]
    assert state.due == pytest.approx(10.04)


def test_lateness_of_a_timer_is_not_added_up():
    """Timers that are always late a little cost no rate."""
    state, now = ThrottleState(100.0), 0.0
    for i in range(1000):
        state.offer(i, 0.0, None)
    while state.due is not None:
        now = state.due + 0.009
        state.expire(now)
    assert now == pytest.approx(999 * 0.01 + 0.009)


# -- refusals ------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rate": 0}, "rate.*0"),
        ({"rate": -1}, "rate.*-1"),
        ({"rate": math.nan}, "rate.*nan"),
        ({"rate": math.inf}, "rate.*inf"),
        ({"rate": "5"}, "rate.*'5'"),
        ({"rate": True}, "rate.*True"),
        ({"per": 0}, "per.*0"),
        ({"per": -2}, "per.*-2"),
        ({"per": math.nan}, "per.*nan"),
        ({"per": timedelta(seconds=-3)}, "per.*-3"),
        ({"per": None}, "per.*None"),
        ({"burst": -1}, "burst.*-1"),
        ({"burst": math.nan}, "burst.*nan"),
        ({"burst": "all"}, "burst.*'all'"),
        ({"cooldown": -1}, "cooldown.*-1"),
        ({"cooldown": math.nan}, "cooldown.*nan"),
        ({"cooldown": "no"}, "cooldown.*'no'"),
        ({"cost": 3}, "cost.*3"),
        ({"key": "k"}, "key.*'k'"),
        ({"strict": 1}, "strict.*1"),
        ({"strict": None}, "strict.*None"),
        ({"strict": True, "rate": 0.5}, r"rate=0\.5.*per"),
        ({"max_pending": -1}, "max_pending.*-1"),
        ({"max_pending": 1.0}, r"max_pending.*1\.0"),
        ({"max_pending": None}, "max_pending.*None"),
        ({"overflow": "burn"}, "overflow.*block.*drop_oldest.*drop_newest.*error.*'burn'"),
        ({"overflow": None}, "overflow.*None"),
        ({"monitor": 7}, "monitor.*7"),
        ({"scheduler": 7}, "scheduler.*7"),
    ],
)
def test_bad_arguments_are_refused_at_once(options, said):
    """The mistake is reported where it is written, with the value."""
    with pytest.raises(InvalidArgument, match=said):
        ops.throttle(**{"rate": 1, **options})


def test_options_are_keywords():
    """Only the rate has a position."""
    with pytest.raises(TypeError):
        ops.throttle(1, 1)
