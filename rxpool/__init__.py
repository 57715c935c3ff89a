"""Bounded parallel map, batching, rate limiting and debouncing for RxPY streams."""

from rxpool import operators
from rxpool.errors import (
    BatchSizeError,
    CircuitOpen,
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
from rxpool.policies import (
    AdaptiveConcurrency,
    CircuitBreaker,
    Hedge,
    Limit,
    Retry,
    guarded,
)
from rxpool.pool import Items, PoolReport, WorkerPool, iterate
from rxpool.records import Journal
from rxpool.tasks import CurrentTask, Progress, current_task
from rxpool.timing import TimerScheduler

__all__ = (
    "AdaptiveConcurrency",
    "BatchSizeError",
    "CircuitBreaker",
    "CircuitOpen",
    "CurrentTask",
    "DeadlineExceeded",
    "Failure",
    "Hedge",
    "InvalidArgument",
    "ItemDropped",
    "Items",
    "Journal",
    "Limit",
    "MetricEvent",
    "NotPicklable",
    "Outcome",
    "Overflow",
    "PoisonItem",
    "PoolClosed",
    "PoolReport",
    "Progress",
    "RemoteError",
    "Retry",
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
    "guarded",
    "iterate",
    "operators",
)
