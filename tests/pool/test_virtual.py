"""The pool in virtual time: in which order results come, and how many are inside."""

import pytest
from reactivex.testing import TestScheduler

from rxpool import Overflow, WorkerPool, WouldBlock
from tests.pool.marbles import BOOM, conserved, counts, row, shown, windows, work
from tests.pool.virtual import outcome, run

FOUR = "a30@210 b10@210 c20@210 d10@210 |@215"
HEAD = "a50@210 b10@210 c10@210 d10@210 e10@210 |@215"

# workers, options, source, result, the tick at which the source is let go
MARBLES = {
    "completion order: each result when it is there": (
        2, {}, FOUR, "b@220 a@240 c@240 d@250 |@250", 215,
    ),
    "input order: results wait for those before them": (
        2, {"order": "input"}, FOUR, "a@240 b@240 c@240 d@250 |@250", 215,
    ),
    "input order goes on past a slow head": (
        2, {"order": "input"}, HEAD, "a@260 b@260 c@260 d@260 e@260 |@260", 215,
    ),
    "max_reorder bounds what is started and not emitted": (
        2, {"order": "input", "max_reorder": 3}, HEAD,
        "a@260 b@260 c@260 d@270 e@270 |@270", 215,
    ),
    "max_reorder=1 is one after the other": (
        2, {"order": "input", "max_reorder": 1}, FOUR, "a@240 b@250 c@270 d@280 |@280", 215,
    ),
    "by default max_reorder is 8 times the concurrency": (
        2, {"order": "input", "concurrency": 2},
        "a90@210 b1@210 c1@210 d1@210 e1@210 f1@210 g1@210 h1@210 i1@210 j1@210 k1@210 "
        "l1@210 m1@210 n1@210 o1@210 p1@210 q2@210 r1@210 |@215",
        "a@300 b@300 c@300 d@300 e@300 f@300 g@300 h@300 i@300 j@300 k@300 "
        "l@300 m@300 n@300 o@300 p@300 q@302 r@302 |@302",
        215,
    ),
    "concurrency below the number of workers": (
        4, {"concurrency": 2}, FOUR, "b@220 a@240 c@240 d@250 |@250", 215,
    ),
    "concurrency=1": (4, {"concurrency": 1}, FOUR, "a@240 b@250 c@270 d@280 |@280", 215),
    "concurrency above the number of workers": (
        2, {"concurrency": 9}, FOUR, "b@220 a@240 c@240 d@250 |@250", 215,
    ),
    "as many workers as items": (9, {}, FOUR, "b@220 d@220 c@230 a@240 |@240", 215),
    "an empty source": (1, {}, "|@215", "|@215", 215),
    "a source that fails: first the results of what came before": (
        1, {}, "a10@210 b10@211 c10@212 #@213", "a@220 b@230 c@240 #RuntimeError@240", 213,
    ),
    "a source that fails, in input order": (
        2, {"order": "input"}, "a20@210 b10@211 c10@212 #@213",
        "a@230 b@230 c@231 #RuntimeError@231", 213,
    ),
    "a source that fails with nothing inside": (1, {}, "#@213", "#RuntimeError@213", 213),
    "max_pending waiting items fit": (
        1, {"max_pending": 2}, "a10@210 b10@211 c10@212 |@215", "a@220 b@230 c@240 |@240", 215,
    ),
    "one more would block: what was accepted comes out first": (
        1, {"max_pending": 2}, "a10@210 b10@211 c10@212 d10@213 e10@290 |@300",
        "a@220 b@230 c@240 #WouldBlock@240", 213,
    ),
    "one more would block, in input order": (
        2, {"max_pending": 1, "order": "input"}, "a20@210 b10@211 c10@212 d10@213 |@300",
        "a@230 b@230 c@231 #WouldBlock@231", 213,
    ),
    "what waits is bounded in input order while the head is slow": (
        1, {"max_pending": 1, "order": "input"}, "a30@210 b10@211 c10@241 |@250",
        "a@240 b@250 c@260 |@260", 250,
    ),
    "max_pending=0 takes an item when a worker is free": (
        1, {"max_pending": 0}, "a10@210 b10@221 |@230", "a@220 b@231 |@231", 230,
    ),
    "max_pending=0: the result of the very tick comes after the item": (
        1, {"max_pending": 0}, "a10@210 b10@220 |@230", "a@220 #WouldBlock@220", 220,
    ),
    "max_pending=0, two workers": (
        2, {"max_pending": 0}, "a20@210 b20@211 c20@212 |@230",
        "a@230 b@231 #WouldBlock@231", 212,
    ),
    "max_pending=0, in input order": (
        2, {"max_pending": 0, "order": "input"}, "a20@210 b10@211 c10@222 |@250",
        "a@230 b@230 c@232 |@250", 250,
    ),
    "drop_oldest: what waited longest goes": (
        1, {"max_pending": 1, "overflow": "drop_oldest"},
        "a30@210 b10@211 c10@212 d10@213 |@215",
        "a@240 d@250 |@250", 215,
    ),
    "drop_oldest with nothing that waits: the arriving one goes": (
        1, {"max_pending": 0, "overflow": "drop_oldest"}, "a30@210 b10@211 c10@241 |@245",
        "a@240 c@251 |@251", 245,
    ),
    "drop_newest: the arriving one goes": (
        1, {"max_pending": 1, "overflow": "drop_newest"},
        "a30@210 b10@211 c10@212 d10@213 |@215",
        "a@240 b@250 |@250", 215,
    ),
    "drop_newest with max_pending=0 polices": (
        1, {"max_pending": 0, "overflow": "drop_newest"}, "a30@210 b10@211 c10@241 |@245",
        "a@240 c@251 |@251", 245,
    ),
    "drop_oldest in input order": (
        2, {"max_pending": 1, "overflow": "drop_oldest", "order": "input"},
        "a30@210 b10@210 c10@211 d10@212 |@215", "a@240 b@240 d@240 |@240", 215,
    ),
    "error: what was accepted comes out, then Overflow": (
        1, {"max_pending": 1, "overflow": "error"}, "a30@210 b10@211 c10@212 d10@213 |@215",
        "a@240 b@250 #Overflow@250", 212,
    ),
    "error in input order": (
        2, {"max_pending": 0, "overflow": "error", "order": "input"},
        "a30@210 b10@211 c10@212 |@215", "a@240 b@240 #Overflow@240", 212,
    ),
    "raise in completion order: the error at once, the source let go": (
        2, {}, "a30@210 b10!@210 c10@211 d10@300 |@400", "#Oops@220", 220,
    ),
    "raise in completion order: results that came before it": (
        2, {}, "a5@210 b10!@210 c10@211 |@400", "a@215 #Oops@220", 220,
    ),
    "raise in input order: the error when its turn comes": (
        2, {"order": "input"}, "a30@210 b10!@210 c10@211 d90@212 |@400", "a@240 #Oops@240", 240,
    ),
    "the first of two failures is the one raised, in completion order": (
        2, {}, "a30!@210 b10!@210 |@215", "#Oops@220", 215,
    ),
    "skip": (
        2, {"on_failure": "skip"}, "a30@210 b10!@210 c10@211 |@215", "c@230 a@240 |@240", 215,
    ),
    "skip in input order": (
        2, {"on_failure": "skip", "order": "input"}, "a30@210 b10!@210 c10@211 |@215",
        "a@240 c@240 |@240", 215,
    ),
    "skip when all fail": (2, {"on_failure": "skip"}, "a30!@210 |@215", "|@240", 215),
}  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "options", "source", "expected", "let_go"), MARBLES.values(), ids=MARBLES
)
def test_marbles(workers, options, source, expected, let_go):
    """Values and ticks are exact, the source is let go, the books balance at every tick."""
    messages, xs, pool = run(source, workers=workers, **options)
    assert shown(messages) == expected
    assert windows(xs) == [(200, let_go)]
    assert conserved(pool).in_flight == 0
    assert pool.report().flows == ()


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, {"accepted": 3, "failed": 1, "cancelled": 2}),
        ({"order": "input"}, {"accepted": 4, "succeeded": 2, "failed": 1, "cancelled": 1}),
        ({"on_failure": "skip"}, {"accepted": 4, "succeeded": 3, "failed": 1}),
    ],
)
def test_failures_are_counted(options, expected):
    """A failed item counts as failed; what its error cuts off, as cancelled."""
    source = "a30@210 b10!@210 c10@211 d90@225 |@400"
    _, _, pool = run(source, workers=2, **options)
    assert counts(pool) == expected


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        ("drop_oldest", {"accepted": 4, "succeeded": 2, "dropped": 2}),
        ("drop_newest", {"accepted": 4, "succeeded": 2, "dropped": 2}),
        ("error", {"accepted": 2, "succeeded": 2}),
        ("block", {"accepted": 2, "succeeded": 2}),
    ],
)
def test_what_does_not_fit_is_counted(overflow, expected):
    """A dropped item was accepted and is dropped; one that ends the stream was not accepted."""
    source = "a30@210 b10@211 c10@212 d10@213 |@215"
    _, _, pool = run(source, max_pending=1, overflow=overflow)
    assert counts(pool) == expected


def test_max_pending_of_the_pool_holds_unless_the_flow_has_its_own():
    """The pool's `max_pending` is the default of its flows."""
    source = "a10@210 b10@211 c10@212 |@215"
    assert shown(run(source, pending=1)[0]) == "a@220 b@230 #WouldBlock@230"
    assert shown(run(source, pending=1, max_pending=2)[0]) == "a@220 b@230 c@240 |@240"
    assert shown(run(source, pending=2, max_pending=1)[0]) == "a@220 b@230 #WouldBlock@230"


def test_would_block_names_what_to_do_instead():
    """The text of `WouldBlock` names the flow, the bound and the ways out."""
    messages, _, pool = run("a10@210 b10@211 |@215", max_pending=0)
    text = str(messages[-1].value.exception)
    assert isinstance(messages[-1].value.exception, WouldBlock)
    for part in (pool.name, "max_pending", "pool.pull", "'drop_oldest'", "'drop_newest'"):
        assert part in text


def test_overflow_names_the_bound():
    """The text of `Overflow` names the number."""
    messages, _, _ = run("a10@210 b10@211 c10@212 |@215", max_pending=1, overflow="error")
    error = messages[-1].value.exception
    assert isinstance(error, Overflow)
    assert "max_pending=1" in str(error)


def test_the_error_of_the_source_is_the_very_object():
    """An error passes through as it is."""
    messages, _, _ = run("a10@210 #@211")
    assert messages[-1].value.exception is BOOM


def test_an_observer_is_given_failures():
    """`on_failure=observer` gives the failures to it as `Failure`, values go on."""
    scheduler = TestScheduler()
    letters = scheduler.create_observer()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a30@210 b10!@212 c10@213 |@215"))
    results = scheduler.start(lambda: xs.pipe(pool.map(work, on_failure=letters)))
    assert shown(results.messages) == "c@232 a@240 |@240"
    assert shown(letters.messages, outcome) == "-b10!:Oops@222"
    failure = letters.messages[0].value.value
    assert (failure.attempts, failure.waited, failure.took) == (1, 0, 10)


def test_an_observer_is_given_dropped_items_too():
    """What the overflow policy drops is a failure like any other."""
    scheduler = TestScheduler()
    letters = scheduler.create_observer()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a30@210 b10@211 c10@214 |@215"))
    results = scheduler.start(
        lambda: xs.pipe(
            pool.map(work, on_failure=letters, max_pending=1, overflow="drop_oldest")
        )
    )
    assert shown(results.messages) == "a@240 c@250 |@250"
    assert shown(letters.messages, outcome) == "-b10:ItemDropped@214"
    failure = letters.messages[0].value.value
    assert (failure.attempts, failure.waited, failure.took) == (0, 3, 0)


def test_an_observer_in_input_order_is_given_failures_in_turn():
    """In input order failures wait for their turn as results do."""
    scheduler = TestScheduler()
    letters = scheduler.create_observer()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a30@210 b10!@212 c10@213 |@215"))
    results = scheduler.start(
        lambda: xs.pipe(pool.map(work, on_failure=letters, order="input"))
    )
    assert shown(results.messages) == "a@240 c@240 |@240"
    assert shown(letters.messages, outcome) == "-b10!:Oops@240"
