"""What functions of a pool may be and give, in virtual time."""

import asyncio

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.testing import ReactiveTest, TestScheduler

from rxpool import Success, WorkerPool
from tests.pool.marbles import Oops, counts, row, shown
from tests.pool.virtual import run


def plain(item):
    """A function."""
    return item.upper()


async def coroutine(item):
    """An async function that gives way once."""
    await asyncio.sleep(0)
    return item.upper()


def nothing(_):
    """None is a result."""


async def nothing_later(_):
    """None is a result of an async function too."""


def failing(item):
    """A function that fails."""
    raise Oops(item)


async def failing_later(item):
    """An async function that fails."""
    raise Oops(item)


@pytest.mark.parametrize(
    ("fn", "expected"),
    [
        (plain, "A@210 B@211 |@215"),
        (coroutine, "A@210 B@211 |@215"),
        (rx.of, "a@210 b@211 |@215"),
        (nothing, "None@210 None@211 |@215"),
        (nothing_later, "None@210 None@211 |@215"),
        (lambda item: rx.of(None), "None@210 None@211 |@215"),
        (lambda item: rx.empty(), "|@215"),
        (lambda item: rx.of(item, item.upper()), "a@210 A@210 b@211 B@211 |@215"),
        (lambda item: [item], "['a']@210 ['b']@211 |@215"),
        (failing, "#Oops@210"),
        (failing_later, "#Oops@210"),
        (lambda item: rx.throw(Oops(item)), "#Oops@210"),
    ],
)
@pytest.mark.parametrize("order", ["completion", "input"])
def test_kinds_of_functions(fn, expected, order):
    """A function may be plain, async, or return an Observable whose items are the results."""
    assert shown(run("a@210 b@211 |@215", fn=fn, order=order)[0]) == expected


def thrice(item):
    """Three results: after 5, 15 and 25 ticks."""
    return rx.timer(5.0, 10.0).pipe(ro.take(3), ro.map(lambda n: f"{item}{n}"))


@pytest.mark.parametrize(
    ("order", "expected"),
    [
        ("completion", "a0@215 b0@216 a1@225 b1@226 a2@235 b2@236 c0@240 c1@250 c2@260 |@260"),
        ("input", "a0@215 a1@225 a2@235 b0@235 b1@235 b2@236 c0@240 c1@250 c2@260 |@260"),
    ],
)
def test_items_of_an_observable_come_as_they_come(order, expected):
    """Several results of an item come at once; in input order they wait for their turn."""
    source = "a@210 b@211 c@212 |@213"
    assert shown(run(source, workers=2, fn=thrice, order=order)[0]) == expected


@pytest.mark.parametrize("order", ["completion", "input"])
def test_the_items_of_an_observable_are_one_outcome(order):
    """In `outcomes` the results of an Observable are one `Success` with their list."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a@210 b@211 |@213"))
    results = scheduler.start(lambda: xs.pipe(pool.outcomes(thrice, order=order)))
    assert results.messages == [
        ReactiveTest.on_next(235.0, Success("a", ["a0", "a1", "a2"], 1, 0, 25)),
        ReactiveTest.on_next(236.0, Success("b", ["b0", "b1", "b2"], 1, 0, 25)),
        ReactiveTest.on_completed(236.0),
    ]


@pytest.mark.parametrize("order", ["completion", "input"])
def test_an_observable_that_fails_after_results(order):
    """Results before the error stand, the error is the item's failure."""

    def fn(item):
        return rx.concat(rx.of(1, 2), rx.throw(Oops(item)))

    assert shown(run("a@210 |@213", fn=fn, order=order)[0]) == "1@210 2@210 #Oops@210"
    messages, _, pool = run("a@210 b@211 |@213", fn=fn, order=order, on_failure="skip")
    assert shown(messages) == "1@210 2@210 1@211 2@211 |@213"
    assert counts(pool) == {"accepted": 2, "failed": 2}
