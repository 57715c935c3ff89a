"""Errors that would end more than their item: a coroutine, a loop, a worker, a batch."""

import asyncio
import concurrent.futures
import threading

import pytest
from reactivex.scheduler.eventloop import AsyncIOScheduler

from rxpool import WorkerPool
from rxpool.faces import BatchProcessor, ThrottleManager
from tests import jobs
from tests.conformance.lanes import KINDS, balanced
from tests.ends.stops import FATES, check, leave, raised_by
from tests.waiting import WAIT

pytestmark = pytest.mark.timeout(60)


async def await_one_that_exits(how):
    """Wait for a future that fails with GeneratorExit, and do something about it, or not."""
    if how == "fine":
        return how
    loop = asyncio.get_running_loop()
    failing = loop.create_future()
    loop.call_soon(failing.set_exception, GeneratorExit("x"))
    try:
        return await failing
    except GeneratorExit:
        if how == "value":
            return how
        if how == "waits":
            await asyncio.sleep(0.001)
        raise


@pytest.mark.parametrize("name", ["asyncio", "running-loop"])
def test_what_a_coroutine_awaits_fails_with_it(name, tmp_path):
    """It is the failure of that item, though Python throws it into coroutines to end them."""
    lane = KINDS[name](name, tmp_path)
    with lane.pool(1) as pool:
        for _ in range(3):
            error = pool.submit(await_one_that_exits, "raises").exception(WAIT)
            assert type(error) is GeneratorExit
            assert pool.submit(await_one_that_exits, "value").result(WAIT) == "value"
            error = pool.submit(await_one_that_exits, "waits").exception(WAIT)
            assert isinstance(error, (GeneratorExit, RuntimeError))  # too late to wait
            assert pool.submit(await_one_that_exits, "fine").result(WAIT) == "fine"
    assert balanced(pool).failed == 6
    lane.end()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_loop_that_is_a_scheduler_runs_on(kind):
    """A coroutine of the pool fails, and nothing else on the loop does."""

    async def main():
        loop = asyncio.get_running_loop()
        async with WorkerPool(1, on=AsyncIOScheduler(loop)) as pool:
            check(await raised_by(pool.submit(jobs.meet_later, kind.__name__)), kind)
            return await pool.submit(jobs.meet_later, "x")

    assert asyncio.run(main()) == "x"


@pytest.mark.parametrize("kind", FATES)
def test_leaving_a_worker_of_the_pool(kind):
    """Its block waits for the calls, and is not left by what one of them raised."""
    gate = threading.Event()

    def fn(fate):
        gate.wait(WAIT)
        return jobs.meet(fate)

    async def main():
        with WorkerPool(1) as pool:
            async with pool.worker(fn) as worker:
                futures = [worker.execute(fate) for fate in (kind.__name__, "x")]
                asyncio.get_running_loop().call_soon(gate.set)
            assert [future.done() for future in futures] == [True, True]
            check(futures[0].exception(), kind)

    asyncio.run(main())


def test_a_coroutine_that_waits_for_a_worker_can_be_cancelled(tmp_path):
    """What runs goes on, what waits is taken back, and the cancellation is heard."""
    folder = str(tmp_path)

    async def leave(pool, futures):
        async with pool.worker(lambda item: jobs.hold(folder, item)) as worker:
            futures += [worker.execute(1), worker.execute(2)]

    async def main():
        with WorkerPool(1) as pool:
            futures = []
            task = asyncio.create_task(leave(pool, futures))
            while not jobs.notes(folder):
                await asyncio.sleep(0.001)
            task.cancel()
            assert type(await raised_by(task)) is asyncio.CancelledError
            assert futures[1].cancelled()
            jobs.open_gate(folder, "*")
            assert await futures[0] == 1

    asyncio.run(main())


def taken_back(_):
    """Fail as code does that waits for a future that was cancelled."""
    raise concurrent.futures.CancelledError


def test_a_list_whose_item_raises_what_futures_raise():
    """It failed; it was not taken back."""
    with WorkerPool(1) as pool:
        batch = pool.worker(taken_back).execute_batch([1, 2])
        assert isinstance(batch.exception(WAIT), concurrent.futures.CancelledError)
        assert not batch.cancelled()


def test_a_callback_that_raises_it(lane):
    """The worker that told it of the result goes on, and `faults` says so."""
    with lane.make(1) as pool:
        faults = []
        pool.faults.subscribe(faults.append)
        future = pool.submit(lane.hold, "a")
        future.add_done_callback(leave)
        lane.open("a")
        lane.until(lambda: future.done() and faults)
        assert [type(fault) for fault in faults] == [GeneratorExit]
        after = pool.submit(jobs.double, 2)
        lane.until(after.done)
        assert after.result() == 4


def test_a_listener_that_raises_it(lane):
    """It hears no more, and the work goes on, whatever it listened to."""
    with lane.make(1, monitor=leave) as pool:
        faults = []
        pool.progress.subscribe(leave)
        pool.faults.subscribe(faults.append)
        pool.faults.subscribe(leave)
        assert lane.collect(pool.pull([1, 2, 3]).pipe(pool.map(jobs.tell))) == [1, 2, 3]
        lane.until(lambda: faults)
        assert {type(fault) for fault in faults} == {GeneratorExit}


def test_progress_of_a_list_that_raises_it():
    """The list has its results, and `faults` says so."""
    with WorkerPool(1) as pool:
        faults = []
        pool.faults.subscribe(faults.append)
        batch = pool.worker(jobs.double).execute_batch([1, 2], on_progress=leave)
        assert batch.result(WAIT) == [2, 4]
    assert [type(fault) for fault in faults] == [GeneratorExit] * 2


def test_callbacks_of_faces_that_raise_it():
    """The next call is made."""
    gate = threading.Event()
    with ThrottleManager(1000, max_concurrent=1) as manager:
        manager.execute(gate.wait, WAIT).add_done_callback(leave)
        following = manager.execute(jobs.double, 1)
        gate.set()
        assert following.result(WAIT) == 2
    gates = {1: threading.Event(), 2: gate}

    def fn(batch):
        return [gates[item].wait(WAIT) for item in batch]

    with BatchProcessor(fn, max_size=1, max_delay=1, on_progress=leave) as processor:
        processor.add(1).add_done_callback(leave)
        following = processor.add(2)
        gates[1].set()
        assert following.result(WAIT)
