"""How work is retried, paced, guarded and replaced."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.policies._adaptive import AdaptiveConcurrency
    from rxpool.policies._breaker import BreakerEvent, CircuitBreaker
    from rxpool.policies._breaker_state import BreakerMetrics
    from rxpool.policies._budget import RetryBudget
    from rxpool.policies._guarded import guarded
    from rxpool.policies._hedge import Hedge
    from rxpool.policies._limit import Limit
    from rxpool.policies._retry import Retry
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.policies._adaptive": "AdaptiveConcurrency",
            "rxpool.policies._breaker": "BreakerEvent CircuitBreaker",
            "rxpool.policies._breaker_state": "BreakerMetrics",
            "rxpool.policies._budget": "RetryBudget",
            "rxpool.policies._guarded": "guarded",
            "rxpool.policies._hedge": "Hedge",
            "rxpool.policies._limit": "Limit",
            "rxpool.policies._retry": "Retry",
        },
    )

__all__ = (
    "AdaptiveConcurrency",
    "BreakerEvent",
    "BreakerMetrics",
    "CircuitBreaker",
    "Hedge",
    "Limit",
    "Retry",
    "RetryBudget",
    "guarded",
)
