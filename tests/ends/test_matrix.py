"""Ways of ending × backends × what is open: the law, row by row."""

import asyncio
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor

import pytest

from rxpool import WorkerPool
from tests.conformance.lanes import KINDS, REAL, Lane
from tests.ends import work
from tests.ends.opened import OPEN


class Boom(Exception):
    """Leaves a block."""


def close(lane, pool, fill):
    """`close`."""
    opened = fill()
    assert pool.close() is True
    return opened


def leave(lane, pool, fill):
    """The end of the block."""
    with pool:
        return fill()


def leave_async(lane, pool, fill):
    """The end of an async block, on the loop of the lane if it has one."""

    async def main():
        async with pool:
            return await asyncio.to_thread(fill)

    return lane.coroutine(main())


def terminate(lane, pool, fill):
    """`terminate`."""
    opened = fill()
    pool.terminate()
    return opened


def time_out(lane, pool, fill):
    """`close` with too little time."""
    opened = fill()
    pool.close(timeout=0.01)
    return opened


def raise_inside(lane, pool, fill):
    """An exception in the block."""
    opened = []
    with pytest.raises(Boom), pool:  # noqa: PT012
        opened += fill()
        raise Boom
    return opened


def exit_inside(lane, pool, fill):
    """`sys.exit` in the block."""
    opened = []
    with pytest.raises(SystemExit), pool:  # noqa: PT012
        opened += fill()
        raise SystemExit(3)
    return opened


def raise_inside_async(lane, pool, fill):
    """An exception in an async block."""

    async def main():
        opened = []
        with pytest.raises(Boom):  # noqa: PT012
            async with pool:
                opened += await asyncio.to_thread(fill)
                raise Boom
        return opened

    return lane.coroutine(main())


def cancel(lane, pool, fill):
    """The task is cancelled while it leaves the block."""

    async def use(opened):
        async with pool:
            opened += await asyncio.to_thread(fill)

    async def main():
        opened = []
        task = asyncio.create_task(use(opened))
        while not opened:
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.01)
        task.cancel()
        with pytest.raises((asyncio.CancelledError, Boom)):  # noqa: PT012
            await task
            raise Boom  # it had ended before
        return opened

    return lane.coroutine(main())


GRACEFUL = (close, leave, leave_async)
HARD = (terminate, time_out, raise_inside, exit_inside, raise_inside_async, cancel)


@pytest.fixture(scope="module", autouse=True)
def executor():
    """Processes for all rows, as starting them takes longer than the row."""
    with ProcessPoolExecutor(2, multiprocessing.get_context("forkserver")) as executor:
        list(executor.map(time.sleep, [0.1] * 4))  # now all of them are there
        yield executor


class SharedLane(Lane):
    """An executor of processes that others use too."""


@pytest.fixture(params=REAL)
def lane(request, tmp_path):
    """A place where work runs."""
    if request.param == "process-executor":
        lane = SharedLane(request.param, tmp_path)
        lane.on = request.getfixturevalue("executor")
    else:
        lane = KINDS[request.param](request.param, tmp_path)
    yield lane
    lane.end()


@pytest.mark.parametrize("end", [*GRACEFUL, *HARD], ids=lambda end: end.__name__)
@pytest.mark.parametrize("what", OPEN)
def test_the_law(lane, what, end):
    """What was accepted is delivered, or an error says that it was not; and all of it ends."""
    fn = work.slow_later if lane.on == "asyncio" else work.slow
    pool: WorkerPool = lane.make(2)
    faults = []
    pool.faults.subscribe(faults.append)
    opened = end(lane, pool, lambda: OPEN[what](pool, fn))
    lane.until(lambda: not pool.report().flows)
    for each in opened:
        each.check(end in GRACEFUL)
    assert not faults
    report = pool.report()
    ended = report.succeeded + report.failed + report.dropped + report.cancelled
    assert (report.in_flight, report.accepted) == (0, ended)
