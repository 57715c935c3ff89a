"""`WorkerPool`: runs functions over streams, iterables and single calls."""

from rxpool.pool._iterate import Items, iterate
from rxpool.pool._map_worker import MapWorker
from rxpool.pool._pool import WorkerPool
from rxpool.pool._report import FlowReport, PoolReport
from rxpool.pool._submit import PoolFuture

__all__ = (
    "FlowReport",
    "Items",
    "MapWorker",
    "PoolFuture",
    "PoolReport",
    "WorkerPool",
    "iterate",
)
