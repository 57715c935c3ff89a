"""Time: the default scheduler, and one view of the clock of any scheduler."""

from rxpool.timing._clock import Clock
from rxpool.timing._scheduler import TimerScheduler

__all__ = ("Clock", "TimerScheduler")
