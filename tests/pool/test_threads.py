"""The pool on real threads: bounds, order, delivery, failures, waiting and the end.

Tests of races name the change of the code that they were seen to catch.
"""

import asyncio
import logging
import os
import random
import signal
import subprocess
import sys
import textwrap
import threading
import time
import tracemalloc
from collections import Counter
from concurrent import futures
from contextlib import suppress
from pathlib import Path

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.observer import Observer
from reactivex.subject import Subject

import rxpool
from rxpool import Failure, Success, TaskCancelled, WorkerPool, WouldBlock
from rxpool import operators as ops
from rxpool.errors import PoolClosed
from rxpool.pool._state.flow_state import FlowState
from tests.pool.crew import Oops, Sink, balanced, collect, joined, started
from tests.waiting import WAIT, eventually


def open_gate(gate):
    """Wait at *gate*, longer than anybody waits for what should not wait for it."""
    assert gate.wait(3 * WAIT)


# -- parallel work and its bounds --------------------------------------------------------


@pytest.mark.parametrize(("workers", "concurrency"), [(8, None), (8, 3), (3, 8)])
def test_exactly_so_many_run_at_once(workers, concurrency):
    """All workers run at once, and never more than workers and concurrency allow."""
    expected = min(workers, concurrency or workers)
    barrier = threading.Barrier(expected)
    running, most = Counter(), [0]
    lock = threading.Lock()

    def fn(item):
        with lock:
            running["now"] += 1
            most[0] = max(most[0], running["now"])
        barrier.wait(WAIT)  # breaks unless *expected* run at once
        with lock:
            running["now"] -= 1
        return item

    with WorkerPool(workers) as pool:
        items = range(5 * expected)
        through = pool.map(fn, concurrency=concurrency)
        assert sorted(collect(rx.from_iterable(items).pipe(through))) == list(items)
    assert most == [expected]


def test_work_runs_on_threads_of_the_pool_that_end_with_it():
    """Threads bear the pool's name, are as many as needed, and are gone after `close`."""
    before = set(threading.enumerate())
    pool = WorkerPool(3, name="crew")
    through = pool.map(lambda _: threading.current_thread().name)
    names = set(collect(rx.of(*range(50)).pipe(through)))
    assert names
    assert all(name.startswith("crew-") for name in names)
    assert len(names) <= 3
    assert pool.close() is True
    assert set(threading.enumerate()) <= before


def test_a_pool_that_did_nothing_started_no_thread():
    """Threads are started when they are needed."""
    before = threading.enumerate()
    with WorkerPool(4) as pool:
        assert threading.enumerate() == before
        pool.map(str)
    assert threading.enumerate() == before


@pytest.mark.parametrize("reorder", [2, 5])
def test_a_slow_head_keeps_input_order_bounded(reorder):
    """While the first item is slow, no more than `max_reorder` are started, none comes out."""
    gate = threading.Event()
    pulled = []

    def source():
        for n in range(60):
            pulled.append(n)
            yield n

    def fn(item):
        if item == 0:
            open_gate(gate)
        return item

    with WorkerPool(2) as pool:
        stream = pool.pull(source()).pipe(
            pool.map(fn, order="input", max_reorder=reorder, max_pending=3)
        )
        sink = Sink()
        producer = started(lambda: sink.to(stream))
        # The last of those that may be started settles and starts the next under one lock,
        # so that what is seen then is all there will be.
        eventually(lambda: pool.report().succeeded == reorder - 1)
        eventually(lambda: pool.report().waiting == 3)
        report = pool.report()
        assert report.in_flight - report.waiting == 1
        assert report.accepted == reorder + 3
        assert len(pulled) <= reorder + 3 + 1
        assert sink.values == []
        gate.set()
        assert sink.wait() == list(range(60))
        joined(producer)


@pytest.mark.parametrize("order", ["completion", "input"])
def test_a_slow_subscriber_holds_back_a_synchronous_source(order):
    """While the subscriber is busy, a plain source is read only as far as the bounds allow."""
    gate, entered = threading.Event(), threading.Event()
    pulled = []

    def source():
        for n in range(100):
            pulled.append(n)
            yield n

    def slow(_):
        entered.set()
        open_gate(gate)

    with WorkerPool(2) as pool:
        options = {"order": order, "max_pending": 3}
        if order == "input":
            options["max_reorder"] = 4
        sink = Sink(slow)
        stream = rx.from_iterable(source()).pipe(pool.map(lambda n: n, **options))
        producer = started(lambda: sink.to(stream))
        open_gate(entered)
        # One is being delivered, 2 run or have run, 3 wait for the one or the other, and
        # the producer has one in hand; in input order 4 are started and not fetched.
        most = 1 + {"completion": 2 + 3, "input": 4 + 3}[order] + 1
        eventually(lambda: len(pulled) >= 5)
        assert len(pulled) <= most
        gate.set()
        assert sorted(sink.wait()) == list(range(100))
        joined(producer)
    assert balanced(pool).succeeded == 100


@pytest.mark.parametrize("kind", ["completion", "input", "pull", "submit"])
def test_a_producer_goes_on_as_soon_as_there_is_room(kind):
    """It is woken by the start of a task that waited, not only by its end.

    Catches a worker that looks for producers before it takes the next task.
    """
    gates, runs = [threading.Event() for _ in range(4)], [threading.Event() for _ in range(4)]
    brought = []

    def fn(n):
        runs[n].set()
        open_gate(gates[n])
        return n

    def numbers():
        for n in range(4):
            brought.append(n)
            yield n

    with WorkerPool(1, max_pending=1) as pool:
        sink = Sink()

        def produce():
            if kind == "pull":
                sink.to(pool.pull(numbers()).pipe(pool.map(fn)))
            elif kind == "submit":
                for call in [pool.submit(fn, n) for n in numbers()]:
                    sink.on_next(call.result(WAIT))
                sink.on_completed()
            else:
                sink.to(rx.from_iterable(numbers()).pipe(pool.map(fn, order=kind)))

        producer = started(produce)
        in_hand = kind != "pull"  # that reads on only when there is room
        eventually(lambda: len(brought) == 2 + in_hand)
        for n in range(2):
            gates[n].set()
            open_gate(runs[n + 1])
            eventually(lambda n=n: len(brought) >= min(4, 3 + in_hand + n))
            assert not runs[n + 2 : n + 3][0].is_set()
        for gate in gates:
            gate.set()
        assert sink.wait() == [0, 1, 2, 3]
        joined(producer)


def test_a_full_inbox_holds_back_a_synchronous_source():
    """While all workers are busy, the producer waits with one item in its hand."""
    gate = threading.Event()
    pulled = []

    def source():
        for n in range(50):
            pulled.append(n)
            yield n

    with WorkerPool(2) as pool:
        sink = Sink()
        stream = rx.from_iterable(source()).pipe(
            pool.map(lambda n: open_gate(gate) or n, max_pending=3)
        )
        producer = started(lambda: sink.to(stream))
        eventually(lambda: len(pulled) == 2 + 3 + 1)
        assert pool.report().accepted == 5
        gate.set()
        assert sorted(sink.wait()) == list(range(50))
        joined(producer)


ITEMS = 150_000  # a million were seen to grow by as little; this many fit in a test


@pytest.mark.parametrize("kind", ["completion", "input", "imap"])
def test_memory_does_not_grow_with_the_number_of_items(kind):
    """However many items go through two workers, 10 MB are enough."""
    seen = Counter()
    with WorkerPool(2) as pool:
        tracemalloc.start()
        try:
            if kind == "imap":
                for value in pool.imap(lambda n: n + 1, range(ITEMS)):
                    seen["count"] += 1
                    seen["sum"] += value
            else:

                def add(value):
                    seen["count"] += 1
                    seen["sum"] += value

                source = rx.from_iterable(range(ITEMS))
                ended = threading.Event()
                source.pipe(pool.map(lambda n: n + 1, order=kind)).subscribe(
                    add, on_completed=ended.set
                )
                open_gate(ended)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert seen == {"count": ITEMS, "sum": ITEMS * (ITEMS + 1) // 2}
    assert peak < 10e6


@pytest.mark.parametrize("pending", [0, 1])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("kind", ["plain", "pull"])
def test_a_chain_of_maps_on_one_pool_finishes(workers, pending, kind):
    """Three maps on one small pool finish, whether the source reads on demand or pushes."""
    with WorkerPool(workers, max_pending=pending) as pool:
        source = pool.pull(range(300)) if kind == "pull" else rx.from_iterable(range(300))
        step = pool.map(lambda n: n + 1)
        assert sorted(collect(source.pipe(step, step, step))) == list(range(3, 303))
    assert balanced(pool).succeeded == 900


def test_two_producers_on_a_chain_with_small_bounds():
    """Producers on several threads go through a chain of maps on a pool of one worker."""
    xs = Subject()
    with WorkerPool(1, max_pending=1) as pool:
        step = pool.map(lambda n: n + 1)
        sink = Sink().to(xs.pipe(step, step, step))
        joined(
            *[started(lambda k=k: [xs.on_next(n) for n in range(k, 100, 4)]) for k in range(4)]
        )
        xs.on_completed()
        assert sorted(sink.wait()) == list(range(3, 103))


# -- delivery ----------------------------------------------------------------------------


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

    Catches a `Flow._swift` that does not look again.
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
        (flow,) = pool._engine.flows
        flow._token = Token(meanwhile)
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

    Catches a `_swift` that does not look at `cut_off` after it took a task.
    """
    gate, taken, disposed = (threading.Event() for _ in range(3))
    ran = []

    def fn(item):
        ran.append(item)
        open_gate(gate)

    xs = Subject()
    with WorkerPool(1) as pool:
        subscription = xs.pipe(pool.map(fn)).subscribe()
        (flow,) = pool._engine.flows
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

    Catches a `FlowState.settle` that does not look whether it won the task.
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


# -- what functions and iterators raise --------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [Oops, SystemExit, KeyboardInterrupt, GeneratorExit, StopIteration, asyncio.CancelledError],
)
@pytest.mark.parametrize("asynchronous", [False, True])
def test_whatever_a_function_raises_is_the_failure_of_its_item(kind, asynchronous):
    """Even what would end a thread or a loop is a failure like any other."""

    def fn(item):
        if item == 2:
            raise kind("no")
        return item

    async def coroutine(item):
        return fn(item)

    expected = RuntimeError if kind is StopIteration else kind
    with WorkerPool(1) as pool:
        through = pool.outcomes(coroutine if asynchronous else fn)
        first, second, third = collect(rx.of(1, 2, 3).pipe(through))
        assert (first.value, third.value) == (1, 3)
        assert isinstance(second, Failure)
        assert type(second.error) is expected
        future = pool.submit(coroutine if asynchronous else fn, 2)
        assert type(future.exception(WAIT)) is expected
        assert collect(rx.of(1, 2, 3).pipe(pool.map(fn, on_failure="skip"))) == [1, 3]
    assert balanced(pool).failed == 3


def test_a_failure_keeps_its_traceback():
    """The exception is the very object, with the line where it was raised."""

    def deep(_):
        raise Oops

    with WorkerPool(1) as pool:
        (failure,) = collect(rx.of(1).pipe(pool.outcomes(deep)))
    names = []
    trace = failure.error.__traceback__
    while trace is not None:
        names.append(trace.tb_frame.f_code.co_name)
        trace = trace.tb_next
    assert names[-1] == "deep"


def failing_after(count):
    """An iterator that raises after *count* items."""
    yield from range(count)
    raise Oops("the input")


def test_an_iterator_that_raises_in_pull():
    """What was read comes out, then the error."""
    sink = Sink()
    with WorkerPool(2) as pool:
        sink.to(pool.pull(failing_after(5)).pipe(pool.map(lambda n: n)))
        with pytest.raises(Oops, match="the input"):
            sink.wait()
    assert sorted(sink.values) == [0, 1, 2, 3, 4]


def test_an_iterator_that_raises_in_imap():
    """What was read comes out, then the error, then nothing."""
    got = []
    with WorkerPool(2) as pool:
        results = pool.imap(lambda n: n, failing_after(5))
        with pytest.raises(Oops, match="the input"):
            got.extend(value for value in results if got.append(value))
        assert next(results, "end") == "end"
    assert sorted(got) == [0, 1, 2, 3, 4]


# -- tasks that use their own pool -------------------------------------------------------


def via_result(pool, item):
    """Submit and wait for the result."""
    return pool.submit(str, item).result(WAIT)


def via_many_results(pool, item):
    """Submit several, wait in the wrong order."""
    calls = [pool.submit(str, item) for _ in range(3)]
    return {call.result(WAIT) for call in reversed(calls)}.pop()


def via_exception(pool, item):
    """Submit and wait for the exception."""
    assert isinstance(pool.submit(int, "x").exception(WAIT), ValueError)
    return str(item)


def via_imap(pool, item):
    """Iterate over results."""
    (result,) = set(pool.imap(str, [item] * 5))
    return result


def via_map(pool, item):
    """Run a flow to its end."""
    return rx.of(*[item] * 5).pipe(pool.map(str)).run()


async def via_await(pool, item):
    """Await a call."""
    return await pool.submit(str, item)


def via_two_levels(pool, item):
    """A call that makes a call."""
    return pool.submit(via_result, pool, item).result(WAIT)


def via_observable(pool, item):
    """Return a flow of the same pool."""
    return rx.of(item).pipe(pool.map(str))


WAYS = [
    via_result, via_many_results, via_exception, via_imap, via_map, via_await,
    via_two_levels, via_observable,
]  # fmt: skip


@pytest.mark.parametrize("pending", [1, 100])
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("way", WAYS)
def test_a_task_that_waits_for_its_own_pool(way, workers, pending):
    """A worker that would wait for its own pool runs the waiting task itself."""

    def fn(item):
        return way(pool, item)

    with WorkerPool(workers, max_pending=pending) as pool:
        assert sorted(collect(rx.from_iterable(range(6)).pipe(pool.map(fn)))) == list("012345")
        if way is not via_await:
            assert pool.submit(fn, 7).result(WAIT) in ("7", ["7"])
    balanced(pool)


# -- imap --------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["completion", "input"])
def test_imap_reads_its_input_lazily(order):
    """Never more is read ahead than the workers and `max_pending` hold."""
    state = Counter()

    def source():
        for n in range(500):
            state["read"] += 1
            state["most"] = max(state["most"], state["read"] - state["returned"])
            yield n

    with WorkerPool(2) as pool:
        got = []
        options = {"max_reorder": 4} if order == "input" else {}
        for value in pool.imap(lambda n: n, source(), order=order, max_pending=5, **options):
            got.append(value)
            state["returned"] += 1
    assert sorted(got) == list(range(500))
    # Those whose result has not been returned: running, waiting, done, one in hand.
    assert state["most"] <= {"completion": 2 + 5 + 1, "input": 4 + 5 + 1}[order]


def test_imap_reads_nothing_before_it_is_asked():
    """Making the iterator reads no input."""
    with WorkerPool(1) as pool:
        source = iter(range(5))
        results = pool.imap(str, source)
        assert next(source) == 0
        assert list(results) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("pending", [0, 2, 1024])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.usefixtures("frantic")
def test_imap_under_stress(workers, pending):
    """However waiting for results races with results, each comes once, and nobody waits on."""
    with WorkerPool(workers, max_pending=pending) as pool:
        for _ in range(20):
            assert sorted(pool.imap(lambda n: n, range(60))) == list(range(60))


def test_imap_in_input_order():
    """Results in the order of the input."""
    with WorkerPool(4) as pool:
        assert list(pool.imap(lambda n: n * n, range(1000), order="input")) == [
            n * n for n in range(1000)
        ]


def test_imap_of_nothing():
    """An empty input gives an empty iterator."""
    with WorkerPool(1) as pool:
        assert list(pool.imap(str, [])) == []


@pytest.mark.parametrize("way", ["break", "del", "close", "with"])
def test_leaving_imap_cancels_the_rest(way):
    """Leaving the loop, dropping the iterator and closing it cancel what is not done."""
    gate = threading.Event()
    with WorkerPool(1) as pool:

        def fn(n):
            return open_gate(gate) if n == 3 else n

        match way:
            case "break":
                for value in pool.imap(fn, range(100), max_pending=5, order="input"):
                    if value == 2:
                        break
            case "del":
                results = pool.imap(fn, range(100), max_pending=5)
                assert [next(results) for _ in range(3)] == [0, 1, 2]
                del results
            case "close":
                results = pool.imap(fn, range(100), max_pending=5)
                assert [next(results) for _ in range(3)] == [0, 1, 2]
                results.close()
                assert list(results) == []
            case "with":
                with pool.imap(fn, range(100), max_pending=5) as results:
                    assert [next(results) for _ in range(3)] == [0, 1, 2]
                assert list(results) == []
        report = balanced(pool)
        assert report.succeeded == 3
        assert report.cancelled == report.accepted - 3 > 0
        # A replaced thread serves others while the old one still hangs.
        assert pool.submit(str, 1).result(WAIT) == "1"
        gate.set()


def test_imap_raises_the_first_failure_and_ends():
    """By default a failed item ends the iteration with its error."""
    with WorkerPool(1) as pool:
        results = pool.imap(lambda n: 1 // n, [1, 0, 1, 1])
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert list(results) == []
    balanced(pool)


def test_imap_with_failures_left_out_or_put_aside():
    """`on_failure` is that of `map`."""
    letters = []
    with WorkerPool(2) as pool:
        options = {"on_failure": "skip", "order": "input"}
        assert list(pool.imap(lambda n: 6 // n, [1, 0, 2], **options)) == [6, 3]
        results = pool.imap(lambda n: 6 // n, [1, 0, 2], on_failure=Observer(letters.append))
        assert sorted(results) == [3, 6]
    assert [failure.item for failure in letters] == [0]


def test_imap_of_functions_that_give_several_results():
    """The items of an Observable are results one by one."""
    with WorkerPool(1) as pool:
        assert list(pool.imap(lambda n: rx.of(n, -n), [1, 2])) == [1, -1, 2, -2]


def test_imap_from_asyncio():
    """``async for`` over results leaves the loop free and ends as the loop does."""

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        clock = asyncio.create_task(tick())
        async with WorkerPool(2) as pool:
            got = [value async for value in pool.imap(lambda n: n + 1, range(100))]
            assert sorted(got) == list(range(1, 101))
            with pytest.raises(ZeroDivisionError):
                async for _ in pool.imap(lambda n: 1 // n, [1, 0], concurrency=1):
                    pass
            gate = threading.Event()
            results = aiter(pool.imap(lambda n: n and open_gate(gate), range(9), concurrency=1))
            assert await anext(results) == 0
            await results.aclose()
            gate.set()
        clock.cancel()
        assert ticks > 0
        assert balanced(pool).cancelled == 8

    asyncio.run(main())


# -- submit ------------------------------------------------------------------------------


def test_submit_gives_the_result_or_the_exception():
    """A future has what the call gave."""
    with WorkerPool(2) as pool:
        assert pool.submit(divmod, 7, 2).result(WAIT) == (3, 1)
        assert pool.submit(int, "11", base=2).result(WAIT) == 3
        assert pool.submit(lambda: None).result(WAIT) is None
        failed = pool.submit(int, "x")
        assert isinstance(failed.exception(WAIT), ValueError)
        with pytest.raises(ValueError, match="'x'"):
            failed.result(WAIT)


async def one():
    """Give 1, a little later."""
    await asyncio.sleep(0)
    return 1


def test_submit_of_other_kinds_of_functions():
    """What an async function returns is awaited; an Observable gives a list."""
    with WorkerPool(1) as pool:
        assert pool.submit(one).result(WAIT) == 1
        assert pool.submit(rx.of, 1, 2).result(WAIT) == [1, 2]


def test_a_call_that_waits_can_be_cancelled():
    """Cancelling takes a waiting call out of the books, and wakes those who wait for it."""
    gate, running = threading.Event(), threading.Event()
    with WorkerPool(1) as pool:
        first = pool.submit(lambda: (running.set(), open_gate(gate)))
        open_gate(running)
        second = pool.submit(int, 2)
        assert second.cancel() is True
        assert second.cancelled()
        assert first.cancel() is False
        assert futures.wait([second], WAIT).done == {second}
        with pytest.raises(futures.CancelledError):
            second.result(WAIT)
        gate.set()
        first.result(WAIT)
        assert first.cancel() is False
    report = balanced(pool)
    assert (report.succeeded, report.cancelled) == (1, 1)


@pytest.mark.usefixtures("frantic")
def test_cancelling_races_with_the_start():
    """A future is either cancelled and never ran, or ran; the books agree.

    Catches a `withdraw` that does not look whether the task runs.
    """
    ran = []
    with WorkerPool(2) as pool:
        calls = []
        for n in range(2000):
            calls.append(pool.submit(ran.append, n))
            if n % 2:
                calls[-2].cancel()
                calls[-1].cancel()
        futures.wait(calls, WAIT)
        cancelled = [n for n, call in enumerate(calls) if call.cancelled()]
        assert set(ran) | set(cancelled) == set(range(2000))
        assert len(ran) + len(cancelled) == 2000
    report = balanced(pool)
    assert (report.succeeded, report.cancelled) == (len(ran), len(cancelled))


def test_futures_work_with_concurrent_futures():
    """`wait` and `as_completed` take them; callbacks are called."""
    called = []
    with WorkerPool(3) as pool:
        calls = [pool.submit(str, n) for n in range(30)]
        calls[0].add_done_callback(called.append)
        assert sorted(f.result() for f in futures.as_completed(calls, WAIT)) == sorted(
            map(str, range(30))
        )
        done, waiting = futures.wait(calls, WAIT)
        assert (len(done), len(waiting)) == (30, 0)
        eventually(lambda: called == [calls[0]])


def test_futures_can_be_awaited():
    """``await`` gives the result or raises, and leaves the loop free meanwhile."""

    async def main():
        gate = threading.Event()
        async with WorkerPool(2) as pool:
            held = pool.submit(lambda: gate.wait(WAIT))
            assert await pool.submit(str, 1) == "1"
            with pytest.raises(ValueError, match="'x'"):
                await pool.submit(int, "x")
            gate.set()
            assert await held is True
            assert await asyncio.gather(*(pool.submit(abs, -n) for n in range(20))) == list(
                range(20)
            )

    asyncio.run(main())


@pytest.mark.usefixtures("frantic")
def test_many_threads_submit():
    """Calls from many threads through few workers: each result to its own future."""
    wrong = []
    with WorkerPool(2, max_pending=3) as pool:

        def caller(k):
            for n in range(100):
                if pool.submit(divmod, k, n + 1).result(WAIT) != divmod(k, n + 1):
                    wrong.append((k, n))

        joined(*[started(caller, k) for k in range(8)])
    assert wrong == []
    assert balanced(pool).succeeded == 800


def test_submit_waits_for_room():
    """With `max_pending` calls waiting, `submit` holds its caller back."""
    gate = threading.Event()
    calls = []
    with WorkerPool(1, max_pending=2) as pool:
        producer = started(
            lambda: [calls.append(pool.submit(gate.wait, WAIT)) for _ in range(5)]
        )
        eventually(lambda: len(calls) == 3)
        assert pool.report().waiting == 2
        assert producer.is_alive()
        gate.set()
        joined(producer)
        assert [call.result(WAIT) for call in calls] == [True] * 5


def test_on_an_event_loop_nothing_blocks():
    """Where waiting would block the loop, `WouldBlock` says so instead."""
    gate = threading.Event()

    async def main():
        pool = WorkerPool(1, max_pending=1)
        calls = [pool.submit(gate.wait, WAIT) for _ in range(2)]
        with pytest.raises(WouldBlock, match="max_pending"):
            pool.submit(str, 1)
        sink = Sink().to(rx.of(1, 2, 3).pipe(pool.map(str)))
        gate.set()
        assert await asyncio.gather(*calls) == [True, True]
        await asyncio.to_thread(sink._ended.wait, WAIT)
        assert isinstance(sink.error, WouldBlock)
        # A source that reads on demand needs no waiting.
        got = asyncio.Queue()
        loop = asyncio.get_running_loop()

        async def numbers():
            for n in range(50):
                yield n

        pool.pull(numbers()).pipe(pool.map(lambda n: n)).subscribe(
            lambda n: loop.call_soon_threadsafe(got.put_nowait, n),
            on_completed=lambda: loop.call_soon_threadsafe(got.put_nowait, None),
        )
        values = []
        while (value := await asyncio.wait_for(got.get(), WAIT)) is not None:
            values.append(value)
        assert sorted(values) == list(range(50))
        await asyncio.to_thread(pool.close)

    asyncio.run(main())


# -- leaving -----------------------------------------------------------------------------


def test_dispose_while_work_hangs_leaves_the_pool_usable():
    """Threads that hang in work nobody waits for are replaced, and end when it does."""
    gate = threading.Event()
    hanging = threading.Semaphore(0)

    def hang(_):
        hanging.release()
        open_gate(gate)

    with WorkerPool(2) as pool:
        stuck = rx.of(1, 2, 3).pipe(pool.map(hang)).subscribe()
        for _ in range(2):
            assert hanging.acquire(timeout=WAIT)
        stuck.dispose()
        assert balanced(pool).cancelled == 3
        # Both slots are free again: two run at once.
        barrier = threading.Barrier(2)
        calls = [pool.submit(barrier.wait, WAIT) for _ in range(2)]
        assert sorted(call.result(WAIT) for call in calls) == [0, 1]
        gate.set()
    assert balanced(pool).succeeded == 2


def test_results_of_abandoned_work_go_nowhere():
    """What abandoned work returns or raises is dropped, and counted no second time."""
    gate, running = threading.Event(), threading.Semaphore(0)
    got, ended = [], threading.Semaphore(0)

    def late(n):
        running.release()
        open_gate(gate)
        try:
            return 1 // n
        finally:
            ended.release()

    with WorkerPool(2) as pool:
        subscription = rx.of(0, 1).pipe(pool.map(late)).subscribe(got.append, got.append)
        for _ in range(2):
            assert running.acquire(timeout=WAIT)
        subscription.dispose()
        gate.set()
        for _ in range(2):
            assert ended.acquire(timeout=WAIT)
        assert pool.submit(str, 1).result(WAIT) == "1"
    eventually(lambda: pool._engine.backend.abandoned == 0)
    assert got == []
    report = balanced(pool)
    assert (report.succeeded, report.cancelled) == (1, 2)


# -- the end of the pool -----------------------------------------------------------------


def test_close_finishes_what_was_accepted():
    """`close` waits for accepted work, completes the streams, and takes nothing more."""
    gate, xs = threading.Event(), Subject()
    pool = WorkerPool(1)
    sink = Sink().to(xs.pipe(pool.map(lambda n: open_gate(gate) or n)))
    for n in range(5):
        xs.on_next(n)
    answers = []
    closer = started(lambda: answers.append(pool.close()))
    eventually(lambda: xs.observers == [])
    with pytest.raises(PoolClosed):
        pool.submit(str, 1)
    xs.on_next(9)
    assert answers == []
    gate.set()
    joined(closer)
    assert answers == [True]
    assert sink.completed
    assert sink.values == [0, 1, 2, 3, 4]
    assert pool.close() is True


def test_close_lets_a_blocked_producer_go():
    """A producer that waits for room returns, its item is not taken, what was is finished."""
    gate = threading.Event()
    xs = Subject()
    pool = WorkerPool(1, max_pending=1)
    sink = Sink().to(xs.pipe(pool.map(lambda n: open_gate(gate) or n)))
    pushed = []

    def push():
        for n in range(10):
            xs.on_next(n)
            pushed.append(n)

    producer = started(push)
    eventually(lambda: len(pushed) == 2)
    closer = started(pool.close)
    joined(producer)
    gate.set()
    joined(closer)
    assert sink.wait() == [0, 1]
    assert balanced(pool).accepted == 2


def test_close_completes_an_endless_source():
    """A source without an end is cut, and reading it stops."""
    read = []

    def endless():
        while True:
            read.append(None)
            yield len(read)

    pool = WorkerPool(2, max_pending=2)
    sink = Sink()
    reader = started(lambda: sink.to(pool.pull(endless()).pipe(pool.map(lambda n: n))))
    eventually(lambda: len(sink.values) > 10)
    assert pool.close() is True
    joined(reader)
    assert sorted(sink.wait()) == list(range(1, balanced(pool).accepted + 1))
    assert len(read) <= balanced(pool).accepted + 1


def test_close_drains_a_chain_from_the_top():
    """What operators between two maps hold comes out and is worked on before the end."""
    gate, xs = threading.Event(), Subject()
    pool = WorkerPool(2)
    sink = Sink().to(
        xs.pipe(pool.map(lambda n: open_gate(gate) or n), ops.batch(100, 600.0), pool.map(sum))
    )
    for n in range(10):
        xs.on_next(n)
    closer = started(pool.close)
    eventually(lambda: xs.observers == [])
    gate.set()
    joined(closer)
    assert sink.wait() == [45]


def test_close_finishes_flows_that_are_merged_with_others():
    """Accepted work upstream of an operator that subscribes later is finished too."""
    gate, xs, ys = threading.Event(), Subject(), Subject()
    pool = WorkerPool(2)
    first = xs.pipe(pool.map(lambda n: open_gate(gate) or n))
    sink = Sink().to(rx.merge(first, ys).pipe(pool.map(str)))
    xs.on_next(1)
    xs.on_next(2)
    closer = started(pool.close)
    eventually(lambda: xs.observers == [])
    gate.set()
    joined(closer)
    assert sorted(sink.wait()) == ["1", "2"]
    assert balanced(pool).cancelled == 0
    assert ys.observers == []


def test_close_finishes_a_flow_inside_an_accepted_task():
    """What an accepted item does with the pool belongs to it, and is not cut short."""
    gate, inside = threading.Event(), threading.Event()
    pool = WorkerPool(2)

    def outer(n):
        inside.set()
        open_gate(gate)
        return rx.from_iterable(range(n)).pipe(pool.map(lambda k: k))

    def iterate(n):
        results = pool.imap(lambda k: k, range(n), max_pending=1)
        first = next(results)
        inside.set()
        open_gate(gate)
        return first + sum(results)

    sink = Sink().to(rx.of(20).pipe(pool.map(iterate)))
    open_gate(inside)
    closer = started(pool.close)
    eventually(lambda: pool._engine.closing)
    gate.set()
    joined(closer)
    assert sink.wait() == [sum(range(20))]
    assert outer is not None


def test_close_with_results_nobody_fetches():
    """An iterator that is not read on keeps no pool from closing; its results stay."""
    pool = WorkerPool(2)
    results = pool.imap(lambda n: n, range(10), order="input")
    assert next(results) == 0
    assert pool.close() is True
    rest = list(results)
    assert rest == list(range(1, len(rest) + 1))
    assert balanced(pool).succeeded == len(rest) + 1


def test_close_past_its_timeout_terminates():
    """After the timeout the rest is cancelled, streams end, and the answer is False."""
    gate, running = threading.Event(), threading.Event()
    pool = WorkerPool(1)
    sink = Sink().to(
        rx.of(1, 2).pipe(pool.outcomes(lambda n: (running.set(), open_gate(gate))))
    )
    open_gate(running)
    assert pool.close(0.05) is False
    outcomes = sink.wait()
    assert [o.item for o in outcomes] == [1, 2]
    assert all(isinstance(o.error, TaskCancelled) for o in outcomes)
    assert pool.close() is True
    gate.set()


def test_close_with_a_timeout_that_suffices():
    """What ends in time is finished, and the answer is True."""
    pool = WorkerPool(1)
    assert pool.submit(str, 1).result(WAIT) == "1"
    sink = Sink().to(rx.never().pipe(pool.map(str)))
    assert pool.close(WAIT) is True
    assert sink.completed


@pytest.mark.parametrize("how", ["task", "subscriber", "terminate"])
def test_closing_from_a_worker_does_not_deadlock(how):
    """A task or a subscriber may close its own pool."""
    pool = WorkerPool(2)
    sink = Sink()
    ended = threading.Event()
    match how:
        case "task":
            pool.submit(pool.close).result(WAIT)
        case "terminate":
            with suppress(TaskCancelled):
                pool.submit(pool.terminate).result(WAIT)
        case "subscriber":
            xs = Subject()
            xs.pipe(pool.map(str)).subscribe(lambda _: pool.close(), on_completed=ended.set)
            xs.on_next(1)
            open_gate(ended)
    with pytest.raises(PoolClosed):
        pool.submit(str, 1)
    sink.to(rx.of(1).pipe(pool.map(str)))
    with pytest.raises(PoolClosed):
        sink.wait()
    assert pool.close(WAIT) is True


def test_many_threads_close_at_once():
    """All of them are answered."""
    gate = threading.Event()
    pool = WorkerPool(1)
    call = pool.submit(gate.wait, WAIT)
    answers = []
    closers = [started(lambda: answers.append(pool.close())) for _ in range(4)]
    eventually(lambda: pool._engine.closing)
    gate.set()
    joined(*closers)
    assert answers == [True] * 4
    assert call.result(0) is True


def test_leaving_the_block_closes():
    """The end of the ``with`` block waits for what was accepted."""
    got = []
    with WorkerPool(2) as pool:
        rx.from_iterable(range(500)).pipe(pool.map(lambda n: n)).subscribe(got.append)
    assert sorted(got) == list(range(500))


def test_leaving_the_block_by_an_exception_terminates():
    """What waits and runs is cancelled; the exception goes on."""
    gate, running = threading.Event(), threading.Event()

    def use():
        with WorkerPool(1) as pool:
            calls.append(pool.submit(lambda: (running.set(), open_gate(gate))))
            calls.append(pool.submit(str, 1))
            open_gate(running)
            raise Oops

    calls = []
    with pytest.raises(Oops):
        use()
    for call in calls:
        assert isinstance(call.exception(WAIT), TaskCancelled)
    gate.set()


def test_async_with():
    """``async with`` closes without blocking the loop, and terminates on an exception."""

    async def main():
        gate = threading.Event()
        loop = asyncio.get_running_loop()
        async with WorkerPool(1) as pool:
            call = pool.submit(gate.wait, WAIT)
            # Only a loop that runs while the block is being left opens the gate.
            loop.call_soon(gate.set)
        assert call.result(0) is True

    async def fail():
        async with WorkerPool(1) as pool:
            calls.append(pool.submit(hold.wait, WAIT))
            raise Oops

    calls, hold = [], threading.Event()
    asyncio.run(main())
    with pytest.raises(Oops):
        asyncio.run(fail())
    assert isinstance(calls[0].exception(WAIT), TaskCancelled)
    hold.set()


def test_terminate_settles_everything_at_once():
    """Futures, streams and iterators all end, whatever hangs."""
    gate, running = threading.Event(), threading.Semaphore(0)

    def hang(_=None):
        running.release()
        open_gate(gate)

    pool = WorkerPool(3)
    call = pool.submit(hang)
    waiting = [pool.submit(str, n) for n in range(0)]
    sink = Sink().to(rx.of(1, 2).pipe(pool.outcomes(hang, concurrency=1)))
    results = pool.imap(hang, range(3), concurrency=1, on_failure="skip")
    reader_got = []

    def read():
        with pytest.raises(PoolClosed, match="terminated"):
            reader_got.extend(results)

    reader = started(read)
    for _ in range(3):
        assert running.acquire(timeout=WAIT)
    pool.terminate()
    assert isinstance(call.exception(0), TaskCancelled)
    assert [type(o) for o in sink.wait()] == [Failure, Failure]
    joined(reader)
    assert reader_got == []
    assert waiting == []
    gate.set()
    assert balanced(pool).succeeded == 0


def test_a_pool_that_terminates_frees_a_blocked_producer():
    """A producer that waits for room returns."""
    gate, xs = threading.Event(), Subject()
    pool = WorkerPool(1, max_pending=1)
    sink = Sink().to(xs.pipe(pool.outcomes(lambda n: open_gate(gate))))
    producer = started(lambda: [xs.on_next(n) for n in range(10)])
    eventually(lambda: pool.report().accepted == 2)
    pool.terminate()
    joined(producer)
    assert len(sink.wait()) == 2
    gate.set()


@pytest.mark.usefixtures("frantic")
def test_closing_races_with_producers():
    """Whatever a closing pool accepted comes out, whatever it did not is not counted.

    Catches a `Flow._end` that does not look at what is still inside.
    """
    for _ in range(60):
        xs = Subject()
        pool = WorkerPool(3, max_pending=3)
        sink = Sink().to(xs.pipe(pool.map(lambda n: n)))
        push = lambda xs=xs: [xs.on_next(n) for n in range(50)]  # noqa: E731
        producers = [started(push) for _ in range(3)]
        eventually(lambda sink=sink: len(sink.values) > 5)
        assert pool.close(WAIT) is True
        joined(*producers)
        assert len(sink.wait()) == balanced(pool).accepted == balanced(pool).succeeded


# -- whole programs ----------------------------------------------------------------------


@pytest.fixture
def program():
    """Starts Python programs that see this package, and sees to their end."""
    processes = []

    def start(code):
        root = str(Path(rxpool.__file__).parents[1])
        process = subprocess.Popen(
            [sys.executable, "-c", textwrap.dedent(code)],
            env=os.environ | {"PYTHONPATH": root},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def test_a_pool_left_open_is_closed_at_exit(program):
    """At interpreter exit accepted work is finished, subscribers get it, nothing is printed."""
    process = program(
        """
        import sys, threading
        import reactivex as rx
        from rxpool import WorkerPool, operators as ops

        def say(what):
            sys.stdout.write(f"{what}\\n")

        pool = WorkerPool(2)
        go = threading.Event()
        rx.from_iterable(range(10)).pipe(
            pool.map(lambda n: go.wait(10) and n), ops.batch(100, 600.0), pool.map(sum)
        ).subscribe(say, on_completed=lambda: say("completed"))
        call = pool.submit(str, 1)
        call.add_done_callback(lambda _: say("called"))
        threading.Timer(0.1, go.set).start()
        """
    )
    out, err = process.communicate(timeout=WAIT)
    assert err == ""
    assert sorted(out.split()) == ["45", "called", "completed"]
    assert process.returncode == 0


def test_an_unused_pool_at_exit(program):
    """A pool that did nothing, and one dropped while it was open, keep nobody."""
    process = program(
        """
        from rxpool import WorkerPool
        kept = WorkerPool(2)
        def use():
            pool = WorkerPool(2)
            assert pool.submit(str, 1).result() == "1"
        use()
        print("end")
        """
    )
    out, err = process.communicate(timeout=WAIT)
    assert (out, err, process.returncode) == ("end\n", "", 0)


INTERRUPTED = {
    "in a stream": """
        with WorkerPool(2) as pool:
            rx.from_iterable(range(10**9)).pipe(pool.map(work)).subscribe(tell)
    """,
    "in a stream of long tasks": """
        with WorkerPool(2) as pool:
            rx.from_iterable(range(10**9)).pipe(pool.map(long)).subscribe(tell)
    """,
    "in pull": """
        with WorkerPool(2) as pool:
            pool.pull(range(10**9)).pipe(pool.map(long)).subscribe(tell)
    """,
    "in imap": """
        with WorkerPool(2) as pool:
            for value in pool.imap(work, range(10**9)):
                tell(value)
    """,
    "in imap of long tasks": """
        with WorkerPool(2) as pool:
            for value in pool.imap(long, range(10**9)):
                pass
    """,
    "waiting for a result": """
        with WorkerPool(2) as pool:
            pool.submit(long, 1).result()
    """,
    "while it closes": """
        pool = WorkerPool(1)
        pool.submit(long, 1)
        pool.close()
    """,
}


@pytest.mark.parametrize("body", INTERRUPTED.values(), ids=INTERRUPTED)
def test_interrupting_a_program(program, body):
    """Ctrl-C ends a program that runs a pool within two seconds, by KeyboardInterrupt."""
    code = """
        import signal, time
        import reactivex as rx
        from rxpool import WorkerPool
        # A program that was started in the background may have inherited to ignore it.
        signal.signal(signal.SIGINT, signal.default_int_handler)
        def tell(_=None):
            if not told:
                told.append(1)
                print("go", flush=True)
        told = []
        def work(n):
            time.sleep(0.001)
            return n
        def long(n):
            tell()
            time.sleep(600)
    """
    process = program(textwrap.dedent(code) + textwrap.dedent(body))
    assert process.stdout.readline() == "go\n"
    began = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=WAIT)
    took = time.monotonic() - began
    assert "KeyboardInterrupt" in err.splitlines()  # behind it may stand what was cancelled
    assert err.count("Traceback") == 1
    assert took < 20.0  # and not as long as the tasks


def test_success_is_exported():
    """The names that outcomes are matched by are public."""
    assert rxpool.Success is Success
