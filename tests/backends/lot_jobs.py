"""Work for tests of lots, at module level, so that worker processes find it too."""

import asyncio
import os
import time

from tests import jobs


def die_once(folder, item):
    """The process of one item dies at its first attempt."""
    jobs.note(folder, "+", item)
    if item == 40 and not jobs.is_open(folder, "died"):
        jobs.open_gate(folder, "died")
        os._exit(7)
    return item


def fail_once(folder, item):
    """Every tenth item fails at the first attempt."""
    jobs.note(folder, "+", item)
    if item % 10 == 0 and not jobs.is_open(folder, item):
        jobs.open_gate(folder, item)
        raise jobs.Oops(item)
    return item


def nap_at(where, item):
    """One item takes long."""
    if item == where:
        time.sleep(30)
    return item


async def wait_at(every, item):
    """Most end at once, some have to wait in the midst of their lot."""
    if item % every == 0:
        await asyncio.sleep(0.002)
    return item
