"""Bounded parallel map, batching, rate limiting and debouncing for RxPY streams."""

from rxpool import operators
from rxpool.errors import (
    BatchSizeError,
    DeadlineExceeded,
    InvalidArgument,
    ItemDropped,
    NotPicklable,
    Overflow,
    PoisonItem,
    PoolClosed,
    RemoteError,
    RxPoolError,
    TaskCancelled,
    TaskTimeout,
    WorkerCrashed,
    WorkerStartError,
    WouldBlock,
)
from rxpool.events import MetricEvent
from rxpool.outcomes import Failure, Outcome, Success
from rxpool.pool import Items, PoolReport, WorkerPool, iterate
from rxpool.tasks import CurrentTask, Progress, current_task
from rxpool.timing import TimerScheduler

__all__ = (
    "BatchSizeError",
    "CurrentTask",
    "DeadlineExceeded",
    "Failure",
    "InvalidArgument",
    "ItemDropped",
    "Items",
    "MetricEvent",
    "NotPicklable",
    "Outcome",
    "Overflow",
    "PoisonItem",
    "PoolClosed",
    "PoolReport",
    "Progress",
    "RemoteError",
    "RxPoolError",
    "Success",
    "TaskCancelled",
    "TaskTimeout",
    "TimerScheduler",
    "WorkerCrashed",
    "WorkerPool",
    "WorkerStartError",
    "WouldBlock",
    "current_task",
    "iterate",
    "operators",
)
