"""`WorkerPool`: runs functions over streams, iterables and single calls."""

from rxpool.pool._as_executor import PoolExecutor
from rxpool.pool._collected import Collected
from rxpool.pool._iterate import Items, iterate
from rxpool.pool._map_worker import MapWorker
from rxpool.pool._pool import WorkerPool, host
from rxpool.pool._report import FlowReport, PoolReport
from rxpool.pool._submit import PoolFuture

__all__ = (
    "Collected",
    "FlowReport",
    "Items",
    "MapWorker",
    "PoolExecutor",
    "PoolFuture",
    "PoolReport",
    "WorkerPool",
    "host",
    "iterate",
)
