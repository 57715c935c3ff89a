"""Operators on any observable: ``from rxpool import operators as ops``."""

from rxpool.operators._batch import batch
from rxpool.operators._debounce import debounce
from rxpool.operators._throttle import throttle

__all__ = ("batch", "debounce", "throttle")
