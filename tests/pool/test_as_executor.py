"""`pool.as_executor`: the contract of `concurrent.futures.Executor` over a pool."""

import asyncio
import threading
from concurrent.futures import CancelledError, Executor, as_completed, wait

import pytest

from rxpool import PoolClosed, WorkerCrashed, WorkerPool
from tests import jobs
from tests.waiting import WAIT

PLACES = pytest.mark.parametrize("on", ["threads", "processes", "asyncio", "inline"])


@PLACES
def test_submit_and_map(on):
    """Values and errors; the results of `map` are in the order of the items."""
    with WorkerPool(1 if on == "inline" else 2, on=on) as pool:
        with pool.as_executor() as executor:
            assert isinstance(executor, Executor)
            assert executor.submit(pow, 2, exp=5).result(WAIT) == 32
            assert isinstance(executor.submit(jobs.meet, "Oops").exception(WAIT), jobs.Oops)
            assert list(executor.map(jobs.double, range(20))) == list(range(0, 40, 2))
            calls = [executor.submit(jobs.same, n) for n in range(5)]
            assert {call.result() for call in as_completed(calls, WAIT)} == set(range(5))
            assert len(wait(calls, WAIT).done) == 5
        assert pool.submit(jobs.double, 1).result(WAIT) == 2  # the pool is open
    assert pool.report().in_flight == 0


def test_a_crash_costs_one_call():
    """The executor goes on."""
    with WorkerPool(2, on="processes") as pool, pool.as_executor() as executor:
        calls = [executor.submit(jobs.end_odd, n) for n in (0, 1, 2)]
        assert isinstance(calls[1].exception(WAIT), WorkerCrashed)
        assert [calls[0].result(WAIT), calls[2].result(WAIT)] == [0, 2]


def test_shutdown_waits_and_refuses_more():
    """As the standard library's say it; twice does no harm."""
    gate, begun = threading.Event(), threading.Event()
    with WorkerPool(1) as pool:
        executor = pool.as_executor()

        def hold():
            begun.set()
            return gate.wait(WAIT)

        call = executor.submit(hold)
        assert begun.wait(WAIT)
        executor.shutdown(wait=False)
        assert not call.done()
        with pytest.raises(RuntimeError, match="after shutdown"):
            executor.submit(jobs.double, 1)
        threading.Timer(0.01, gate.set).start()
        executor.shutdown()
        assert call.done()
        executor.shutdown()
        assert call.result() is True
    assert pool.report().succeeded == 1


def test_shutdown_cancels_what_has_not_begun():
    """What runs is waited for."""
    gate, begun = threading.Event(), threading.Event()

    def hold():
        begun.set()
        return gate.wait(WAIT)

    with WorkerPool(1) as pool:
        executor = pool.as_executor()
        first = executor.submit(hold)
        assert begun.wait(WAIT)
        others = [executor.submit(jobs.double, n) for n in range(5)]
        executor.shutdown(wait=False, cancel_futures=True)
        assert all(call.cancelled() for call in others)
        with pytest.raises(CancelledError):
            others[0].result(WAIT)
        gate.set()
        assert first.result(WAIT) is True


def test_many_calls_never_wait():
    """More than `max_pending`, also from an event loop, while all workers are busy."""

    async def main():
        loop, gate = asyncio.get_running_loop(), threading.Event()
        async with WorkerPool(2, max_pending=1) as pool:
            executor = pool.as_executor()
            for _ in range(2):
                executor.submit(gate.wait, WAIT)
            calls = [loop.run_in_executor(executor, jobs.double, n) for n in range(2000)]
            gate.set()
            return await asyncio.gather(*calls)

    assert asyncio.run(main()) == list(range(0, 4000, 2))


def test_shutdown_in_a_task_of_the_pool():
    """The task runs what it waits for itself."""
    with WorkerPool(1) as pool:

        def inside():
            with pool.as_executor() as executor:
                return list(executor.map(jobs.double, range(5)))

        assert pool.submit(inside).result(WAIT) == [0, 2, 4, 6, 8]


def test_a_closed_pool():
    """Gives no executor, and takes no calls of one."""
    with WorkerPool(1) as pool:
        executor = pool.as_executor()
    with pytest.raises(PoolClosed):
        executor.submit(jobs.double, 1)
    with pytest.raises(PoolClosed):
        pool.as_executor()
    executor.shutdown()


def test_it_keeps_the_pool():
    """Whoever has the executor can use it."""
    executor = WorkerPool(1).as_executor()
    assert executor.submit(jobs.double, 1).result(WAIT) == 2
    executor.shutdown()


def test_executors_that_were_shut_down_leave_only_counts():
    """However many there were."""
    with WorkerPool(1) as pool:
        before = len(pool._engine.registry.standing)
        for _ in range(5):
            with pool.as_executor() as executor:
                executor.submit(jobs.double, 1)
    assert len(pool._engine.registry.standing) == before
    assert pool.report().succeeded == 5
