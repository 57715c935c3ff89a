"""Operators on any observable: ``from rxpool import operators as ops``."""

from rxpool.operators._batch import batch
from rxpool.operators._circuit_breaker import circuit_breaker
from rxpool.operators._debounce import debounce
from rxpool.operators._fallback import fallback
from rxpool.operators._progress import progress
from rxpool.operators._retry import retry
from rxpool.operators._throttle import throttle

__all__ = ("batch", "circuit_breaker", "debounce", "fallback", "progress", "retry", "throttle")
