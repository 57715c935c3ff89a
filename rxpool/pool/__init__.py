"""`WorkerPool`: runs functions over streams, iterables and single calls."""

from rxpool.pool._as_executor import PoolExecutor
from rxpool.pool._flows.collected import Collected
from rxpool.pool._flows.future import PoolFuture
from rxpool.pool._flows.iterate import Items, iterate
from rxpool.pool._flows.map_worker import MapWorker
from rxpool.pool._pool import WorkerPool, host
from rxpool.pool._state.report import FlowReport, PoolReport

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
