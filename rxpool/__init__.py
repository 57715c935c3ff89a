"""Bounded parallel map, batching, rate limiting and debouncing for RxPY streams."""

from typing import TYPE_CHECKING

from rxpool import _at_once as _at_once
from rxpool._lazy import lazily

if TYPE_CHECKING:
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
        TooManyFailures,
        WorkerCrashed,
        WorkerStartError,
        WouldBlock,
    )
    from rxpool.events import MetricEvent
    from rxpool.faces import (
        BatchProcessor,
        DebounceManager,
        ThrottleManager,
        batched,
        debounced,
        throttled,
    )
    from rxpool.metrics import PerformanceMonitor
    from rxpool.outcomes import Failure, Outcome, Success
    from rxpool.policies import (
        AdaptiveConcurrency,
        CircuitBreaker,
        Hedge,
        Limit,
        Retry,
        guarded,
    )
    from rxpool.pool import Collected, Items, MapWorker, PoolReport, WorkerPool, iterate
    from rxpool.records import Journal
    from rxpool.tasks import CurrentTask, Progress, current_task
    from rxpool.timing import TimerScheduler
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.errors": (
                "BatchSizeError CircuitOpen DeadlineExceeded InvalidArgument "
                "ItemDropped NotPicklable Overflow PoisonItem PoolClosed RemoteError "
                "RxPoolError TaskCancelled TaskTimeout TooManyFailures WorkerCrashed "
                "WorkerStartError WouldBlock "
            ),
            "rxpool.events": "MetricEvent",
            "rxpool.faces": (
                "BatchProcessor DebounceManager ThrottleManager batched debounced throttled "
            ),
            "rxpool.metrics": "PerformanceMonitor",
            "rxpool.outcomes": "Failure Outcome Success",
            "rxpool.policies": "AdaptiveConcurrency CircuitBreaker Hedge Limit Retry guarded",
            "rxpool.pool": "Collected Items MapWorker PoolReport WorkerPool iterate",
            "rxpool.records": "Journal",
            "rxpool.tasks": "CurrentTask Progress current_task",
            "rxpool.timing": "TimerScheduler",
        },
        "backends errors events faces metrics operators outcomes policies pool records tasks "
        "timing",
    )

__all__ = (
    "AdaptiveConcurrency",
    "BatchProcessor",
    "BatchSizeError",
    "CircuitBreaker",
    "CircuitOpen",
    "Collected",
    "CurrentTask",
    "DeadlineExceeded",
    "DebounceManager",
    "Failure",
    "Hedge",
    "InvalidArgument",
    "ItemDropped",
    "Items",
    "Journal",
    "Limit",
    "MapWorker",
    "MetricEvent",
    "NotPicklable",
    "Outcome",
    "Overflow",
    "PerformanceMonitor",
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
    "ThrottleManager",
    "TimerScheduler",
    "TooManyFailures",
    "WorkerCrashed",
    "WorkerPool",
    "WorkerStartError",
    "WouldBlock",
    "batched",
    "current_task",
    "debounced",
    "guarded",
    "iterate",
    "operators",
    "throttled",
)
