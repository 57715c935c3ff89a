"""The pool on real threads: how much runs at once, and how much is held."""

import threading
from collections import Counter

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import WorkerPool
from tests.pool.crew import Sink, balanced, collect, joined, open_gate, started
from tests.waiting import WAIT, eventually


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
