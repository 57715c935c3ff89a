"""Bounded parallel map, batching, rate limiting and debouncing for RxPY streams."""

from rxpool import operators
from rxpool.errors import (
    InvalidArgument,
    ItemDropped,
    Overflow,
    PoolClosed,
    RxPoolError,
    TaskCancelled,
    WouldBlock,
)
from rxpool.events import MetricEvent
from rxpool.outcomes import Failure, Outcome, Success
from rxpool.pool import PoolReport, WorkerPool
from rxpool.timing import TimerScheduler

__all__ = (
    "Failure",
    "InvalidArgument",
    "ItemDropped",
    "MetricEvent",
    "Outcome",
    "Overflow",
    "PoolClosed",
    "PoolReport",
    "RxPoolError",
    "Success",
    "TaskCancelled",
    "TimerScheduler",
    "WorkerPool",
    "WouldBlock",
    "operators",
)
