"""What the tests of ends have pools do, wherever that is."""

import asyncio
import time


def slow(value):
    """Give *value*, after a few milliseconds."""
    time.sleep(0.004)
    return value


async def slow_later(value):
    """The same for an event loop."""
    await asyncio.sleep(0.004)
    return value


def same(value):
    """Give *value*."""
    return value


def each(values):
    """Give all of *values*, as a list."""
    time.sleep(0.002)
    return list(values)
