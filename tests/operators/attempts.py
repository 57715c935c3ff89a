"""Sources that are subscribed to again and again, and their errors."""

import time

import reactivex as rx

from rxpool import CircuitBreaker
from tests.operators.sources import on_completed, on_error, on_next


class Oops(Exception):
    """What sources fail with."""


class Busy(Oops):
    """Comes with the time that the other side asks to wait."""

    retry_after = 50.0


BOOM, BUSY = Oops("boom"), Busy("busy")
EXACT = {"jitter": 0, "delay": 10}


class Attempts:
    """A source whose attempts each have a plan; `windows` says when each was subscribed."""

    def __init__(self, scheduler, *plans):
        self.colds = [scheduler.create_cold_observable(*plan) for plan in plans]
        self.left = list(self.colds)
        self.source = rx.defer(lambda _: self.left.pop(0))

    @property
    def windows(self):
        """The subscriptions, one after the other."""
        return [window for cold in self.colds for window in cold.subscriptions]


def subscribe_at(scheduler, at, stream, observer):
    """One of several subscribers."""

    def begin(*_):
        stream.subscribe(observer, scheduler=scheduler)

    scheduler.schedule_absolute(at, begin)


BAD = [on_next(5, "a"), on_error(10, BOOM)]
GOOD = [on_next(5, "b"), on_completed(7)]


def breaker(**options):
    """Opens with the second of two bad calls, for 100 ticks; then takes one probe."""
    rules = {
        "minimum_number_of_calls": 2,
        "sliding_window_size": 2,
        "failure_rate_threshold": 1.0,
        "wait_duration_in_open_state": 100,
        "permitted_number_of_calls_in_half_open_state": 1,
    }
    return CircuitBreaker(name="shop", **rules | options)


def giving_way(*functions):
    """A trace function: whoever runs these lets others run before each line."""
    codes = {function.__code__ for function in functions}

    def line(*_):
        time.sleep(0)
        return line

    return lambda frame, *_: line if frame.f_code in codes else None
