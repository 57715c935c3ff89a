"""For code that calls instead of streams: batching, throttling, debouncing of calls."""

from rxpool.faces._batch import BatchProcessor
from rxpool.faces._debounce import DebounceManager, DebounceMetrics
from rxpool.faces._decorators import (
    Batched,
    BatchedAsync,
    Managed,
    ManagedAsync,
    batched,
    debounced,
    throttled,
)
from rxpool.faces._records import BatchMetrics, BatchProgress, RetryPolicy
from rxpool.faces._throttle import ThrottleManager, ThrottleMetrics

__all__ = (
    "BatchMetrics",
    "BatchProcessor",
    "BatchProgress",
    "Batched",
    "BatchedAsync",
    "DebounceManager",
    "DebounceMetrics",
    "Managed",
    "ManagedAsync",
    "RetryPolicy",
    "ThrottleManager",
    "ThrottleMetrics",
    "batched",
    "debounced",
    "throttled",
)
