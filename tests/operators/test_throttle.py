"""``throttle`` in virtual time: which items come out, when, and what becomes of the rest."""

import math
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from rxpool import operators as ops
from rxpool.errors import InvalidArgument, Overflow, WouldBlock
from tests.operators.sources import BOOM, items, on_completed, on_error, on_next, subscribe


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
