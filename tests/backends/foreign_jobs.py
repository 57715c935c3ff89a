"""Work for workers that have nothing but the standard library."""

import asyncio
import sys

__all__ = (
    "Refused",
    "double",
    "double_later",
    "forbid",
    "is_bare",
    "meet",
    "note",
    "pairs",
    "refuse",
    "runs",
)

runs = []


class Refused(Exception):
    """Made by keyword."""

    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


def forbid():
    """Have no such modules in this process."""
    for name in ("rxpool", "reactivex", "structlog", "cloudpickle"):
        sys.modules[name] = None


def is_bare(_):
    """Whether this is such a process."""
    return sys.modules.get("rxpool", 1) is None and "rxpool.errors" not in sys.modules


def double(number):
    """Plain."""
    return 2 * number


async def double_later(number):
    """Async."""
    await asyncio.sleep(0)
    return 2 * number


def refuse(number):
    """Raise."""
    raise Refused(code=number) from KeyError("why")


def pairs(numbers):
    """A generator, for a batch."""
    return ((number, number) for number in numbers)


def note(item):
    """Remember that it ran."""
    runs.append(item)
    return item


def meet(number):
    """Wait for the others."""
    runs[0].wait(20.0)
    return number
