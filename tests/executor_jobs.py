"""Work for executors: functions at module level, so that worker processes find them."""

import asyncio
import os
import threading

import reactivex as rx
from reactivex import Observable

__all__ = (
    "HELD",
    "Odd",
    "die",
    "die_at_700",
    "double",
    "double_later",
    "fail",
    "hold",
    "leave",
    "lock_at_500",
    "odd",
    "only_even",
    "same",
    "slow",
    "twice",
)

#: gates of `hold`
HELD: dict[str, threading.Event] = {}


class Odd(Exception):
    """An exception that cannot be built again from what it is pickled as."""

    def __init__(self, first: int, second: int) -> None:
        super().__init__("odd")


def double(number: int) -> int:
    """Plain."""
    return 2 * number


async def double_later(number: int) -> int:
    """Async."""
    await asyncio.sleep(0)
    return 2 * number


def twice(number: int) -> Observable[int]:
    """Two results."""
    return rx.of(number, number)


def fail(number: int) -> int:
    """Raises."""
    raise ValueError(f"no {number}")


def odd(number: int) -> int:
    """Raises what cannot be built again."""
    raise Odd(number, number)


def leave(number: int) -> int:
    """Raises what ends programs."""
    raise SystemExit(number)


def die(number: int) -> int:
    """The worker's process ends at 3."""
    if number == 3:
        os._exit(1)
    return number


def slow(seconds: float) -> float:
    """Takes its time."""
    import time

    time.sleep(seconds)
    return seconds


def hold(number: int) -> int:
    """Waits in this process."""
    HELD["began"].set()
    HELD["gate"].wait(20.0)
    return number


def only_even(number: int) -> int:
    """Odd numbers fail."""
    if number % 2:
        raise ValueError(number)
    return number


def lock_at_500(number: int) -> object:
    """What cannot be pickled, once."""
    return threading.Lock() if number == 500 else number


def die_at_700(number: int) -> int:
    """The worker's process ends at 700."""
    if number == 700:
        os._exit(1)
    return number


def same(item: object) -> object:
    """What it is given."""
    return item
