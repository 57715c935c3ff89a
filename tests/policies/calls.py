"""Plain and async functions that fail as planned, called under policies."""

import asyncio
import time

from rxpool import CircuitBreaker, guarded
from rxpool.policies._breaker import breaker_door as door


class Oops(Exception):
    """What functions fail with."""


class Busy(Oops):
    """Comes with the time that the other side asks to wait."""

    retry_after = 50.0


def breaker(**options):
    """Opens with the second of two bad calls; a probe may follow at once."""
    rules = {
        "minimum_number_of_calls": 2,
        "sliding_window_size": 2,
        "failure_rate_threshold": 1.0,
        "wait_duration_in_open_state": 600,
        "permitted_number_of_calls_in_half_open_state": 1,
    }
    return CircuitBreaker(name="shop", **rules | options)


class Work:
    """A function that goes as planned: results, and errors, one a call."""

    def __init__(self, *plan):
        self.plan = list(plan)
        self.calls = 0

    def __call__(self, *args, **kwargs):
        self.calls += 1
        step = self.plan.pop(0) if len(self.plan) > 1 else self.plan[0]
        if isinstance(step, BaseException | type):
            raise step
        return step


class Plain:
    """Calls guarded plain functions, and notes the waits."""

    def __init__(self):
        self.waits = []

    def run(self, work, **options):
        return guarded(work, sleep=self.waits.append, **options)("item")


class Async(Plain):
    """Calls guarded async functions, and notes the waits."""

    def run(self, work, **options):
        async def fn(*args, **kwargs):
            await asyncio.sleep(0)
            return work(*args, **kwargs)

        async def sleep(seconds):
            self.waits.append(seconds)

        return asyncio.run(guarded(fn, sleep=sleep, **options)("item"))


def half_open():
    """A breaker that takes one probe now."""
    guard = breaker(wait_duration_in_open_state=0)
    for _ in range(2):
        door(guard).failed(door(guard).admit(time.monotonic()), time.monotonic(), 0.0, Oops())
    return guard


def has_its_probe(guard):
    """Whether a half-open breaker has a probe to give; it is put back."""
    permit = door(guard).admit(time.monotonic())
    if permit >= 0:
        door(guard).release(permit)
    return permit >= 0


EXACT = {"jitter": 0, "delay": 10}
