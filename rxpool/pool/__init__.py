"""`WorkerPool`: runs functions over streams, iterables and single calls."""

from typing import TYPE_CHECKING

from rxpool._lazy import lazily

if TYPE_CHECKING:
    from rxpool.pool._as_executor import PoolExecutor
    from rxpool.pool._flows.collected import Collected
    from rxpool.pool._flows.future import PoolFuture
    from rxpool.pool._flows.iterate import Items, iterate
    from rxpool.pool._flows.map_worker import MapWorker
    from rxpool.pool._pool import WorkerPool, host
    from rxpool.pool._state.report import FlowReport, PoolReport
else:
    __getattr__, __dir__ = lazily(
        __name__,
        {
            "rxpool.pool._as_executor": "PoolExecutor",
            "rxpool.pool._flows.collected": "Collected",
            "rxpool.pool._flows.future": "PoolFuture",
            "rxpool.pool._flows.iterate": "Items iterate",
            "rxpool.pool._flows.map_worker": "MapWorker",
            "rxpool.pool._pool": "WorkerPool host",
            "rxpool.pool._state.report": "FlowReport PoolReport",
        },
    )

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
