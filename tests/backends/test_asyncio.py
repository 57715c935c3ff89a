"""Pools on an event loop: results, how many run at once, and races between loop and threads."""

import asyncio
import threading

import pytest
import reactivex as rx

from rxpool import Failure, Success, WorkerPool
from rxpool.backends.event_loop import _slot
from tests.backends.loop_pools import Oops, collect, increment, pause
from tests.waiting import WAIT

# -- results -------------------------------------------------------------------------------

WORK = pytest.mark.parametrize(("work", "plus"), [(increment, 1), (pause, 0)])


@WORK
def test_imap_gives_every_result(run, work, plus):
    """A lot, one by one, more than any bound."""
    results = run(lambda pool: list(pool.imap(work, range(3000))), 4)
    assert sorted(results) == [n + plus for n in range(3000)]


@WORK
def test_map_in_input_order(run, work, plus):
    """Results come in the order of the items."""
    seen, errors = run(
        lambda pool: collect(pool.pull(range(500)).pipe(pool.map(work, order="input"))), 4
    )
    assert (seen, errors) == ([n + plus for n in range(500)], [])


def test_outcomes_know_how_long_work_took(run):
    """Work that ends at once has its times too, and failures are told."""

    async def work(number):
        if number % 3 == 0:
            await asyncio.sleep(0.01)
        if number % 5 == 0:
            raise Oops(number)
        return number

    seen, _ = run(
        lambda pool: collect(rx.from_iterable(range(60)).pipe(pool.outcomes(work))), 4
    )
    assert len(seen) == 60
    for outcome in seen:
        assert outcome.attempts == 1
        assert outcome.waited >= 0
        assert outcome.took >= (0.009 if outcome.item % 3 == 0 else 0)
        assert isinstance(outcome, Failure if outcome.item % 5 == 0 else Success)


def test_no_more_at_once_than_workers(run):
    """Of coroutines that wait, as many as workers run."""
    running = most = 0

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    run(lambda pool: list(pool.imap(work, range(50))), 3)
    assert most == 3


def test_items_that_wait_do_not_hold_others(run):
    """Behind work that ends at once, and before it, one that waits for long."""
    gate = threading.Event()

    async def work(number):
        if number == 100:
            while not gate.is_set():
                await asyncio.sleep(0.001)
        return number

    def use(pool):
        results = pool.imap(work, range(1000))
        first = [next(results) for _ in range(999)]
        gate.set()
        return first, list(results)

    first, last = run(use, 2)
    assert last == [100]
    assert sorted(first) == [n for n in range(1000) if n != 100]


def test_the_default_is_a_hundred(run):
    """Coroutines wait most of the time."""
    assert run(lambda pool: pool.workers, None) == 100


def test_resize(run):
    """More from now on, or fewer when those that run have ended."""
    running = most = 0

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    def use(pool):
        nonlocal most
        list(pool.imap(work, range(10)))
        found = [most]
        for size in (5, 1):
            pool.resize(size)
            most = 0
            list(pool.imap(work, range(20)))
            found.append(most)
        return found

    assert run(use, 2) == [2, 5, 1]


# -- races ------------------------------------------------------------------------------------


def test_no_job_is_lost_between_two_leaders(frantic):
    """Calls from threads while the loop is about to have nothing to do.

    Fails if nobody looks for mail after the leader has resigned.
    """
    with WorkerPool(4, on="asyncio") as pool:

        def call():
            for number in range(100):
                assert pool.submit(increment, number).result(WAIT) == number + 1

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_cancelling_while_work_ends(frantic):
    """Many flows, disposed at any moment: the sums add up, and no slot is lost."""
    with WorkerPool(3, on="asyncio") as pool:
        for number in range(60):
            with pool.imap(pause if number % 2 else increment, range(200)) as results:
                for _ in range(number):
                    next(results)
        assert pool.submit(pause, 1).result(WAIT) == 1
        report = pool.report()
        assert report.in_flight == 0
        assert report.accepted == report.succeeded + report.cancelled


def test_lots_are_bounded_in_time(monkeypatch):
    """Results of a lot are not kept back for longer than a turn."""
    clock = iter(range(10_000))
    sizes = []
    with WorkerPool(1, on="asyncio") as pool:
        backend = pool._engine.backend
        monkeypatch.setattr(_slot, "_TURN", 3)
        backend.now = lambda: next(clock)
        finish = pool._engine.runner.finish
        monkeypatch.setattr(
            pool._engine.runner,
            "finish",
            lambda tasks, rest, go_on: (sizes.append(len(tasks)), finish(tasks, rest, go_on)),
        )
        assert len(list(pool.imap(increment, range(200)))) == 200
    assert sum(sizes) == 200
    assert max(sizes) <= 5
