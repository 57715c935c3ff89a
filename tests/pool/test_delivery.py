"""How results come out among threads: one at a time, each once, whoever leaves or raises.

Tests of races name the change of the code that they were seen to catch.
"""

import asyncio
import logging
import random
import threading
import time
from collections import Counter

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.observer import Observer
from reactivex.subject import Subject

from rxpool import Failure, WorkerPool
from rxpool.pool._state.flow_state import FlowState
from tests.pool.crew import Oops, Sink, balanced, collect, joined, open_gate, started
from tests.waiting import WAIT, eventually


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.usefixtures("frantic")
def test_deliveries_never_overlap(order):
    """One value at a time, each once, from whichever thread it comes.

    Catches a flow whose token anybody can take.
    """
    inside = threading.Lock()
    overlaps = []
    ended = []

    def sink(value):
        if not inside.acquire(blocking=False):
            overlaps.append(value)
            return
        time.sleep(0)  # let the others run
        inside.release()

    xs = Subject()
    with WorkerPool(4, max_pending=8) as pool:
        got = Sink(sink).to(xs.pipe(pool.map(lambda n: n, order=order)))
        producers = [
            started(lambda k=k: [xs.on_next(n) for n in range(k, 2000, 4)]) for k in range(4)
        ]
        joined(*producers)
        assert not ended
        xs.on_completed()
        values = got.wait()
    assert overlaps == []
    assert sorted(values) == list(range(2000))
    assert balanced(pool).succeeded == 2000


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.usefixtures("frantic")
def test_the_end_comes_once_and_last(order):
    """However results and the completion race, the completion comes after all of them.

    Catches a `FlowState.finished` that looks only at what runs.
    """
    with WorkerPool(4) as pool:
        for _ in range(100):
            record = []
            ended = threading.Event()
            rx.from_iterable(range(7)).pipe(pool.map(lambda n: n, order=order)).subscribe(
                record.append, record.append, lambda r=record, e=ended: (r.append("|"), e.set())
            )
            open_gate(ended)
            assert record[-1] == "|"
            assert sorted(record[:-1]) == list(range(7))


class Token:
    """In place of a flow's token: lets something happen while it is being given back."""

    def __init__(self, meanwhile):
        self._lock, self._meanwhile = threading.Lock(), meanwhile

    def acquire(self, blocking):
        """As a lock."""
        return self._lock.acquire(blocking)

    def locked(self):
        """As a lock."""
        return self._lock.locked()

    def release(self):
        """As a lock, after what is to happen once."""
        meanwhile, self._meanwhile = self._meanwhile, lambda: None
        meanwhile()
        self._lock.release()


def test_a_result_that_comes_while_the_token_is_given_back():
    """Whoever delivers looks again once the token is free: no result waits for the next.

    Catches a `ObserverDelivery._emit_lock_free` that does not look again.
    """
    both, gate_b, gate, c_runs = (threading.Event() for _ in range(4))

    def fn(item):
        match item:
            case "a":
                open_gate(both)
            case "b":
                both.set()
                open_gate(gate_b)
            case _:
                if item == "c":
                    c_runs.set()
                open_gate(gate)
        return item

    def meanwhile():
        gate_b.set()
        open_gate(c_runs)  # the other worker has left its result and gone on

    xs = Subject()
    with WorkerPool(2) as pool:
        sink = Sink().to(xs.pipe(pool.map(fn)))
        (flow,) = pool._engine.registry.flows
        flow.delivery._token = Token(meanwhile)
        for item in "abcd":
            xs.on_next(item)
        eventually(lambda: len(sink.values) == 2)
        assert sink.values == ["a", "b"]
        gate.set()


class SlowSet(set):
    """A set of running tasks: lets something happen before the second is added."""

    def __init__(self, meanwhile):
        super().__init__()
        self._meanwhile = [lambda: None, meanwhile]

    def add(self, task):
        """Add a task."""
        if self._meanwhile:
            self._meanwhile.pop(0)()
        super().add(task)


def test_a_task_that_is_taken_while_its_flow_is_cancelled():
    """It does not run, it counts as cancelled, and its slot is free again.

    Catches a `ThreadRunner` that does not look at `Cancellation.reason` after it took a task.
    """
    gate, taken, disposed = (threading.Event() for _ in range(3))
    ran = []

    def fn(item):
        ran.append(item)
        open_gate(gate)

    xs = Subject()
    with WorkerPool(1) as pool:
        subscription = xs.pipe(pool.map(fn)).subscribe()
        (flow,) = pool._engine.registry.flows
        flow.state.tasks = SlowSet(lambda: (taken.set(), open_gate(disposed)))
        xs.on_next(1)
        xs.on_next(2)
        gate.set()
        open_gate(taken)
        subscription.dispose()
        disposed.set()
        assert pool.submit(str, 1).result(WAIT) == "1"
    assert ran == [1]
    report = balanced(pool)
    assert (report.accepted, report.succeeded, report.cancelled) == (3, 2, 1)


def test_a_result_that_comes_while_imap_prepares_to_wait(monkeypatch):
    """It is returned, though its worker saw nobody wait and hangs in the next task.

    Catches an `imap` that does not look again once it can be woken.
    """
    gates, second = [threading.Event(), threading.Event()], threading.Event()
    finished = FlowState.finished

    def fn(n):
        if n == 1:
            second.set()
        open_gate(gates[n])
        return n

    def meanwhile(flow):
        if flow.counts.accepted == 2:
            gates[0].set()
            open_gate(second)
        return finished.fget(flow)

    with WorkerPool(1) as pool:
        results = pool.imap(fn, [0, 1])
        monkeypatch.setattr(FlowState, "finished", property(meanwhile))
        got = []
        reader = started(lambda: got.extend(results))
        eventually(lambda: got == [0] or not reader.is_alive())
        monkeypatch.undo()
        assert got == [0]
        gates[1].set()
        joined(reader)
        assert got == [0, 1]


@pytest.mark.usefixtures("frantic")
def test_input_order_under_stress():
    """Results come in input order, whatever the threads do.

    Catches a `fetch` that takes what is done without looking at the head of the line.
    """
    with WorkerPool(4, max_pending=4) as pool:
        through = pool.map(lambda n: time.sleep(0) or n, order="input", max_reorder=6)
        assert collect(rx.from_iterable(range(2000)).pipe(through)) == list(range(2000))


@pytest.mark.usefixtures("frantic")
def test_disposing_at_any_moment_balances_the_books():
    """However dispose races with results, each item is counted once, nothing comes after.

    Catches a `Slots.settle` that does not look whether it won the task.
    """
    chance = random.Random(7)
    with WorkerPool(4, max_pending=4) as pool:
        for _ in range(200):
            xs, sink = Subject(), Sink()
            order = chance.choice(["completion", "input"])
            fn = chance.choice([lambda n: n, lambda n: time.sleep(0) or n])
            sink.to(xs.pipe(pool.map(fn, order=order)))
            producer = started(lambda xs=xs: [xs.on_next(n) for n in range(40)])
            count = chance.randrange(30)
            deadline = time.monotonic() + WAIT
            while len(sink.values) < count and time.monotonic() < deadline:
                time.sleep(0)
            sink.subscription.dispose()
            joined(producer)
        eventually(lambda: pool.report().flows == ())
        report = balanced(pool)
        assert report.succeeded + report.cancelled == report.accepted
    assert pool._engine.slots.free == pool._engine.slots.total


def test_a_subscriber_that_raises_gets_nothing_more(caplog):
    """Its flow is cancelled; the exception is on `faults` and in the log; the pool goes on."""
    faults, got = [], []
    source = Subject()
    with WorkerPool(2) as pool:
        pool.faults.subscribe(faults.append)

        def on_next(value):
            got.append(value)
            raise Oops("in the subscriber")

        source.pipe(pool.map(lambda n: n)).subscribe(on_next)
        with caplog.at_level(logging.ERROR, logger="rxpool"):
            source.on_next(1)
            eventually(lambda: faults)
        source.on_next(2)
        assert got == [1]
        assert source.observers == []
        assert [str(f) for f in faults] == ["in the subscriber"]
        assert collect(rx.of(3).pipe(pool.map(str))) == ["3"]
    (record,) = [r for r in caplog.records if r.name == "rxpool"]
    assert record.exc_info[1] is faults[0]
    assert pool.name in record.getMessage()
    assert balanced(pool).flows == ()


def test_an_on_failure_observer_that_raises(caplog):
    """It counts as a subscriber that raises."""
    faults = []

    def take(failure):
        raise Oops(failure)

    with WorkerPool(1) as pool:
        pool.faults.subscribe(faults.append)
        letters = Observer(take)
        rx.of("x").pipe(pool.map(int, on_failure=letters)).subscribe()
        eventually(lambda: faults)
    assert isinstance(faults[0], Oops)
    assert isinstance(faults[0].args[0], Failure)
    assert [r.name for r in caplog.records] == ["rxpool"]


def test_a_subscriber_of_faults_that_raises_harms_nobody(caplog):
    """The fault of one flow stays with it, whatever a listener does."""
    heard = []
    with WorkerPool(1) as pool:
        pool.faults.subscribe(lambda fault: 1 / 0)
        pool.faults.subscribe(heard.append, on_completed=lambda: heard.append("|"))
        rx.of(1).pipe(pool.map(str)).subscribe(lambda _: 1 / 0)
        eventually(lambda: heard)
    assert isinstance(heard[0], ZeroDivisionError)
    assert heard[1:] == ["|"]
    assert len(caplog.records) == 2


DEPTH, FAN = 6, 3  # of what a crawler finds: each page has links to further ones
PAGES = sum(FAN**level for level in range(DEPTH + 1))


def links_of(page):
    """The pages that a page leads to."""
    return [(*page, n) for n in range(FAN)] if len(page) < DEPTH else []


async def links_later(page):
    """The same, asynchronously."""
    await asyncio.sleep(0)
    return links_of(page)


def links_observed(page):
    """The same as the item of an Observable."""
    return rx.of(links_of(page))


def links_from_a_timer(page):
    """The same, given on another thread."""
    return rx.timer(0.0).pipe(ro.map(lambda _: links_of(page)))


@pytest.mark.parametrize(
    ("workers", "options"),
    [
        (1, {"max_pending": 0}),
        (1, {"max_pending": 1}),
        (2, {"max_pending": 0}),
        (3, {"max_pending": 2}),
        (2, {"max_pending": 1, "concurrency": 1}),
        (2, {"max_pending": 1, "order": "input"}),
        (2, {"max_pending": 0, "order": "input", "max_reorder": 1}),
        (2, {"max_pending": 1, "order": "input", "max_reorder": 2, "concurrency": 1}),
    ],
)
@pytest.mark.parametrize("chain", [1, 2])
@pytest.mark.parametrize(
    "visit",
    [links_of, links_later, links_observed, links_from_a_timer],
    ids=lambda f: f.__name__,
)
def test_feedback_from_the_subscriber_does_not_deadlock(visit, chain, workers, options):
    """A crawler: each result pushes new items into the source, with room for hardly any."""
    pages, left, lock = Subject(), [1], threading.Lock()
    found = Counter([()])

    def follow(links):
        with lock:
            left[0] += len(links) - 1
            last = left[0] == 0
        for link in links:
            found[link] += 1
            pages.on_next(link)
        if last:
            pages.on_completed()

    with WorkerPool(workers) as pool:
        through = [pool.map(lambda page: page, **options)] * (chain - 1)
        sink = Sink(follow).to(pages.pipe(*through, pool.map(visit, **options)))
        pages.on_next(())
        sink.wait()
    assert len(found) == PAGES
    assert set(found.values()) == {1}
    assert balanced(pool).succeeded == PAGES * chain
