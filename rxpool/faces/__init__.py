"""For code that calls instead of streams: batching, throttling, debouncing of calls."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
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
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.faces._batch": "BatchProcessor",
            "rxpool.faces._debounce": "DebounceManager DebounceMetrics",
            "rxpool.faces._decorators": (
                "Batched BatchedAsync Managed ManagedAsync batched debounced throttled "
            ),
            "rxpool.faces._records": "BatchMetrics BatchProgress RetryPolicy",
            "rxpool.faces._throttle": "ThrottleManager ThrottleMetrics",
        },
    )

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
