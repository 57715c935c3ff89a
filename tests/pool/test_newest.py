"""`switch_map` and `exhaust_map`: the newest item wins, or the one that was first."""

import random
import threading
import time

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import TaskCancelled, WorkerPool, current_task
from rxpool.pool._flows.delivery import ObserverDelivery
from tests.alarms import Alarms
from tests.pool.crew import Oops, Sink, balanced, joined, passed, started
from tests.pool.marbles import Run, outcome, row, shown, windows, work
from tests.waiting import eventually


def three(item):
    """Three results: after 5, 15 and 25 ticks."""
    return rx.timer(5.0, 10.0).pipe(ro.take(3), ro.map(lambda n: f"{item}{n}"))


SKIP = {"on_failure": "skip"}
LATEST = {"queue_latest": True}
BUSY = {"other": "z120"}  # the only worker has other work until tick 220

# options, source, result, counts of this flow, settings of the run
SWITCH = {
    "a new item cancels the one that runs": (
        {}, "a20@210 b20@215 c20@220 |@225", "c@240 |@240",
        {"succeeded": 1, "cancelled": 2}, {},
    ),
    "a result that is there in time comes out": (
        {}, "a20@210 b20@235 |@240", "a@230 b@255 |@255", {"succeeded": 2}, {},
    ),
    "a result due at the very tick of the next item loses": (
        {}, "a10@210 b10@220 c10@230 |@250", "c@240 |@250",
        {"succeeded": 1, "cancelled": 2}, {"workers": 3},
    ),
    "one task runs at a time, whatever the durations": (
        {}, "a90@210 b50@220 c5@230 |@240", "c@235 |@240",
        {"succeeded": 1, "cancelled": 2}, {"workers": 3},
    ),
    "the source completes: the last result, then the completion": (
        {}, "a30@210 |@215", "a@240 |@240", {"succeeded": 1}, {},
    ),
    "the source completes while nothing runs": (
        {}, "a10@210 |@250", "a@220 |@250", {"succeeded": 1}, {},
    ),
    "an empty source": ({}, "|@215", "|@215", {}, {}),
    "the source fails: the last result, then the error": (
        {}, "a30@210 #@215", "a@240 #RuntimeError@240", {"succeeded": 1}, {},
    ),
    "a failure ends the stream": ({}, "a10!@210 b30@225 |@230", "#Oops@220", {"failed": 1}, {}),
    "the failure of a cancelled item is not seen": (
        {}, "a10!@210 b30@215 |@220", "b@245 |@245", {"succeeded": 1, "cancelled": 1}, {},
    ),
    "a failure at the very tick of the next item is not seen": (
        {}, "a10!@210 b30@220 |@225", "b@250 |@250", {"succeeded": 1, "cancelled": 1}, {},
    ),
    "skip": (
        SKIP, "a10!@210 b30@225 |@230", "b@255 |@255", {"succeeded": 1, "failed": 1}, {},
    ),
    "dispose": ({}, "a30@210 b30@215 |@300", "", {"cancelled": 2}, {"disposed": 230.0}),
    "while the pool is busy the newest item waits": (
        {}, "a30@210 b30@215 c10@216 |@300", "c@230 |@300",
        {"succeeded": 1, "cancelled": 2}, BUSY,
    ),
    "dispose while the newest item waits": (
        {}, "a30@210 b30@215 |@300", "", {"cancelled": 2}, BUSY | {"disposed": 218.0},
    ),
    "the results of an Observable come out until the next item": (
        {"fn": three}, "a@210 b@222 |@300", "a0@215 b0@227 b1@237 b2@247 |@300",
        {"succeeded": 1, "cancelled": 1}, {},
    ),
    "a result of an Observable at the very tick of the next item": (
        {"fn": three}, "a@210 b@225 |@300", "a0@215 b0@230 b1@240 b2@250 |@300",
        {"succeeded": 1, "cancelled": 1}, {},
    ),
    "timeout": (
        SKIP | {"timeout": 20}, "a30@210 b30@235 c5@270 |@300", "c@275 |@300",
        {"succeeded": 1, "failed": 2}, {},
    ),
    "a cancelled item does not time out": (
        {"timeout": 20}, "a30@210 b30@220 c5@230 |@300", "c@235 |@300",
        {"succeeded": 1, "cancelled": 2}, {},
    ),
    "deadline, while the pool is busy": (
        SKIP | {"deadline": 20}, "a30@210 b30@215 |@300", "|@300",
        {"failed": 1, "cancelled": 1}, {"other": "z200"},
    ),
}  # fmt: skip

EXHAUST = {
    "items that come while one runs are dropped": (
        {}, "a20@210 b20@215 c20@220 d20@232 |@240", "a@230 d@252 |@252",
        {"succeeded": 2, "dropped": 2}, {},
    ),
    "one that comes at the very tick of the result is dropped": (
        {}, "a10@210 b10@220 c10@221 |@240", "a@220 c@231 |@240",
        {"succeeded": 2, "dropped": 1}, {},
    ),
    "other workers make no difference": (
        {}, "a20@210 b20@210 c20@220 |@225", "a@230 |@230",
        {"succeeded": 1, "dropped": 2}, {"workers": 3},
    ),
    "queue_latest: the newest of them runs next": (
        LATEST, "a20@210 b20@215 c20@220 d20@225 |@226", "a@230 d@250 |@250",
        {"succeeded": 2, "dropped": 2}, {"workers": 3},
    ),
    "queue_latest: nothing is dropped that comes one at a time": (
        LATEST, "a20@210 b10@215 c20@245 |@266", "a@230 b@240 c@265 |@266",
        {"succeeded": 3}, {},
    ),
    "while the pool is busy the first one waits": (
        {}, "a30@210 b30@215 c10@216 |@300", "a@250 |@300",
        {"succeeded": 1, "dropped": 2}, BUSY,
    ),
    "queue_latest: while the pool is busy the newest one waits": (
        LATEST, "a30@210 b30@215 c10@216 |@300", "c@230 |@300",
        {"succeeded": 1, "dropped": 2}, BUSY,
    ),
    "a failure ends the stream": (
        LATEST, "a20!@210 b20@215 c20@220 |@240", "#Oops@230",
        {"failed": 1, "dropped": 1, "cancelled": 1}, {},
    ),
    "skip": (
        SKIP, "a20!@210 b20@215 d20@232 |@240", "d@252 |@252",
        {"succeeded": 1, "failed": 1, "dropped": 1}, {},
    ),
    "what times out makes room for the newest": (
        SKIP | LATEST | {"timeout": 30}, "a90@210 b20@215 c20@220 |@240", "c@260 |@260",
        {"succeeded": 1, "failed": 1, "dropped": 1}, {},
    ),
    "the source fails": (
        LATEST, "a20@210 b20@215 #@220", "a@230 b@250 #RuntimeError@250", {"succeeded": 2}, {},
    ),
    "dispose": (
        LATEST, "a20@210 b20@215 c20@220 |@240", "", {"dropped": 1, "cancelled": 2},
        {"disposed": 225.0},
    ),
    "all results of an Observable come out": (
        {"fn": three}, "a@210 b@222 c@240 |@300",
        "a0@215 a1@225 a2@235 c0@245 c1@255 c2@265 |@300", {"succeeded": 2, "dropped": 1}, {},
    ),
}  # fmt: skip

ROWS = [
    pytest.param(method, *case, id=f"{method}: {title}")
    for method, table in [("switch_map", SWITCH), ("exhaust_map", EXHAUST)]
    for title, case in table.items()
]


@pytest.mark.parametrize(("method", "options", "source", "expected", "counts", "how"), ROWS)
def test_marbles(method, options, source, expected, counts, how):
    """Values and ticks are exact, the source is let go, the books balance at every tick."""
    options = {"fn": work} | options
    run = Run(source, lambda run: getattr(run.pool, method)(**options), **how)
    assert run.text == expected
    end = expected if "#Oops" in expected else source
    assert run.let_go == [how.get("disposed", float(end.split("@")[-1]))]
    if "other" in how:  # it has succeeded
        counts = counts | {"succeeded": counts.get("succeeded", 0) + 1}
    assert run.counts == (
        {"accepted": total} | counts if (total := sum(counts.values())) else {}
    )


def test_what_is_cancelled_is_disposed_at_once():
    """The work of an item is let go at the very tick of the next one."""
    scheduler = Alarms()
    pool = WorkerPool(2, on=scheduler)
    jobs = {
        name: scheduler.create_cold_observable(*row("x@30 |@40")) for name in ("a", "b", "c")
    }
    xs = scheduler.create_hot_observable(*row("a@210 b@215 c@260 |@261"))
    results = scheduler.start(lambda: xs.pipe(pool.switch_map(jobs.__getitem__)))
    assert shown(results.messages) == "x@245 x@290 |@300"
    assert [windows(job) for job in jobs.values()] == [[(210, 215)], [(215, 255)], [(260, 300)]]


def test_an_observer_of_switch_map_is_given_failures_of_what_was_not_cancelled():
    """Failures go to the observer; those of cancelled items do not."""
    run = Run(
        "a10!@210 b30@225 c10!@230 d5@235 |@236",
        lambda run: run.pool.switch_map(work, on_failure=run.letters),
    )
    assert (run.text, shown(run.letters.messages, outcome)) == (
        "d@240 |@240",
        "-a10!:Oops*1@220",
    )


def test_an_observer_of_exhaust_map_is_given_what_is_dropped():
    """Dropped items go to the observer at once; the message says what was in their way."""
    run = Run(
        "a20@210 b20@215 c20@220 d20@245 |@250",
        lambda run: run.pool.exhaust_map(work, on_failure=run.letters, queue_latest=True),
    )
    assert run.text == "a@230 c@250 d@270 |@270"
    assert shown(run.letters.messages, outcome) == "-b20:ItemDropped*0@220"
    assert "another item waited or ran" in str(run.letters.messages[0].value.value.error)


@pytest.mark.parametrize(
    ("method", "expected"),
    [("switch_map", "c@245 |@245"), ("exhaust_map", "a@240 |@240")],
)
def test_closing_finishes_the_last_one(method, expected):
    """`close` cuts the source; what was accepted and not cancelled comes out."""
    run = Run(
        "a30@210 b30@214 c30@215 d30@300 |@400",
        lambda run: getattr(run.pool, method)(work),
        at={220: lambda run: run.pool.close()},
    )
    assert (run.text, run.let_go) == (expected, [220])


@pytest.mark.parametrize("method", ["switch_map", "exhaust_map"])
def test_terminating(method):
    """A terminated pool ends the stream with `TaskCancelled`."""
    run = Run(
        "a30@210 b30@214 |@400",
        lambda run: getattr(run.pool, method)(work),
        at={220: lambda run: run.pool.terminate()},
    )
    assert run.text == "#TaskCancelled@220"
    assert isinstance(run.messages[-1].value.exception, TaskCancelled)


@pytest.mark.parametrize(
    ("chain", "expected"),
    [
        # a and b are ready at 220 and 224, c at 226
        (("map", "switch_map"), "c@256 |@256"),
        (("map", "exhaust_map"), "a@250 |@250"),
        (("switch_map", "map"), "c@256 |@256"),
        (("exhaust_map", "map"), "a@250 |@250"),
    ],
)
def test_chains_on_one_pool(chain, expected):
    """Flows of all kinds feed one another; closing drains them from the top."""

    def operator(run):
        first = getattr(run.pool, chain[0])(work)
        second = getattr(run.pool, chain[1])(work)
        return rx.compose(first, ro.map(lambda name: f"{name}30"), second)

    source = "a10@210 b10@214 c10@216 d10@300 |@400"
    run = Run(source, operator, workers=4, at={230: lambda run: run.pool.close()})
    assert (run.text, run.let_go) == (expected, [230])


def test_a_subscriber_that_feeds_its_own_switch_map():
    """A new item from within the delivery of a result cancels nothing that is due."""
    scheduler = Alarms()
    pool = WorkerPool(1, on=scheduler)
    xs, got = Subject(), []

    def feed(value):
        got.append(value)
        if len(got) < 3:
            xs.on_next(f"{'abc'[len(got)]}10")
        else:
            xs.on_completed()

    xs.pipe(pool.switch_map(work)).subscribe(feed, on_completed=lambda: got.append("|"))
    xs.on_next("a10")
    scheduler.start()
    assert got == ["a", "b", "c", "|"]


def test_disposing_work_that_brings_a_newer_item():
    """An item that comes while the one before is being let go is the newest."""
    scheduler = Alarms()
    pool = WorkerPool(1, on=scheduler)
    xs = Subject()
    got = []

    def fn(item):
        if item == "a":
            return rx.never().pipe(ro.finally_action(lambda: xs.on_next("c10")))
        return work(item)

    xs.pipe(pool.switch_map(fn)).subscribe(got.append)
    xs.on_next("a")
    scheduler.advance_by(5.0)
    xs.on_next("b10")
    xs.on_completed()
    scheduler.start()
    assert got == ["c"]
    report = pool.report()
    assert (report.accepted, report.succeeded, report.cancelled) == (3, 1, 2)


# -- threads -----------------------------------------------------------------------------


def test_the_newest_does_not_wait_for_a_hung_thread():
    """The only worker hangs with the old item: another takes its place, and it is told."""
    gate, running, told = threading.Event(), threading.Event(), threading.Event()

    def fn(item):
        if item == 0:
            task = current_task()
            assert not task.cancelled
            running.set()
            passed(gate)
            eventually(lambda: task.cancelled)
            told.set()
            raise Oops("nobody is told of this")
        return item

    with WorkerPool(1) as pool:
        xs = Subject()
        sink = Sink().to(xs.pipe(pool.switch_map(fn)))
        xs.on_next(0)
        passed(running)
        xs.on_next(1)
        eventually(lambda: sink.values == [1])
        xs.on_completed()
        assert sink.wait() == [1]
        gate.set()
        passed(told)
        report = balanced(pool)
        assert (report.succeeded, report.cancelled) == (1, 1)


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("workers", [1, 3])
def test_the_last_result_always_comes(workers):
    """Whatever the durations, the last item's result comes, and none after a newer one.

    Catches a flow that delivers results of items which are not the newest any more.
    """
    chance = random.Random(workers)
    with WorkerPool(workers) as pool:
        for _ in range(60):
            spans = [chance.choice([0, 0, 50, 1000, 5000]) for _ in range(12)]

            def fn(item, spans=spans):
                for _ in range(spans[item]):
                    pass
                return item

            xs = Subject()
            sink = Sink().to(xs.pipe(pool.switch_map(fn)))
            for n in range(12):
                xs.on_next(n)
                for _ in range(chance.choice([0, 100, 2000])):
                    pass
            xs.on_completed()
            values = sink.wait()
            assert values[-1] == 11
            assert values == sorted(set(values))
    assert balanced(pool).accepted == 60 * 12


@pytest.mark.usefixtures("frantic")
def test_two_producers_of_one_switch_map():
    """Items from several threads: one of them is the newest, and has its result."""
    with WorkerPool(2) as pool:
        for _ in range(30):
            xs = Subject()
            sink = Sink().to(xs.pipe(pool.switch_map(lambda item: item)))

            def produce(name, xs=xs):
                for n in range(8):
                    xs.on_next((name, n))

            joined(*[started(produce, name) for name in "ab"])
            xs.on_completed()
            values = sink.wait()
            assert values[-1] in [("a", 7), ("b", 7)]
            assert len(values) == len(set(values))
    assert balanced(pool).failed == 0


@pytest.mark.usefixtures("frantic")
def test_a_slow_subscriber_of_switch_map():
    """Results that are not newest any more when the subscriber is ready are left out."""
    inside = threading.Lock()
    overlaps = []

    def slow(value):
        if not inside.acquire(blocking=False):
            overlaps.append(value)
            return
        time.sleep(0)
        inside.release()

    with WorkerPool(2) as pool:
        for _ in range(20):
            xs = Subject()
            sink = Sink(slow).to(xs.pipe(pool.switch_map(lambda item: item)))
            for n in range(30):
                xs.on_next(n)
            xs.on_completed()
            values = sink.wait()
            assert values[-1] == 29
            assert values == sorted(set(values))
    assert overlaps == []


def test_a_result_in_hand_when_a_newer_item_comes(monkeypatch):
    """A result that is about to be delivered is not, if it is the newest no more."""
    xs, send = Subject(), ObserverDelivery.send

    def late(flow, entry):
        if getattr(entry, "item", None) == "a":
            xs.on_next("b")
        send(flow, entry)

    monkeypatch.setattr(ObserverDelivery, "send", late)
    with WorkerPool(1) as pool:
        sink = Sink().to(xs.pipe(pool.switch_map(str.upper)))
        xs.on_next("a")
        eventually(lambda: sink.values)
        xs.on_completed()
        assert sink.wait() == ["B"]


def test_results_that_wait_for_the_subscriber_when_a_newer_item_comes():
    """Of an Observable's results, those that were not delivered yet are left out."""
    gate, inside = threading.Event(), threading.Event()
    streams = {"a": Subject(), "b": Subject()}

    def slow(value):
        inside.set()
        passed(gate)

    with WorkerPool(1) as pool:
        xs = Subject()
        sink = Sink(slow).to(xs.pipe(pool.switch_map(streams.__getitem__)))
        xs.on_next("a")
        eventually(lambda: streams["a"].observers)
        producer = started(streams["a"].on_next, "a0")
        passed(inside)
        streams["a"].on_next("a1")
        xs.on_next("b")
        eventually(lambda: streams["b"].observers)
        gate.set()
        joined(producer)
        streams["b"].on_next("b0")
        streams["b"].on_completed()
        xs.on_completed()
        assert sink.wait() == ["a0", "b0"]


def test_exhaust_map_on_threads():
    """While one item runs the others are dropped, or the newest of them waits."""
    for latest in (False, True):
        gate, running = threading.Event(), threading.Event()

        def fn(item, gate=gate, running=running):
            running.set()
            passed(gate)
            return item

        with WorkerPool(3) as pool:
            xs = Subject()
            sink = Sink().to(xs.pipe(pool.exhaust_map(fn, queue_latest=latest)))
            xs.on_next(0)
            passed(running)
            for n in range(1, 10):
                xs.on_next(n)
            xs.on_completed()
            assert pool.report().dropped == 9 - latest
            gate.set()
            assert sink.wait() == [0, 9][: 1 + latest]
        assert balanced(pool).succeeded == 1 + latest


@pytest.mark.usefixtures("frantic")
def test_exhaust_map_runs_one_at_a_time():
    """However fast items come, no two run at once, and the newest one runs in the end.

    Catches a queue of the newest that keeps another one.
    """
    busy, overlaps = threading.Lock(), []

    def fn(item):
        if not busy.acquire(blocking=False):
            overlaps.append(item)
            return item
        time.sleep(0)
        busy.release()
        return item

    with WorkerPool(3) as pool:
        for _ in range(20):
            xs = Subject()
            sink = Sink().to(xs.pipe(pool.exhaust_map(fn, queue_latest=True)))
            for n in range(40):
                xs.on_next(n)
            xs.on_completed()
            values = sink.wait()
            assert values[-1] == 39
            assert values == sorted(set(values))
    assert overlaps == []
    report = balanced(pool)
    assert report.accepted == report.succeeded + report.dropped == 20 * 40


async def doubled(item):
    """An async function."""
    return item * 2


@pytest.mark.parametrize("method", ["switch_map", "exhaust_map"])
def test_async_functions_and_observables(method):
    """Functions may be async or give an Observable, as with `map`."""
    with WorkerPool(2) as pool:
        operator = getattr(pool, method)
        assert Sink().to(rx.of(4).pipe(operator(doubled))).wait() == [8]
        assert Sink().to(rx.of(4).pipe(operator(lambda n: rx.of(n, n)))).wait() == [4, 4]
