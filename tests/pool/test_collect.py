"""`pool.collect`: all outcomes, in the order of the items."""

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from rxpool import (
    Failure,
    InvalidArgument,
    Limit,
    PoolClosed,
    Retry,
    Success,
    TaskCancelled,
    WorkerPool,
    WouldBlock,
)
from tests import jobs
from tests.waiting import WAIT

PLACES = pytest.mark.parametrize("on", ["threads", "processes", "asyncio", "inline"])


@PLACES
def test_everything_in_the_order_of_the_items(on):
    """Good and bad, whatever ends first."""
    with WorkerPool(1 if on == "inline" else 3, on=on) as pool:
        done = pool.collect(jobs.fail_odd, range(50))
    assert [outcome.item for outcome in done] == list(range(50))
    assert [outcome.item for outcome in done.outcomes if isinstance(outcome, Success)] == list(
        range(0, 50, 2)
    )
    assert done.values() == list(range(0, 50, 2))
    assert [failure.item for failure in done.failures] == list(range(1, 50, 2))
    assert all(isinstance(failure.error, jobs.Oops) for failure in done.failures)
    assert len(done) == 50
    assert repr(done) == "<Collected of 50, 25 failed>"


def test_nothing_at_all():
    """Is an answer like any other."""
    with WorkerPool(2) as pool:
        done = pool.collect(jobs.double, [])
    assert (len(done), done.values(), done.failures, bool(done)) == (0, [], [], False)
    done.raise_failures()


def test_one_that_takes_long_holds_nothing_back():
    """The others go on behind the first, however many."""
    gate = threading.Event()
    seen = []

    def work(n):
        if n == 0:
            assert gate.wait(WAIT)
        seen.append(n)
        if len(seen) == 3000:
            gate.set()
        return n

    with WorkerPool(2) as pool:
        done = pool.collect(work, range(3001), max_pending=5)
    assert done.values() == list(range(3001))
    assert seen[-1] == 0


def test_observables_and_coroutines():
    """A list of results, and the value."""
    with WorkerPool(2) as pool:
        assert pool.collect(jobs.several, [0, 2]).values() == [[], [0, 1]]
        assert pool.collect(jobs.double_later, [1, 2]).values() == [2, 4]


def test_raise_failures():
    """One group of all errors; each is told which item it is of, once."""
    with WorkerPool(2) as pool:
        done = pool.collect(jobs.fail_odd, range(4))
    for _ in range(2):
        with pytest.raises(ExceptionGroup, match="2 of 4 items failed") as caught:
            done.raise_failures()
    assert [type(error) for error in caught.value.exceptions] == [jobs.Oops] * 2
    notes = [error.__notes__ for error in caught.value.exceptions]
    assert notes == [["of the item 1"], ["of the item 3"]]


class Stubborn(Exception):
    """An error that refuses attributes."""

    def __setattr__(self, name, value):
        raise AttributeError(name)


class Silent:
    """An item that cannot be shown."""

    def __repr__(self):
        raise ValueError("no")


@pytest.mark.parametrize(
    ("item", "note"),
    [(Silent(), "of the item of type Silent"), ("x" * 1000, "of the item '" + "x" * 198 + "…")],
)
def test_notes_of_odd_items_and_errors(item, note):
    """Nothing keeps the errors from being raised."""

    def fail(_):
        raise Stubborn

    with WorkerPool(1) as pool, pytest.raises(ExceptionGroup) as caught:
        pool.collect(fail, [item]).raise_failures()
    assert caught.value.exceptions[0].__notes__ == [note]


def test_a_group_of_what_is_no_exception():
    """KeyboardInterrupt of a function is an outcome, and is raised in a group of its kind."""
    with WorkerPool(1) as pool:
        done = pool.collect(jobs.meet, ["KeyboardInterrupt", "fine"])
    with pytest.raises(BaseExceptionGroup) as caught:
        done.raise_failures()
    assert not isinstance(caught.value, ExceptionGroup)
    assert done.values() == ["fine"]


def test_policies():
    """As for other flows."""
    tried = []

    def flaky(n):
        tried.append(n)
        if len(tried) < 3:
            raise jobs.Oops
        return n

    with WorkerPool(1) as pool:
        done = pool.collect(flaky, [7], retry=Retry(delay=0.0), limit=Limit(rate=1000))
    assert done.values() == [7]
    assert done.outcomes[0].attempts == 3


def test_an_error_of_the_items_is_raised():
    """After what was accepted has been done."""
    ran = []

    def items():
        yield 1
        yield 2
        raise jobs.Oops("source")

    with WorkerPool(2) as pool:
        with pytest.raises(jobs.Oops, match="source"):
            pool.collect(ran.append, items())
        assert sorted(ran) == [1, 2]
        assert pool.report().flows == ()


def test_on_an_event_loop():
    """It is awaited; the loop goes on meanwhile."""
    turns = []

    async def main():
        gate = threading.Event()

        async def tick():
            while not done.done():
                turns.append(1)
                gate.set()
                await asyncio.sleep(0.001)

        def wait(n):
            assert gate.wait(WAIT)
            return n

        async with WorkerPool(2) as pool:

            async def collect():
                return await pool.collect(wait, range(5))

            done = asyncio.ensure_future(collect())
            await tick()
            return await done, await pool.collect(jobs.fail_odd, [1, 2])

    first, second = asyncio.run(main())
    assert first.values() == list(range(5))
    assert (second.values(), len(second.failures)) == ([2], 1)
    assert turns


USES = {
    "outcomes": lambda done: done.outcomes,
    "values": lambda done: done.values(),
    "failures": lambda done: done.failures,
    "raise_failures": lambda done: done.raise_failures(),
    "for": list,
    "len": len,
    "if": bool,
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
def test_used_without_await(use):
    """It says what to write, and nothing has been run."""

    async def main():
        async with WorkerPool(2) as pool:
            done = pool.collect(jobs.double, [1])
            with pytest.raises(WouldBlock, match="await it"):
                use(done)
            assert repr(done) == "<Collected, not awaited yet>"
            assert pool.report().accepted == 0
            assert await done is done
            assert await done is done
            assert done.values() == [2]
            assert pool.report().accepted == 1

    asyncio.run(main())


def test_awaited_twice_at_once():
    """Is refused, as for a coroutine."""

    async def wait(done):
        return await done

    async def main():
        async with WorkerPool(2, on="asyncio") as pool:
            done = pool.collect(jobs.double_later, [1])
            return await asyncio.gather(wait(done), wait(done), return_exceptions=True)

    first, second = asyncio.run(main())
    assert first.values() == [2]
    assert isinstance(second, RuntimeError)


def test_a_cancelled_await_cancels_the_work():
    """What ran is let go of."""

    async def main():
        begun = asyncio.Event()

        async def hang(_):
            begun.set()
            await asyncio.Event().wait()

        async def wait():
            await pool.collect(hang, range(3))

        async with WorkerPool(2, on="asyncio") as pool:
            task = asyncio.create_task(wait())
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert pool.report().in_flight == 0

    asyncio.run(main())


def test_in_a_task_of_the_same_pool():
    """The task does the work itself if nobody else can."""
    with WorkerPool(1) as pool:
        done = pool.submit(lambda: pool.collect(jobs.double, range(5)).values())
        assert done.result(WAIT) == [0, 2, 4, 6, 8]


def test_the_pool_is_terminated_meanwhile():
    """That is raised where it waits."""
    begun = threading.Event()
    with ThreadPoolExecutor(1) as executor:
        pool = WorkerPool(1)

        def work(_):
            begun.set()
            gate.wait(WAIT)

        gate = threading.Event()
        waiting = executor.submit(pool.collect, work, range(3))
        assert begun.wait(WAIT)
        pool.terminate()
        gate.set()
        assert isinstance(waiting.exception(WAIT), (PoolClosed, TaskCancelled))
        with pytest.raises(PoolClosed):
            pool.collect(work, [1])


def test_virtual_time():
    """Nobody can wait there."""
    pool = WorkerPool(1, on=TestScheduler())
    with pytest.raises(WouldBlock, match="collect cannot wait in virtual time"):
        pool.collect(jobs.double, [1])
    pool.terminate()


@pytest.mark.parametrize("name", ["order", "key", "priority", "overflow", "on_failure"])
def test_options_without_meaning(name):
    """Are refused by name."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgument, match=f"no option '{name}'"):
        pool.collect(jobs.double, [1], **{name: "input"})


@pytest.mark.parametrize("arguments", [(5, [1]), (jobs.double, 5)])
def test_wrong_arguments(arguments):
    """The function, the items."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgument, match="got 5"):
        pool.collect(*arguments)


def test_it_is_no_stream():
    """Observables are read with `iterate`."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgument):
        pool.collect(jobs.double, rx.of(1))


def test_failures_are_failures():
    """Of the same kind as `outcomes` gives."""
    with WorkerPool(1) as pool:
        (failure,) = pool.collect(jobs.fail_odd, [1]).failures
    assert isinstance(failure, Failure)
    assert failure.attempts == 1
