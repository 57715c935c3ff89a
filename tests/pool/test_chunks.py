"""What backends call that run tasks elsewhere, several in one go."""

from rxpool import TaskCancelled, WorkerPool
from rxpool.pool._state.task import Task


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
