"""What the workers of the benchmarks run.  Processes import it, so it imports little."""

import os
import time
from threading import Lock
from typing import Any

#: the item that the faults happen on
BAD = -1


def increment(number: int) -> int:
    """The least work."""
    return number + 1


def spin(turns: int) -> int:
    """Work for the CPU, as much of it as the item says."""
    for _ in range(turns):
        pass
    return turns


def total(array: Any) -> float:
    """The sum of a numpy array."""
    return float(array.sum())


def nap(number: int) -> int:
    """A millisecond of waiting."""
    time.sleep(0.001)
    return number


def rest(seconds: float) -> float:
    """Wait as long as the item says."""
    time.sleep(seconds)
    return seconds


def who(_: int) -> int:
    """Which process this is."""
    time.sleep(0.01)
    return os.getpid()


def stamp(_: int) -> tuple[int, float]:
    """Which process this is, and when it began; two milliseconds."""
    began = time.monotonic()
    time.sleep(0.002)
    return os.getpid(), began


class TwoArgs(Exception):
    """Can be pickled, but not unpickled: `args` are not what it is made with."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)
        self.second = second


def fine(number: int) -> int:
    """No fault at all."""
    return number + 1


def leave(number: int) -> int:
    """End the process on the bad item."""
    if number == BAD:
        os._exit(1)
    return number + 1


def lock(number: int) -> Any:
    """Return what cannot be pickled for the bad item."""
    return Lock() if number == BAD else number + 1


def raise_two(number: int) -> int:
    """Raise what cannot be unpickled on the bad item."""
    if number == BAD:
        raise TwoArgs("one", "two")
    return number + 1


def hang(number: int) -> int:
    """Never end on the bad item."""
    while number == BAD:
        time.sleep(0.1)
    return number + 1
