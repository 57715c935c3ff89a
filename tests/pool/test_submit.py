"""`submit` on threads: results, cancelling, waiting for room, event loops."""

import asyncio
import threading
from concurrent import futures

import pytest
import reactivex as rx

from rxpool import WorkerPool, WouldBlock
from tests.pool.crew import Sink, balanced, joined, open_gate, started
from tests.waiting import WAIT, eventually


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
