"""Work in virtual time that goes as planned, attempt by attempt.

An item is a letter; a plan says for each attempt how long it lasts, and with ``!`` that it
fails then.
"""

import reactivex as rx
from reactivex import operators as ro

from rxpool import CircuitBreaker
from tests.pool.marbles import Oops, Run


class Busy(Oops):
    """Comes with the time that the other side asks to wait."""

    retry_after = 50.0


class Plan:
    """Work that goes as planned; `starts` tells when attempts were made."""

    def __init__(self, error=Oops, /, **attempts):
        self.error = error
        self.left = {item: plan.split() for item, plan in attempts.items()}
        self.starts = []
        self.clock = lambda: None

    def __call__(self, item):
        """One attempt."""
        self.starts.append(f"{item}@{self.clock():g}")
        step = self.left[item].pop(0) if item in self.left else "5"

        def end(_):
            if step.endswith("!"):
                raise self.error(item)
            return item

        return rx.timer(float(step.rstrip("!"))).pipe(ro.map(end))


def run(plan, source, *, method="map", workers=1, **options):
    """Run *plan* with these options of the flow."""

    def operator(run):
        plan.clock = lambda: run.scheduler.clock
        return getattr(run.pool, method)(plan, **options)

    return Run(source, operator, workers=workers)


EXACT = {"jitter": 0, "delay": 10}


def breaker(**options):
    """One that opens after two bad calls of two, for 50 ticks."""
    return CircuitBreaker(
        **{
            "sliding_window_size": 2,
            "minimum_number_of_calls": 2,
            "permitted_number_of_calls_in_half_open_state": 1,
            "wait_duration_in_open_state": 50,
            **options,
        }
    )
