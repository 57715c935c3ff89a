"""Bounded parallel map, batching, rate limiting and debouncing for RxPY streams."""

from rxpool import operators
from rxpool.errors import RxPoolError
from rxpool.events import MetricEvent
from rxpool.timing import TimerScheduler

__all__ = ("MetricEvent", "RxPoolError", "TimerScheduler", "operators")
