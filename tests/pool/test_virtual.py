"""The pool in virtual time: what comes out, when, and what is let go.

An item is a letter and a duration: the work of ``"a30"`` lasts 30 ticks and gives ``"a"``,
that of ``"a30!"`` fails then, with `Oops`.  Sources and results are written as
``"a30@210 |@220"``: ``|`` is the completion, ``#`` an error with the name of its type.
"""

import asyncio
from collections import Counter

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

from rxpool import Failure, Overflow, Success, TaskCancelled, WorkerPool, WouldBlock
from rxpool import operators as ops
from rxpool.errors import ItemDropped, PoolClosed
from tests.pool.marbles import BOOM, Oops, row, shown


def work(item):
    """Last as long as the item says, then give its letter or fail."""

    def end(_):
        if item.endswith("!"):
            raise Oops(item)
        return item[0]

    return rx.timer(float(item[1:].rstrip("!"))).pipe(ro.map(end))


def outcome(record):
    """``a`` for a success with "a", ``-a30:Oops`` for a failed "a30"."""
    match record:
        case Success(value=value):
            return "".join(value)
        case Failure(item=item, error=error):
            return f"-{item}:{type(error).__name__}"


def windows(source):
    """When a test source was subscribed and let go."""
    return [(s.subscribe, s.unsubscribe) for s in source.subscriptions]


def counts(pool):
    """The terms of the report that are not 0."""
    report = pool.report()
    names = ("accepted", "succeeded", "failed", "dropped", "cancelled", "in_flight", "waiting")
    return {name: value for name in names if (value := getattr(report, name))}


def conserved(pool):
    """The pool's books, after checking that they balance: in sum and in each flow."""
    report = pool.report()
    for part in (report, *report.flows):
        known = part.succeeded + part.failed + part.dropped + part.cancelled + part.in_flight
        assert part.accepted == known
        assert 0 <= part.waiting <= part.in_flight
    return report


def run(source, *, workers=1, disposed=1000, fn=work, pending=1024, wrap=None, **options):
    """Run `map` on a hot source: its results, the source and the pool."""
    scheduler = TestScheduler()
    pool = WorkerPool(workers, on=scheduler, max_pending=pending)
    xs = scheduler.create_hot_observable(*row(source))
    for tick in range(201, 600):
        scheduler.schedule_absolute(float(tick), lambda *_: conserved(pool) and None)
    through = wrap or (lambda stream: stream)
    results = scheduler.start(
        lambda: through(xs.pipe(pool.map(fn, **options))), disposed=disposed
    )
    return results.messages, xs, pool


# -- order, concurrency and bounds -------------------------------------------------------

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


# -- outcomes ----------------------------------------------------------------------------

OUTCOMES = {
    "successes and failures, in completion order": (
        2, {}, "a30@210 b10!@210 c20@211 |@215",
        "-b10!:Oops@220 a@240 c@240 |@240",
    ),
    "in input order": (
        2, {"order": "input"}, "a30@210 b10!@210 c20@211 |@215",
        "a@240 -b10!:Oops@240 c@240 |@240",
    ),
    "a dropped item as it happens": (
        1, {"max_pending": 1, "overflow": "drop_oldest"}, "a30@210 b10@211 c10@212 |@215",
        "-b10:ItemDropped@212 a@240 c@250 |@250",
    ),
    "a dropped item as it happens, in input order": (
        1, {"max_pending": 1, "overflow": "drop_newest", "order": "input"},
        "a30@210 b10@211 c10@212 |@215",
        "-c10:ItemDropped@212 a@240 b@250 |@250",
    ),
    "before an Overflow": (
        1, {"max_pending": 1, "overflow": "error"}, "a30!@210 b10@211 c10@212 |@215",
        "-a30!:Oops@240 b@250 #Overflow@250",
    ),
    "before the error of the source": (
        1, {}, "a30!@210 b10@211 #@215", "-a30!:Oops@240 b@250 #RuntimeError@250",
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "options", "source", "expected"), OUTCOMES.values(), ids=OUTCOMES
)
def test_outcomes(workers, options, source, expected):
    """Every accepted item has exactly one outcome."""
    scheduler = TestScheduler()
    pool = WorkerPool(workers, on=scheduler)
    xs = scheduler.create_hot_observable(*row(source))
    results = scheduler.start(lambda: xs.pipe(pool.outcomes(work, **options)))
    assert shown(results.messages, outcome) == expected
    assert conserved(pool).in_flight == 0


def test_an_outcome_knows_its_times():
    """`waited` is from acceptance to the start, `took` from there to the end."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a30@210 b10!@215 |@220"))
    results = scheduler.start(lambda: xs.pipe(pool.outcomes(work)))
    first, second = (m.value.value for m in results.messages[:2])
    assert first == Success("a30", ["a"], 1, 0, 30)
    assert isinstance(second.error, Oops)
    assert (second.item, second.attempts, second.waited, second.took) == ("b10!", 1, 25, 10)


# -- what a function may be and give -----------------------------------------------------


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


# -- the subscriber leaves ---------------------------------------------------------------


@pytest.mark.parametrize("order", ["completion", "input"])
def test_take_lets_everything_go(order):
    """After `take(1)` the source is let go, running work is disposed, the rest cancelled."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    jobs = {
        name: scheduler.create_cold_observable(*row(text))
        for name, text in [("a", "a@10 |@10"), ("b", "b@30 |@30"), ("c", "c@5 |@5")]
    }
    xs = scheduler.create_hot_observable(*row("a@210 b@211 c@212 |@300"))
    results = scheduler.start(
        lambda: xs.pipe(pool.map(jobs.__getitem__, order=order), ro.take(1))
    )
    assert shown(results.messages) == "a@220 |@220"
    assert windows(xs) == [(200, 220)]
    # The result at 220 is delivered before its work has completed.
    assert [windows(job) for job in jobs.values()] == [[(210, 220)], [(211, 220)], []]
    assert counts(pool) == {"accepted": 3, "cancelled": 3}


def test_dispose_cancels_what_waits_and_runs():
    """Disposing lets the source go; what was accepted counts as cancelled, at once."""
    messages, xs, pool = run("a5@210 b30@210 c10@211 |@300", disposed=225)
    assert shown(messages) == "a@215"
    assert windows(xs) == [(200, 225)]
    assert counts(pool) == {"accepted": 3, "succeeded": 1, "cancelled": 2}


def test_disposed_work_frees_its_slot():
    """A flow that is disposed leaves the worker to the others."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    hog = rx.of("a900").pipe(pool.map(work)).subscribe()
    scheduler.schedule_absolute(230.0, lambda *_: hog.dispose())
    results = scheduler.start(lambda: rx.of("b10").pipe(pool.map(work)))
    assert shown(results.messages) == "b@240 |@240"


def test_a_subscriber_may_leave_while_it_is_given_a_value():
    """Nothing comes after the value during which the subscriber left."""
    scheduler = TestScheduler()
    pool = WorkerPool(3, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a@210 b@210 c@210 |@300"))
    got = []

    def take_two(value):
        got.append(value)
        if len(got) == 2:
            subscription.dispose()

    subscription = xs.pipe(pool.map(str.upper)).subscribe(take_two)
    scheduler.start()
    assert got == ["A", "B"]
    assert windows(xs) == [(0, 210)]
    assert counts(pool) == {"accepted": 3, "succeeded": 2, "cancelled": 1}


# -- demand ------------------------------------------------------------------------------


def counting(items, read, clock):
    """Give *items*, noting at which tick each was read."""
    for item in items:
        read[clock()] += 1
        yield item


@pytest.mark.parametrize(
    ("workers", "options", "expected"),
    [
        (2, {"max_pending": 3}, "5 2 2 2 1"),
        (2, {"max_pending": 0}, "2 2 2 2 2 2"),
        (4, {"max_pending": 1, "concurrency": 1}, "2 1 1 1 1 1 1 1 1 1 1"),
        (2, {"max_pending": 1, "order": "input"}, "3 2 2 2 2 1"),
        (2, {}, "12"),
    ],
)
def test_pull_reads_no_further_than_the_bounds(workers, options, expected):
    """`pull` reads what runs and what may wait, and one more for each that ends."""
    scheduler = TestScheduler()
    read = Counter()
    pool = WorkerPool(workers, on=scheduler)
    items = counting(["a10"] * 12, read, lambda: scheduler.clock)
    results = scheduler.start(lambda: pool.pull(items).pipe(pool.map(work, **options)))
    assert len(results.messages) == 13
    assert results.messages[-1].value.kind == "C"
    assert read == {200 + 10 * n: int(count) for n, count in enumerate(expected.split())}


def test_pull_reads_ahead_no_further_past_a_slow_head():
    """In input order a slow head stops the reading at `max_reorder` plus `max_pending`."""
    scheduler = TestScheduler()
    read = Counter()
    pool = WorkerPool(2, on=scheduler)
    items = counting(["a200"] + ["b10"] * 30, read, lambda: scheduler.clock)
    options = {"order": "input", "max_reorder": 5, "max_pending": 2}
    results = scheduler.start(lambda: pool.pull(items).pipe(pool.map(work, **options)))
    assert sum(n for tick, n in read.items() if tick < 400) == 5 + 2
    assert "".join(m.value.value for m in results.messages[:-1]) == "a" + "b" * 30


def test_pull_through_operators_in_between():
    """The demand is known through operators between `pull` and `map`."""
    scheduler = TestScheduler()
    read = Counter()
    pool = WorkerPool(1, on=scheduler)
    items = counting(["a10"] * 6, read, lambda: scheduler.clock)
    results = scheduler.start(
        lambda: pool.pull(items).pipe(
            ro.map(str), ro.filter(bool), pool.map(work, max_pending=1)
        )
    )
    assert shown(results.messages[-2:]) == "a@260 |@260"
    assert read == {200: 2, 210: 1, 220: 1, 230: 1, 240: 1}


def test_pull_stops_when_its_subscriber_leaves():
    """Nothing is read after the subscriber left."""
    scheduler = TestScheduler()
    read = Counter()
    pool = WorkerPool(1, on=scheduler)
    items = counting(["a10"] * 50, read, lambda: scheduler.clock)
    scheduler.start(lambda: pool.pull(items).pipe(pool.map(work, max_pending=1)), disposed=235)
    assert sum(read.values()) == 2 + 3
    assert counts(pool) == {"accepted": 5, "succeeded": 3, "cancelled": 2}


def test_pull_of_an_async_iterable():
    """An async iterable is read on demand too."""
    scheduler = TestScheduler()
    read = Counter()

    async def items():
        for _ in range(4):
            read[scheduler.clock] += 1
            yield "a10"

    pool = WorkerPool(1, on=scheduler)
    results = scheduler.start(lambda: pool.pull(items()).pipe(pool.map(work, max_pending=0)))
    assert shown(results.messages) == "a@210 a@220 a@230 a@240 |@240"
    assert read == {200: 1, 210: 1, 220: 1, 230: 1}


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("pending", [0, 1, 3])
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_chain_of_maps_on_one_pool_finishes(workers, pending, order):
    """Three maps on one pool finish however small its bounds, and no worker ever idles."""
    scheduler = TestScheduler()
    pool = WorkerPool(workers, on=scheduler, max_pending=pending)
    busy = [0, 0]

    def step(number):
        def end(_):
            busy[0] -= 1
            return number + 1

        busy[0] += 1
        busy[1] = max(busy)
        return rx.timer(10.0).pipe(ro.map(end))

    through = pool.map(step, order=order)
    source = range(0, 200, 10)
    results = scheduler.start(
        lambda: pool.pull(source).pipe(through, through, through), disposed=2000
    )
    assert sorted(m.value.value for m in results.messages[:-1]) == [n + 3 for n in source]
    assert results.messages[-1].value.kind == "C"
    assert busy == [0, workers]
    if workers == 1:
        assert results.messages[-1].time == 200 + 10 * 3 * len(source)
    assert counts(pool) == {"accepted": 60, "succeeded": 60}


def test_a_flow_inside_a_task():
    """A task may run a flow of its own pool, on the only worker there is."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler, max_pending=1)

    def outer(item):
        return pool.pull([f"{item}10", f"{item}20"]).pipe(pool.map(work))

    results = scheduler.start(lambda: rx.of("a", "b").pipe(pool.map(outer)))
    assert Counter(m.value.value for m in results.messages[:-1]) == {"a": 2, "b": 2}
    assert results.messages[-1].value.kind == "C"
    assert counts(pool) == {"accepted": 6, "succeeded": 6}


def test_flows_take_turns():
    """Two flows share the workers in turn, however much one of them has waiting."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    many = rx.of(*["a10"] * 6).pipe(pool.map(work))
    few = rx.of(*["b10"] * 3).pipe(pool.map(work))
    results = scheduler.start(lambda: rx.merge(many, few))
    letters = "".join(m.value.value for m in results.messages[:-1])
    assert letters == "aabababaa"
    assert results.messages[-1].time == 290


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("pulled", [True, False])
def test_many_items_at_one_instant_take_no_time(order, pulled):
    """A thousand items of no duration come out at the instant at which they went in."""
    scheduler = TestScheduler()
    pool = WorkerPool(3, on=scheduler)
    source = pool.pull(range(1000)) if pulled else rx.from_iterable(range(1000))
    results = scheduler.start(lambda: source.pipe(pool.map(str, order=order)))
    assert results.messages == [
        *(ReactiveTest.on_next(200.0, str(n)) for n in range(1000)),
        ReactiveTest.on_completed(200.0),
    ]


# -- the end of the pool -----------------------------------------------------------------


def at(scheduler, tick, action):
    """Do *action* at *tick*; the list it answers gets what it gave."""
    answers = []
    scheduler.schedule_absolute(float(tick), lambda *_: answers.append(action()))
    return answers


def test_close_cuts_the_source_and_finishes_what_was_accepted():
    """`close` takes no more items; what was accepted comes out, then the completion."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a10@210 b10@211 c10@230 |@300"))
    closed = at(scheduler, 215, pool.close)
    results = scheduler.start(lambda: xs.pipe(pool.map(work)))
    assert shown(results.messages) == "a@220 b@230 |@230"
    assert windows(xs) == [(200, 215)]
    assert closed == [False]  # nobody can wait in virtual time
    assert counts(pool) == {"accepted": 2, "succeeded": 2}
    assert pool.close() is True


def test_close_of_an_idle_pool_completes_its_streams():
    """A flow with nothing inside completes at once."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    closed = at(scheduler, 215, pool.close)
    results = scheduler.start(lambda: rx.never().pipe(pool.map(work)))
    assert shown(results.messages) == "|@215"
    assert closed == [True]


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ((), "a@225 b@235 |@235"),
        ((ops.batch(10),), "ab@235 |@235"),
        ((ops.throttle(1, per=50),), "a@225 b@275 |@275"),
        ((ops.debounce(100),), "b@235 |@235"),
        ((ops.throttle(1, per=50), ops.batch(10)), "ab@275 |@275"),
    ],
)
def test_close_drains_a_chain_from_the_top(between, expected):
    """Stage after stage: tasks end, then what operators hold comes out, then the next map."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a10@210 b20@210 c10@230 |@900"))
    at(scheduler, 215, pool.close)

    def second(value):
        return rx.timer(5.0).pipe(ro.map(lambda _: "".join(value)))

    results = scheduler.start(lambda: xs.pipe(pool.map(work), *between, pool.map(second)))
    assert shown(results.messages) == expected
    assert windows(xs) == [(200, 215)]
    assert counts(pool)["accepted"] == counts(pool)["succeeded"]


def test_close_ends_a_flow_that_is_fed_by_something_else_as_well():
    """Once what is upstream has drained, a source that goes on for ever is cut."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a10@210 b30@211 |@900"))
    ys = scheduler.create_hot_observable(*row("c@216 d@900"))
    at(scheduler, 215, pool.close)
    results = scheduler.start(
        lambda: rx.merge(xs.pipe(pool.map(work)), ys).pipe(pool.map(str.upper))
    )
    assert shown(results.messages) == "C@220 A@220 B@241 |@241"
    assert windows(xs) == [(200, 215)]
    assert windows(ys) == [(200, 241)]


def test_terminate_gives_every_item_its_outcome():
    """`terminate` cancels what waits and what runs, and says so for each item."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    job = scheduler.create_cold_observable(*row("x@50 |@50"))
    xs = scheduler.create_hot_observable(*row("a@205 b@210 c@211 d@212 |@300"))
    at(scheduler, 230, pool.terminate)
    results = scheduler.start(
        lambda: xs.pipe(pool.outcomes(lambda item: work("a5") if item == "a" else job))
    )
    assert shown(results.messages, outcome) == (
        "a@210 -b:TaskCancelled@230 -c:TaskCancelled@230 -d:TaskCancelled@230 |@230"
    )
    assert windows(xs) == [(200, 230)]
    assert windows(job) == [(210, 230), (211, 230)]
    assert counts(pool) == {"accepted": 4, "succeeded": 1, "cancelled": 3}
    failures = [m.value.value for m in results.messages[1:-1]]
    assert [(f.attempts, f.waited, f.took) for f in failures] == [
        (1, 0, 20), (1, 0, 19), (0, 18, 0),
    ]  # fmt: skip
    assert all(pool.name in str(f.error) for f in failures)


def test_terminate_in_input_order():
    """Results that waited for their turn come out; the others are cancelled, in order."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a90@210 b5@210 c90@211 d5@212 |@300"))
    at(scheduler, 230, pool.terminate)
    results = scheduler.start(lambda: xs.pipe(pool.outcomes(work, order="input")))
    assert shown(results.messages, outcome) == (
        "-a90:TaskCancelled@230 b@230 -c90:TaskCancelled@230 -d5:TaskCancelled@230 |@230"
    )


def test_terminate_ends_a_map_with_the_error():
    """A cancelled item is a failed item: it ends a stream with ``on_failure="raise"``."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a90@210 b90@211 |@300"))
    at(scheduler, 230, pool.terminate)
    results = scheduler.start(lambda: xs.pipe(pool.map(work)))
    assert shown(results.messages) == "#TaskCancelled@230"
    assert isinstance(results.messages[0].value.exception, TaskCancelled)
    assert counts(pool) == {"accepted": 2, "cancelled": 2}


def test_terminate_ends_a_chain():
    """Every flow of a chain ends at once, with an error: the batch did not come to the last."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a5@210 b90@211 |@300"))
    at(scheduler, 230, pool.terminate)
    results = scheduler.start(
        lambda: xs.pipe(pool.map(work, on_failure="skip"), ops.batch(9), pool.outcomes(len))
    )
    assert shown(results.messages) == "#PoolClosed@230"
    assert counts(pool)["cancelled"] >= 1
    conserved(pool)


def test_leaving_the_block_by_an_exception_terminates():
    """An exception out of the ``with`` block cancels what was accepted."""
    scheduler = TestScheduler()
    results = scheduler.create_observer()

    def use():
        with WorkerPool(1, on=scheduler) as pool:
            rx.of("a10", "b10").pipe(pool.outcomes(work)).subscribe(results)
            scheduler.advance_to(5.0)
            raise Oops

    with pytest.raises(Oops):
        use()
    assert shown(results.messages, outcome) == ("-a10:TaskCancelled@5 -b10:TaskCancelled@5 |@5")


def test_a_closed_pool_takes_nothing():
    """A map on a closed pool fails with `PoolClosed`, its source is not even subscribed."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler, name="shut")
    pool.close()
    xs = scheduler.create_hot_observable(*row("a10@210"))
    results = scheduler.start(lambda: xs.pipe(pool.map(work)))
    assert shown(results.messages) == "#PoolClosed@200"
    assert "shut" in str(results.messages[0].value.exception)
    assert windows(xs) == []
    with pytest.raises(PoolClosed, match="shut"):
        pool.submit(print)
    with pytest.raises(PoolClosed, match="shut"):
        pool.imap(print, [])
    assert counts(pool) == {}


def test_a_pool_that_closes_takes_no_new_flow():
    """While a closing pool drains it is closed for new work."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    at(scheduler, 215, pool.close)
    xs = scheduler.create_hot_observable(*row("a30@210"))
    late = scheduler.create_observer()
    at(scheduler, 220, lambda: rx.of("b1").pipe(pool.map(work)).subscribe(late))
    results = scheduler.start(lambda: xs.pipe(pool.map(work)))
    assert shown(results.messages) == "a@240 |@240"
    assert shown(late.messages) == "#PoolClosed@220"


# -- the report --------------------------------------------------------------------------


def test_the_report_shows_every_term_at_every_tick():
    """What waits, runs and is done is in the report, of the pool and of the flow."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler, name="p")
    xs = scheduler.create_hot_observable(*row("a10@210 b10!@211 c10@212 d10@213 e50@245 |@300"))
    seen = {}
    for tick in range(205, 265, 10):
        at(scheduler, tick, lambda tick=tick: seen.update({tick: conserved(pool)}))
    options = {"max_pending": 2, "overflow": "drop_newest", "on_failure": "skip"}
    scheduler.start(lambda: xs.pipe(pool.map(work, **options)), disposed=260)

    def terms(report):
        return (
            report.accepted, report.succeeded, report.failed,
            report.dropped, report.cancelled, report.in_flight, report.waiting,
        )  # fmt: skip

    assert {tick: terms(report) for tick, report in seen.items()} == {
        205: (0, 0, 0, 0, 0, 0, 0),
        215: (4, 0, 0, 1, 0, 3, 2),
        225: (4, 1, 0, 1, 0, 2, 1),
        235: (4, 1, 1, 1, 0, 1, 0),
        245: (5, 2, 1, 1, 0, 1, 0),
        255: (5, 2, 1, 1, 0, 1, 0),
    }
    for report in seen.values():
        (flow,) = report.flows
        assert flow.name == "p.map"
        assert terms(flow) == terms(report)
    assert terms(pool.report()) == (5, 2, 1, 1, 1, 0, 0)


def test_the_report_sums_live_and_ended_flows():
    """Ended flows stay in the sums, live ones are listed one by one."""
    scheduler = TestScheduler()
    pool = WorkerPool(4, on=scheduler, name="p")
    live = Subject()
    live.pipe(pool.outcomes(work)).subscribe()
    rx.of("a10", "b10!").pipe(pool.map(work, on_failure="skip")).subscribe()
    live.on_next("c100")
    assert pool.submit(int, "7") is not None
    scheduler.advance_to(50.0)
    report = conserved(pool)
    assert (report.name, report.accepted, report.succeeded, report.failed) == ("p", 4, 2, 1)
    assert [(flow.name, flow.accepted, flow.in_flight) for flow in report.flows] == [
        ("p.outcomes", 1, 1)
    ]


def test_an_item_dropped_outcome_names_the_policy():
    """The error of a dropped item says which policy dropped it, and the bound."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a10@210 b10@211 |@215"))
    results = scheduler.start(
        lambda: xs.pipe(pool.outcomes(work, max_pending=0, overflow="drop_newest"))
    )
    error = results.messages[0].value.value.error
    assert isinstance(error, ItemDropped)
    assert "drop_newest" in str(error)
    assert "max_pending=0" in str(error)


def test_a_future_in_virtual_time():
    """`submit` runs when time passes; its future does not wait, it is looked at."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    future = pool.submit(work, "a10")
    scheduler.advance_to(5.0)
    assert not future.done()
    scheduler.advance_to(15.0)
    assert future.result(0) == ["a"]
