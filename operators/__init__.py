"""Operators on any observable: ``from rxpool import operators as ops``."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.operators._batch import batch
    from rxpool.operators._circuit_breaker import circuit_breaker
    from rxpool.operators._debounce import debounce
    from rxpool.operators._fallback import fallback
    from rxpool.operators._progress import progress
    from rxpool.operators._retry import retry
    from rxpool.operators._throttle import throttle
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.operators._batch": "batch",
            "rxpool.operators._circuit_breaker": "circuit_breaker",
            "rxpool.operators._debounce": "debounce",
            "rxpool.operators._fallback": "fallback",
            "rxpool.operators._progress": "progress",
            "rxpool.operators._retry": "retry",
            "rxpool.operators._throttle": "throttle",
        },
    )

__all__ = ("batch", "circuit_breaker", "debounce", "fallback", "progress", "retry", "throttle")
