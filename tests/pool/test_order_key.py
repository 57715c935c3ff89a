"""``order="key"`` and ``priority``: what starts next, and what waits for what."""

import threading
from collections import Counter, defaultdict

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import Failure, InvalidArgument, TaskCancelled, WorkerPool
from tests.alarms import Alarms
from tests.pool.crew import Sink, balanced, collect, joined, passed, started
from tests.pool.marbles import Run, conserved, name_of, outcome, row, shown, work


def letter(item):
    """The key of an item: the first letter; ``x`` has none."""
    if item.startswith("x"):
        raise KeyError(item)
    return item[0]


def digits(item):
    """The priority of an item: the number in its name."""
    return int(name_of(item)[1:])


KEY = {"order": "key", "key": letter}
SKIP = {"on_failure": "skip"}
FULL = {"max_pending": 2}
PRIORITY = {"priority": digits}

# workers, options, source, result, the tick at which the source is let go, counts
MARBLES = {
    "one of a key after another, other keys meanwhile": (
        3, KEY, "a1-30@210 a2-10@211 b1-10@212 |@220",
        "b1@222 a1@240 a2@250 |@250", 220, {"succeeded": 3},
    ),
    "those of a key keep their order": (
        4, KEY, "a1-20@210 a2-5@210 a3-5@210 b1-12@210 |@220",
        "b1@222 a1@230 a2@235 a3@240 |@240", 220, {"succeeded": 4},
    ),
    "who waits for its key leaves the worker to others": (
        2, KEY, "a1-30@210 a2-10@210 b1-10@210 c1-10@210 |@220",
        "b1@220 c1@230 a1@240 a2@250 |@250", 220, {"succeeded": 4},
    ),
    "concurrency holds over all keys": (
        4, KEY | {"concurrency": 1}, "a1-10@210 b1-10@210 c1-10@210 a2-10@210 |@220",
        "a1@220 b1@230 c1@240 a2@250 |@250", 220, {"succeeded": 4},
    ),
    "the next of a key starts when the one before has failed": (
        2, KEY | SKIP, "a1-10!@210 a2-10@210 |@220", "a2@230 |@230", 220,
        {"succeeded": 1, "failed": 1},
    ),
    "the next of a key starts when the one before has timed out": (
        2, KEY | SKIP | {"timeout": 20}, "a1-90@210 a2-10@211 |@220", "a2@240 |@240", 220,
        {"succeeded": 1, "failed": 1},
    ),
    "a failure ends the stream": (
        2, KEY, "a1-10!@210 a2-10@210 b1-20@210 |@240", "#Oops@220", 220,
        {"failed": 1, "cancelled": 2},
    ),
    "a source that fails": (
        2, KEY, "a1-30@210 a2-10@211 b1-5@212 #@220",
        "b1@217 a1@240 a2@250 #RuntimeError@250", 220, {"succeeded": 3},
    ),
    "max_pending is the bound of all keys together": (
        2, KEY | FULL, "a1-30@210 a2-10@211 a3-10@212 b1-10@213 a4-10@214 |@220",
        "b1@223 a1@240 a2@250 a3@260 #WouldBlock@260", 214, {"succeeded": 4},
    ),
    "drop_oldest: what waited longest of all keys": (
        2, KEY | FULL | {"overflow": "drop_oldest"},
        "a1-30@210 a2-10@211 b1-30@212 c1-5@213 a3-10@214 |@220",
        "a1@240 b1@242 c1@245 a3@252 |@252", 220, {"succeeded": 4, "dropped": 1},
    ),
    "drop_newest: the arriving one": (
        2, KEY | FULL | {"overflow": "drop_newest"},
        "a1-30@210 b1-30@211 a2-5@212 c1-5@213 d1-10@214 |@220",
        "a1@240 b1@241 a2@245 c1@246 |@246", 220, {"succeeded": 4, "dropped": 1},
    ),
    "drop_newest, but not one of a key of its own that a worker is free for": (
        2, KEY | FULL | {"overflow": "drop_newest"},
        "a1-30@210 a2-10@211 a3-30@212 a4-5@213 b1-10@214 |@220",
        "b1@224 a1@240 a2@250 a3@280 |@280", 220, {"succeeded": 4, "dropped": 1},
    ),
    "error": (
        2, KEY | {"max_pending": 1, "overflow": "error"},
        "a1-30@210 a2-10@211 a3-30@212 |@220", "a1@240 a2@250 #Overflow@250", 212,
        {"succeeded": 2},
    ),
    "an item without a key fails, and ends the stream": (
        2, KEY, "a1-30@210 x5@212 b1-5@213 |@220", "#KeyError@212", 212,
        {"failed": 1, "cancelled": 1},
    ),
    "an item without a key is left out": (
        2, KEY | SKIP, "a1-30@210 x5@212 b1-5@213 |@220", "b1@218 a1@240 |@240", 220,
        {"succeeded": 2, "failed": 1},
    ),
    "the smaller number first, equals first come": (
        1, PRIORITY,
        "a5-10@210 b9-10@211 c1-10@212 d9-10@213 e1-10@214 f0-10@215 |@220",
        "a5@220 f0@230 c1@240 e1@250 b9@260 d9@270 |@270", 220, {"succeeded": 6},
    ),
    "below zero too": (
        1, {"priority": lambda item: -digits(item)},
        "a5-10@210 b0-10@211 c1-10@212 d9-10@213 |@220",
        "a5@220 d9@230 c1@240 b0@250 |@250", 220, {"succeeded": 4},
    ),
    "a free worker takes what comes": (
        2, PRIORITY, "a5-10@210 b9-10@211 c1-10@212 d9-10@213 |@220",
        "a5@220 b9@221 c1@230 d9@231 |@231", 220, {"succeeded": 4},
    ),
    "drop_oldest looks at the time, not at the priority": (
        1, PRIORITY | FULL | {"overflow": "drop_oldest"},
        "a5-10@210 b1-10@211 c9-10@212 d5-10@213 |@220",
        "a5@220 d5@230 c9@240 |@240", 220, {"succeeded": 3, "dropped": 1},
    ),
    "a priority that is no number": (
        1, SKIP | {"priority": lambda item: "0" if item[0] == "b" else 0},
        "a10@210 b10@211 c10@212 |@220", "a@220 c@230 |@230", 220,
        {"succeeded": 2, "failed": 1},
    ),
    "of both, the key goes first: no item overtakes one of its key": (
        1, PRIORITY | KEY, "a5-10@210 a9-10@211 b3-10@212 a0-10@213 c4-10@214 |@220",
        "a5@220 b3@230 c4@240 a9@250 a0@260 |@260", 220, {"succeeded": 5},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "options", "source", "expected", "let_go", "counts"),
    MARBLES.values(),
    ids=MARBLES,
)
def test_marbles(workers, options, source, expected, let_go, counts):
    """Values and ticks are exact, the source is let go, the books balance at every tick."""
    run = Run(source, lambda run: run.pool.map(work, **options), workers=workers)
    assert run.text == expected
    assert run.let_go == [let_go]
    assert run.counts == counts | {"accepted": sum(counts.values())}


def test_disposing_lets_all_keys_go():
    """What runs and what waits for its key is cancelled, at once."""
    source = "a1-30@210 a2-10@211 b1-5@212 |@300"
    run = Run(source, lambda run: run.pool.map(work, **KEY), workers=2, disposed=225)
    assert (run.text, run.let_go) == ("b1@217", [225])
    assert run.counts == {"accepted": 3, "succeeded": 1, "cancelled": 2}


def test_terminating_cancels_all_keys():
    """Each item has its outcome when the pool is terminated."""
    run = Run(
        "a1-30@210 a2-10@211 a3-10@211 b1-5@212 |@300",
        lambda run: run.pool.outcomes(work, **KEY),
        workers=2,
        at={225: lambda run: run.pool.terminate()},
    )
    assert shown(run.messages, outcome) == (
        "b1@217 -a1-30:TaskCancelled*1@225 -a2-10:TaskCancelled*0@225 "
        "-a3-10:TaskCancelled*0@225 |@225"
    )


def test_terminating_at_the_tick_of_an_item():
    """An item that was going to start has no attempt."""
    run = Run(
        "a1-30@210 a2-10@210 |@300",
        lambda run: run.pool.outcomes(work, **KEY),
        at={210: lambda run: run.pool.terminate()},
    )
    assert shown(run.messages, outcome) == (
        "-a1-30:TaskCancelled*0@210 -a2-10:TaskCancelled*0@210 |@210"
    )


def test_closing_finishes_what_waits_for_its_key():
    """`close` cuts the source and runs what was accepted, in the order of keys."""
    run = Run(
        "a1-30@210 a2-10@211 a3-10@260 |@300",
        lambda run: run.pool.map(work, **KEY),
        workers=2,
        at={225: lambda run: run.pool.close()},
    )
    assert (run.text, run.let_go) == ("a1@240 a2@250 |@250", [225])


@pytest.mark.parametrize("key", [letter, lambda item: [item], lambda item: {}])
def test_an_observer_is_given_items_without_a_key(key):
    """An item whose key cannot be had, or not hashed, has failed without an attempt."""
    run = Run(
        "x5@212 |@220",
        lambda run: run.pool.map(work, order="key", key=key, on_failure=run.letters),
    )
    error = "KeyError" if key is letter else "TypeError"
    assert shown(run.letters.messages, outcome) == f"-x5:{error}*0@212"
    assert run.text == "|@220"


@pytest.mark.parametrize("priority", [float("nan"), float("inf"), None, "1", True, [1], 1j])
def test_a_priority_is_a_finite_number(priority):
    """What is no number fails its item, without an attempt."""
    run = Run(
        "a5@212 |@220",
        lambda run: run.pool.outcomes(work, priority=lambda item: priority),
    )
    failure = run.messages[0].value.value
    assert isinstance(failure.error, InvalidArgument)
    assert "priority" in str(failure.error)
    assert failure.attempts == 0


def test_a_flow_whose_keys_are_busy_takes_no_turn():
    """Others of the pool go on meanwhile, and so does that flow when its key is free."""
    scheduler = Alarms()
    pool = WorkerPool(2, on=scheduler)
    keyed = scheduler.create_hot_observable(*row("a1-50@210 a2-10@211 a3-10@212 |@220"))
    plain = scheduler.create_hot_observable(*row("p10@211 q10@212 r10@213 s10@214 |@220"))
    results = scheduler.start(
        lambda: rx.merge(keyed.pipe(pool.map(work, **KEY)), plain.pipe(pool.map(work)))
    )
    expected = "p@221 q@231 r@241 s@251 a1@260 a2@270 a3@280 |@280"
    assert shown(results.messages) == expected
    assert conserved(pool).in_flight == 0


def test_pull_knows_that_a_key_is_busy():
    """`pull` reads on when an item of any key would be taken, so that it never blocks.

    At tick 210 a worker is free and nothing waits, but "c1" is stuck and "a2" is running.
    """
    scheduler = Alarms()
    pool = WorkerPool(5, on=scheduler)
    items = ["a1-10", "b1-10", "c1-10", "a2-60", "a3-10", "b2-10"]
    results = scheduler.start(
        lambda: pool.pull(items).pipe(
            pool.map(work, max_pending=1, **KEY),
            ro.map(lambda name: f"{name}-30"),
            pool.map(work, max_pending=1, concurrency=1),
        )
    )
    expected = "a1@240 b1@270 c1@300 a2@330 a3@360 b2@390 |@390"
    assert shown(results.messages) == expected
    assert conserved(pool).succeeded == 12


def test_key_and_priority_need_room_to_wait():
    """With `max_pending=0` nothing waits, so that there is nothing to sort."""
    with WorkerPool(1, max_pending=0) as pool:
        for options in (KEY, PRIORITY):
            with pytest.raises(InvalidArgument, match="max_pending of 1 or more"):
                pool.map(work, **options)
        assert callable(pool.map(work, **KEY | {"max_pending": 1}))


# -- threads -----------------------------------------------------------------------------


class OneByOne:
    """A function that notes whether items of a key overlap, and in which order they ran."""

    def __init__(self):
        self.inside, self.overlaps = Counter(), []
        self.ran = defaultdict(list)

    def __call__(self, item):
        key = item % 7
        self.inside[key] += 1
        if self.inside[key] > 1:
            self.overlaps.append(item)
        self.ran[key].append(item)
        for _ in range(item % 5 * 20):
            pass
        self.inside[key] -= 1
        return item


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("kind", ["map", "imap", "outcomes"])
def test_keys_under_stress(kind):
    """Items of one key never overlap and keep their order, results too; none is lost.

    Catches a queue that lets the next of a key go when one starts.
    """
    fn = OneByOne()
    options = {"order": "key", "key": lambda item: item % 7, "max_pending": 20}
    with WorkerPool(4) as pool:
        if kind == "imap":
            got = list(pool.imap(fn, range(1500), **options))
        else:
            stream = rx.from_iterable(range(1500)).pipe(getattr(pool, kind)(fn, **options))
            got = [getattr(entry, "value", entry) for entry in collect(stream)]
    assert fn.overlaps == []
    for key in range(7):
        assert fn.ran[key] == list(range(key, 1500, 7))
        assert [item for item in got if item % 7 == key] == fn.ran[key]
    assert balanced(pool).succeeded == 1500


@pytest.mark.usefixtures("frantic")
def test_several_producers_with_keys():
    """Each producer's items of a key run in the order in which it brought them."""
    fn = OneByOne()
    xs = Subject()
    with WorkerPool(3, max_pending=8) as pool:
        sink = Sink().to(xs.pipe(pool.map(fn, order="key", key=lambda item: item % 7)))
        joined(
            *[started(lambda k=k: [xs.on_next(n) for n in range(k, 700, 7)]) for k in range(7)]
        )
        xs.on_completed()
        assert sorted(sink.wait()) == list(range(700))
    assert fn.overlaps == []
    assert all(ran == sorted(ran) for ran in fn.ran.values())


def test_a_hung_key_holds_up_no_other():
    """While one key hangs, all others go on."""
    gate = threading.Event()

    def fn(item):
        if item == 0:
            passed(gate)
        return item

    with WorkerPool(2) as pool:
        xs = Subject()
        ten = threading.Event()
        sink = Sink(lambda _: ten.set() if len(sink.values) == 10 else None)
        sink.to(xs.pipe(pool.map(fn, order="key", key=lambda item: item % 2)))
        for n in range(20):
            xs.on_next(n)
        xs.on_completed()
        passed(ten)
        assert sink.values == list(range(1, 20, 2))
        assert pool.report().waiting == 9
        gate.set()
        assert sink.wait()[10:] == list(range(0, 20, 2))


def test_priorities_among_what_waits():
    """What waits when a worker is free starts by its number, whoever brought it."""
    gate, running = threading.Event(), threading.Event()

    def fn(item):
        if item == 99:
            running.set()
            passed(gate)
        return item

    with WorkerPool(1) as pool:
        xs = Subject()
        sink = Sink().to(xs.pipe(pool.map(fn, priority=lambda item: item % 10)))
        xs.on_next(99)
        passed(running)
        for n in (25, 3, 14, 13, 5, 90):
            xs.on_next(n)
        xs.on_completed()
        gate.set()
        assert sink.wait() == [99, 90, 3, 13, 14, 25, 5]


def test_imap_with_a_key_function_that_fails():
    """The failure of an item without a key comes to whoever iterates."""
    with WorkerPool(2) as pool:
        letters = Sink()
        options = KEY | {"on_failure": Subject()}
        options["on_failure"].subscribe(letters.on_next)
        assert sorted(pool.imap(str.upper, ["a", "x", "b", "a"], **options)) == ["A", "A", "B"]
        ((failure),) = letters.values
        assert isinstance(failure, Failure)
        assert (failure.item, failure.attempts) == ("x", 0)
        with pytest.raises(KeyError):
            list(pool.imap(str.upper, ["a", "x"], **KEY))
    assert balanced(pool).failed == 2


def test_leaving_imap_with_keys():
    """Breaking out of the loop cancels what waits for its key."""
    with WorkerPool(2) as pool:
        for value in pool.imap(str.upper, "ab" * 30, **KEY):
            assert value in "AB"
            break
    report = balanced(pool)
    assert report.accepted == report.succeeded + report.cancelled


def test_terminating_threads_with_keys():
    """`TaskCancelled` is what a terminated pool gives, also to those that wait for a key."""
    gate, running = threading.Event(), threading.Event()

    def fn(item):
        running.set()
        passed(gate)

    pool = WorkerPool(1)
    sink = Sink().to(rx.of("a1", "a2").pipe(pool.map(fn, **KEY)))
    passed(running)
    pool.terminate()
    with pytest.raises(TaskCancelled):
        sink.wait()
    gate.set()
