"""`map_batches`: lists in, single results out, and who has failed when a batch has."""

import threading
from array import array
from collections import deque

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import Failure, WorkerPool, current_task
from rxpool import operators as ops
from rxpool.errors import BatchSizeError, DeadlineExceeded, InvalidItem, TaskTimeout
from tests.pool.crew import Sink, balanced, collect, passed
from tests.pool.marbles import Oops, Run, outcome, shown
from tests.waiting import eventually

SKIP = {"on_failure": "skip"}
INPUT = {"order": "input"}
BISECT = {"bisect": True}


def upper(batch):
    """Capital letters; ``?`` fails alone, ``!`` takes its batch along."""
    if "!" in batch:
        raise Oops("".join(batch))
    return [Oops(letter) if letter == "?" else letter.upper() for letter in batch]


async def upper_later(batch):
    """The same, as an async function."""
    return upper(batch)


def of_batches(fn, **options):
    """An operator that makes lists of words and maps those; options for `Run` too."""

    def operator(run):
        if options.get("on_failure") == "letters":
            options["on_failure"] = run.letters
        return rx.compose(ro.map(list), run.pool.map_batches(fn, **options))

    return operator


# workers, options, source, results, failures (given to an observer), counts of batches
MARBLES = {
    "results come one by one": (
        1, {}, "abc@210 de@220 |@230", "A@210 B@210 C@210 D@220 E@220 |@230", "",
        {"succeeded": 2},
    ),
    "a result may be an exception: that item has failed": (
        1, {}, "a?c@210 de@220 |@230", "A@210 C@210 D@220 E@220 |@230", "-?:Oops*1@210",
        {"succeeded": 2},
    ),
    "a function that raises fails all items": (
        1, {}, "a!c@210 de@220 |@230", "D@220 E@220 |@230",
        "-a:Oops*1@210 -!:Oops*1@210 -c:Oops*1@210", {"succeeded": 1, "failed": 1},
    ),
    "bisect finds the bad item": (
        1, BISECT, "ab!cd@210 e@220 |@230", "A@210 B@210 C@210 D@210 E@220 |@230",
        "-!:Oops*1@210", {"succeeded": 3, "failed": 1},
    ),
    "bisect leaves a batch alone that has failed items only": (
        1, BISECT, "a?@210 |@230", "A@210 |@230", "-?:Oops*1@210", {"succeeded": 1},
    ),
    "bisect of a batch of one": (1, BISECT, "!@210 |@230", "|@230", "-!:Oops*1@210",
                                 {"failed": 1}),
    "bisect finds all bad items": (
        2, BISECT, "!a!b!@210 |@230", "A@210 B@210 |@230",
        "-!:Oops*1@210 -!:Oops*1@210 -!:Oops*1@210", {"succeeded": 2, "failed": 3},
    ),
    "bisect in input order": (
        2, BISECT | INPUT, "ab!cd@210 e@210 f!@210 g?@210 |@230",
        "A@210 B@210 C@210 D@210 E@210 F@210 G@210 |@230",
        "-!:Oops*1@210 -!:Oops*1@210 -?:Oops*1@210", {"succeeded": 5, "failed": 2},
    ),
    "halves start next, before what waits": (
        1, BISECT, "c!d@210 ef@210 gh@210 |@230",
        "C@210 D@210 E@210 F@210 G@210 H@210 |@230", "-!:Oops*1@210",
        {"succeeded": 4, "failed": 1},
    ),
    "halves keep the priority of their batch": (
        1, BISECT | {"priority": lambda batch: int(batch[0] == "z")},
        "ab@210 zc!d@210 ef@210 yg!!@210 |@230",
        "A@210 B@210 E@210 F@210 Y@210 G@210 Z@210 C@210 D@210 |@230",
        "-!:Oops*1@210 -!:Oops*1@210 -!:Oops*1@210", {"succeeded": 5, "failed": 3},
    ),
    "halves keep the key of their batch, and their place in line": (
        3, BISECT | {"order": "key", "key": len},
        "a!cd@210 efgh@210 i!@210 jk@210 |@230",
        "I@210 A@210 J@210 K@210 C@210 D@210 E@210 F@210 G@210 H@210 |@230",
        "-!:Oops*1@210 -!:Oops*1@210", {"succeeded": 5, "failed": 2},
    ),
    "a batch that is dropped has failed": (
        1, BISECT | INPUT | {"max_pending": 1, "overflow": "drop_oldest"},
        "ab@210 cd@210 ef@210 |@230", "A@210 B@210 E@210 F@210 |@230",
        "-c:ItemDropped*0@210 -d:ItemDropped*0@210", {"succeeded": 2, "dropped": 1},
    ),
    "an empty batch has no results": (1, {}, "|@230", "|@230", "", {}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "options", "source", "expected", "letters", "counts"),
    MARBLES.values(),
    ids=MARBLES,
)
@pytest.mark.parametrize("fn", [upper, upper_later])
def test_marbles(workers, options, source, expected, letters, counts, fn):
    """Values, failures and ticks are exact, and `report` counts batches."""
    run = Run(source, of_batches(fn, on_failure="letters", **options), workers=workers)
    order = list if "order" in options else sorted
    assert order(run.text.split()) == order(expected.split())
    assert shown(run.letters.messages, outcome) == letters
    assert run.counts == (
        {"accepted": total} | counts if (total := sum(counts.values())) else {}
    )


@pytest.mark.parametrize(
    ("options", "source", "expected", "let_go"),
    [
        ({}, "a?c@210 de@220 |@230", "A@210 #Oops@210", 210),
        ({}, "a!c@210 de@220 |@230", "#Oops@210", 210),
        (BISECT, "ab!cd@210 e@220 |@230", "A@210 B@210 #Oops@210", 210),
        (SKIP, "a?c@210 d!@215 e@220 |@230", "A@210 C@210 E@220 |@230", 230),
        (SKIP | BISECT, "a?c@210 d!@215 e@220 |@230", "A@210 C@210 D@215 E@220 |@230", 230),
        (SKIP, "ab@210 #@220", "A@210 B@210 #RuntimeError@220", 220),
    ],
)
def test_on_failure(options, source, expected, let_go):
    """The first item that failed ends the stream, or failures are left out."""
    run = Run(source, of_batches(upper, **options))
    assert (run.text, run.let_go) == (expected, [let_go])


def test_a_failure_has_the_times_of_its_batch():
    """Each `Failure` has its own item and error, and the times of the batch."""
    run = Run("a?c@210 |@230", of_batches(upper, on_failure="letters"), other="z120")
    (failure,) = [m.value.value for m in run.letters.messages]
    assert isinstance(failure, Failure)
    assert (failure.item, str(failure.error)) == ("?", "?")
    assert (failure.attempts, failure.waited, failure.took) == (1, 10, 0)


@pytest.mark.parametrize(
    "given",
    [
        lambda batch: batch[:-1],
        lambda batch: [*batch, "x"],
        lambda batch: [],
        lambda batch: None,
        lambda batch: 5,
        lambda batch: "xyz",
        lambda batch: b"xyz",
        lambda batch: dict.fromkeys(batch),
        lambda batch: set(batch),
        lambda batch: rx.of(*batch),
    ],
)
@pytest.mark.parametrize("later", [False, True])
def test_what_is_no_list_of_as_many_results(given, later):
    """Every item of the batch fails with `BatchSizeError`, and the next batch goes on."""

    async def asynchronous(batch):
        return fn(batch)

    def fn(batch):
        return given(batch) if "a" in batch else batch

    run = Run(
        "abc@210 d@220 |@230", of_batches(asynchronous if later else fn, on_failure="letters")
    )
    assert run.text == "d@220 |@230"
    expected = " ".join(f"-{letter}:BatchSizeError*1@210" for letter in "abc")
    assert shown(run.letters.messages, outcome) == expected
    assert isinstance(run.letters.messages[0].value.value.error, BatchSizeError)


def test_bisect_of_a_function_that_returns_too_few():
    """A wrong number of results is a failure of the batch, so it is halved."""
    run = Run(
        "abc@210 |@230", of_batches(lambda batch: batch[:1], bisect=True, on_failure="letters")
    )
    assert run.text == "a@210 b@210 c@210 |@230"
    assert run.letters.messages == []


@pytest.mark.parametrize(
    "batch", [(1, 2), deque([1, 2]), range(1, 3), array("i", [1, 2]), memoryview(b"\x01\x02")]
)
def test_batches_may_be_sequences_of_any_kind(batch):
    """The function is given a list, whatever sequence came."""

    def fn(given):
        assert type(given) is list
        return [-n for n in given] if len(given) == 1 else 1 / 0

    with WorkerPool(1) as pool:
        stream = rx.of(batch).pipe(pool.map_batches(fn, bisect=True, order="input"))
        assert collect(stream) == [-1, -2]


@pytest.mark.parametrize("item", ["text", b"x", bytearray(b"x"), 5, None, {}, {1}, iter([1])])
@pytest.mark.parametrize(
    "options", [{}, INPUT, BISECT, {"order": "key", "key": len}, {"priority": len}]
)
def test_what_is_no_batch(item, options):
    """An item that is no list fails, alone, when its turn comes; the function never sees it."""

    def operator(run):
        return rx.compose(
            ro.map(lambda word: item if word == "?" else list(word)),
            run.pool.map_batches(upper, on_failure=run.letters, **options),
        )

    run = Run("ab@210 ?@210 cd@210 |@230", operator)
    assert run.text == "A@210 B@210 C@210 D@210 |@230"
    (failure,) = [m.value.value for m in run.letters.messages]
    assert failure.item is item
    assert isinstance(failure.error, InvalidItem)
    assert (failure.attempts, run.counts["failed"]) == (0, 1)


def test_what_is_no_batch_in_input_order():
    """In input order it fails after the batches that came before it, which raises then."""

    def operator(run):
        return rx.compose(
            ro.map(lambda word: 5 if word == "?" else list(word)),
            run.pool.map_batches(upper, order="input"),
        )

    run = Run("ab@210 ?@211 cd@212 |@230", operator, other="z120")
    assert run.text == "A@220 B@220 #InvalidItem@220"


def test_a_batch_belongs_to_the_function():
    """A function may take its list apart; neither results nor failures suffer."""
    run = Run("abc@210 |@230", of_batches(lambda batch: [batch.pop(0) for _ in range(3)]))
    assert run.text == "a@210 b@210 c@210 |@230"
    run = Run("abc@210 |@230", of_batches(lambda b: b.clear() or 1 / 0, on_failure="letters"))
    assert [m.value.value.item for m in run.letters.messages] == ["a", "b", "c"]


def test_the_producer_may_use_its_list_again():
    """What is done to a list after it was brought changes nothing."""
    with WorkerPool(1) as pool:
        xs = Subject()
        gate = threading.Event()
        sink = Sink().to(xs.pipe(pool.map_batches(lambda batch: passed(gate) or batch)))
        batch = [1, 2]
        for _ in range(2):
            xs.on_next(batch)
        batch.clear()
        xs.on_completed()
        gate.set()
        assert sink.wait() == [1, 2, 1, 2]


def test_an_empty_batch():
    """The function is asked nevertheless: whether there is something to do is its matter."""
    asked = []
    with WorkerPool(1) as pool:
        fn = pool.map_batches(lambda batch: asked.append(batch) or batch)
        assert collect(rx.of([]).pipe(fn)) == []
    assert asked == [[]]


def test_a_subscriber_that_leaves_in_the_middle_of_a_batch():
    """After `take` nothing more of the batch comes out, and the source is let go."""
    run = Run(
        "abcdef@210 gh@211 |@230",
        lambda run: rx.compose(of_batches(upper)(run), ro.take(2)),
    )
    assert (run.text, run.let_go) == ("A@210 B@210 |@210", [210])


def test_a_subscriber_that_left_leaves_no_failures():
    """Items of a batch behind the one at which the subscriber left come to nobody."""
    run = Run(
        "a?b@210 |@230",
        lambda run: rx.compose(of_batches(upper, on_failure="letters")(run), ro.take(1)),
    )
    assert (run.text, run.letters.messages) == ("A@210 |@210", [])


def test_with_batch():
    """`ops.batch` makes the lists, `map_batches` hands the results back one by one."""
    with WorkerPool(2) as pool:
        stream = rx.from_iterable(range(1000)).pipe(
            ops.batch(7), pool.map_batches(lambda batch: [n * 2 for n in batch], order="input")
        )
        assert collect(stream) == [n * 2 for n in range(1000)]
    assert balanced(pool).succeeded == 143


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("order", ["completion", "input"])
def test_bisect_under_stress(order):
    """Each bad item is found, each good one comes out, in input order if that is asked for.

    Catches halves that are not counted, or take another place than their batch.
    """

    def fn(batch):
        if any(n % 10 == 3 for n in batch):
            raise Oops
        return batch

    letters = Subject()
    failed = []
    letters.subscribe(lambda failure: failed.append(failure.item))
    with WorkerPool(3) as pool:
        options = {"order": order, "bisect": True, "on_failure": letters, "max_pending": 5}
        stream = rx.from_iterable(range(600)).pipe(
            ops.batch(8), pool.map_batches(fn, **options)
        )
        got = collect(stream)
    good = [n for n in range(600) if n % 10 != 3]
    assert (got if order == "input" else sorted(got)) == good
    assert (failed if order == "input" else sorted(failed)) == list(range(3, 600, 10))
    report = balanced(pool)
    assert report.failed == 60


def test_a_batch_that_hangs_is_halved():
    """With `bisect` a timeout finds the item that hangs; the others have their results."""

    def fn(batch):
        task = current_task()
        if 3 in batch:
            eventually(lambda: task.cancelled)
        return batch

    letters = Subject()
    failed = []
    letters.subscribe(failed.append)
    with WorkerPool(1) as pool:
        through = pool.map_batches(fn, bisect=True, timeout=0.03, on_failure=letters)
        assert sorted(collect(rx.of([1, 2, 3, 4, 5]).pipe(through))) == [1, 2, 4, 5]
    (failure,) = failed
    assert (failure.item, type(failure.error)) == (3, TaskTimeout)


def test_a_batch_past_its_deadline_is_not_halved():
    """There is no time left for halves: all items of the batch have failed."""

    def fn(batch):
        task = current_task()
        eventually(lambda: task.cancelled)
        return batch

    letters = Subject()
    failed = []
    letters.subscribe(failed.append)
    with WorkerPool(1) as pool:
        through = pool.map_batches(fn, bisect=True, deadline=0.03, on_failure=letters)
        assert collect(rx.of([1, 2, 3]).pipe(through)) == []
    assert [(failure.item, type(failure.error)) for failure in failed] == [
        (n, DeadlineExceeded) for n in (1, 2, 3)
    ]
    assert balanced(pool).failed == 1
