"""`Clock`: the time of any reactivex scheduler, in float seconds."""

from collections.abc import Callable
from time import monotonic
from typing import Any

from reactivex import abc
from reactivex.scheduler import (
    ImmediateScheduler,
    NewThreadScheduler,
    VirtualTimeScheduler,
)
from reactivex.scheduler.scheduler import Scheduler

from rxpool.timing._scheduler import TimerScheduler

__all__ = ("Clock",)


class Clock:
    """What operators and pool need of a scheduler: the time, and one-shot alarms.

    A virtual scheduler is asked for its time.  Schedulers that follow the wall clock are
    not: durations are measured with `time.monotonic` there.  Two of them are no use for alarms
    either, and the shared `TimerScheduler` stands in: a `NewThreadScheduler`, which is what
    ``run()`` brings, would keep a thread for each alarm until it is due, disposed of or not;
    an `ImmediateScheduler` refuses to wait.

    Attributes:
        now: Gives the present in seconds; only differences mean anything.
        virtual: Time passes only when somebody advances it, so nobody may wait for it.
    """

    __slots__ = ("_scheduler", "now", "virtual")

    def __init__(self, scheduler: abc.SchedulerBase) -> None:
        if isinstance(scheduler, (NewThreadScheduler, ImmediateScheduler)):
            scheduler = TimerScheduler.singleton()
        self._scheduler = scheduler
        self.virtual = isinstance(scheduler, VirtualTimeScheduler)
        self.now: Callable[[], float] = _reader(scheduler)

    @classmethod
    def of(cls, *candidates: abc.SchedulerBase | None) -> "Clock":
        """The clock of the first scheduler given, else of the shared `TimerScheduler`."""
        for scheduler in candidates:
            if scheduler is not None:
                return cls(scheduler)
        return cls(TimerScheduler.singleton())

    def stands_still(self, loop: Any) -> bool:
        """Whether nothing rings while this thread, and the event loop *loop* on it, wait."""
        return self.virtual or (
            loop is not None and getattr(self._scheduler, "_loop", None) is loop
        )

    def alarm(self, due: float, ring: Callable[[float], object]) -> abc.DisposableBase:
        """Call ``ring(now)`` at *due*; the time it is given is never before *due*.

        A scheduler may round to microseconds and fire a trifle early: whoever asked for
        an instant must not be told that it has not come yet.
        """
        if isinstance(self._scheduler, TimerScheduler):
            return self._scheduler.at(due, lambda: ring(max(due, monotonic())))

        def action(_: abc.SchedulerBase, __: Any = None) -> None:
            ring(max(due, self.now()))

        return self._scheduler.schedule_relative(max(0.0, due - self.now()), action)


def _reader(scheduler: abc.SchedulerBase) -> Callable[[], float]:
    if isinstance(scheduler, VirtualTimeScheduler):
        to_seconds = scheduler.to_seconds
        return lambda: to_seconds(scheduler.clock)
    if isinstance(scheduler, TimerScheduler) or type(scheduler).now is Scheduler.now:
        return monotonic
    to_seconds = Scheduler.to_seconds
    return lambda: to_seconds(scheduler.now)
