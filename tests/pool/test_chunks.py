"""What backends call that run tasks elsewhere, several in one go."""

import pytest

from rxpool import TaskCancelled, WorkerPool
from rxpool.pool._state.task import Task
from tests import jobs


def test_the_end_of_a_task_that_was_cancelled_before_it_began():
    """Its worker has died meanwhile: nothing changes, and the worker's thread goes on."""
    with WorkerPool(1) as pool:
        task = Task(pool._calls.state, 1, 0.0)
        task.settled = task.cancelled = True
        task.error, task.took = TaskCancelled("not wanted any more"), 0.0
        following = []
        pool._engine.runner.finish([task], (), following.append)
        assert following == [None]
        assert pool.report().failed == 0


@pytest.mark.parametrize(
    ("options", "several"),
    [
        ({}, True),
        ({"order": "key", "key": abs}, True),
        ({"priority": abs}, True),
        ({"overflow": "drop_oldest"}, False),
    ],
)
def test_the_flow_of_a_worker_lets_only_go_in_chunks_what_stays_accepted(options, several):
    """What a later item could make go stays with the pool."""
    with WorkerPool(1, on="inline") as pool:
        state = pool.worker(jobs.same, **options)._calls.state
        assert state.chunkable is several


def test_keyed_items_of_a_worker_that_wait_for_a_busy_process():
    """It is given no more of them than may start."""
    with WorkerPool(1, on="processes") as pool:
        worker = pool.worker(jobs.same, order="key", key=bool)
        futures = [worker.execute(n) for n in range(1500)]
        assert [future.result(30) for future in futures] == list(range(1500))
