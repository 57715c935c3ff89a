"""A value asked for every so many seconds, on any reactivex scheduler."""

from collections.abc import Callable
from math import floor
from typing import TypeVar

from reactivex import Observable, abc
from reactivex.disposable import SerialDisposable, SingleAssignmentDisposable

from rxpool import _checks as checks
from rxpool.timing import Clock

__all__ = ("every",)

_T = TypeVar("_T")


def every(
    seconds: float, ask: Callable[[], _T], scheduler: abc.SchedulerBase | None
) -> Observable[_T]:
    """What *ask* returns, every so many *seconds*, until the subscription is disposed."""
    checks.timing("scheduler", scheduler)

    def subscribe(
        observer: abc.ObserverBase[_T], default: abc.SchedulerBase | None = None
    ) -> abc.DisposableBase:
        clock = Clock.of(scheduler, default)
        start = clock.now()
        timer = SerialDisposable()

        def arm(number: int) -> None:
            alarm = SingleAssignmentDisposable()
            timer.disposable = alarm
            if not timer.is_disposed:
                alarm.disposable = clock.alarm(start + number * seconds, lambda _: ring(number))

        def ring(number: int) -> None:
            if timer.is_disposed:
                return
            observer.on_next(ask())
            # Those that have gone by meanwhile are left out.
            arm(max(number, floor((clock.now() - start) / seconds)) + 1)

        arm(1)
        return timer

    return Observable(subscribe)
