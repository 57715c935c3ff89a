"""How work is retried, paced, guarded and replaced."""

from rxpool.policies._adaptive import AdaptiveConcurrency
from rxpool.policies._breaker import BreakerEvent, CircuitBreaker
from rxpool.policies._breaker_state import BreakerMetrics
from rxpool.policies._budget import RetryBudget
from rxpool.policies._guarded import guarded
from rxpool.policies._hedge import Hedge
from rxpool.policies._limit import Limit
from rxpool.policies._retry import Retry

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
