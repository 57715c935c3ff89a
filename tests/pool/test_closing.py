"""The end of a pool on threads: by `close`, by ``with`` and by `terminate`."""

import asyncio
import threading
from contextlib import suppress

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import Failure, TaskCancelled, WorkerPool
from rxpool import operators as ops
from rxpool.errors import PoolClosed
from tests.pool.crew import Oops, Sink, balanced, joined, open_gate, started
from tests.waiting import WAIT, eventually


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
    eventually(lambda: pool._engine.registry.closing)
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
    eventually(lambda: pool._engine.registry.closing)
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
