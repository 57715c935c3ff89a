"""Pools on event loops as tests use them."""

import asyncio
import functools
import threading

from tests.waiting import WAIT


async def increment(number):
    """The least work."""
    return number + 1


async def pause(number):
    """Waits for one turn of the loop."""
    await asyncio.sleep(0)
    return number


class Oops(Exception):
    """What failing work raises."""


def on_loop(main):
    """Run a test on a loop; nothing of the pool may be left on it."""

    @functools.wraps(main)
    def test(*args, **kwargs):
        async def run():
            async with asyncio.timeout(WAIT):
                await main(*args, **kwargs)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(run())

    return test


def collect(stream):
    """What a stream emits, and its error."""
    seen, errors, ended = [], [], threading.Event()
    stream.subscribe(seen.append, lambda e: (errors.append(e), ended.set()), ended.set)
    assert ended.wait(WAIT)
    return seen, errors
