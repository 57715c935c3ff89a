"""Tasks on an event loop that wait for work of their own pool."""

import asyncio

import pytest

from tests.backends.loop_pools import collect, increment, pause
from tests.waiting import WAIT


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_that_wait_for_their_own_pool(run, workers):
    """Directly, in child tasks, in a loop, through a stream, on a thread."""

    def use(pool):
        async def by_await(number):
            return await pool.submit(pause, number)

        async def by_gather(number):
            return sum(
                await asyncio.gather(*[pool.submit(increment, n) for n in range(number)])
            )

        async def by_loop(number):
            return sum([n async for n in pool.imap(pause, range(number))])

        async def by_stream(number):
            done = asyncio.get_running_loop().create_future()
            total = []
            pool.pull(range(number)).pipe(pool.map(pause)).subscribe(
                total.append, on_completed=lambda: done.set_result(sum(total))
            )
            return await done

        def on_thread(number):
            return pool.submit(by_await, number).result(WAIT)

        def in_loop_on_thread(number):
            return sum(pool.imap(pause, range(number)))

        kinds = (by_await, by_gather, by_loop, by_stream, on_thread, in_loop_on_thread)
        return [sorted(pool.imap(kind, [3, 4, 5])) for kind in kinds]

    assert run(use, workers) == [
        [3, 4, 5], [6, 10, 15], [3, 6, 10], [3, 6, 10], [3, 4, 5], [3, 6, 10]
    ]  # fmt: skip


def test_one_of_many_waits_for_its_own_pool(run):
    """It runs behind others in the same slot, and has none to give up yet."""

    def use(pool):
        async def work(number):
            if number % 50 == 30:
                return sum([n async for n in pool.imap(pause, range(number))])
            return number

        return list(pool.imap(work, range(200), order="input"))

    expected = [sum(range(n)) if n % 50 == 30 else n for n in range(200)]
    assert run(use, 1) == expected


def test_plain_functions_that_wait_in_ways_nobody_sees(run):
    """For plain functions of their own pool, on one worker."""

    def use(pool):
        def work(number):
            seen, _ = collect(pool.pull(range(number)).pipe(pool.map(lambda n: n)))
            return sum(seen)

        return sorted(pool.imap(work, [3, 4, 5]))

    assert run(use, 1) == [3, 6, 10]


def test_recursion(run):
    """Each call waits for two more of its kind, on one worker."""

    def use(pool):
        async def fib(number):
            if number < 2:
                return number
            return sum(await asyncio.gather(*[pool.submit(fib, number - n) for n in (1, 2)]))

        return pool.submit(fib, 10).result(WAIT), pool.report().in_flight

    assert run(use, 1) == (55, 0)
