"""`pool.worker` wherever work runs."""

import pytest

from rxpool import TaskCancelled
from tests import jobs
from tests.conformance.lanes import counts


@pytest.mark.parametrize("form", [jobs.double, jobs.double_later])
def test_items_and_batches(lane, form):
    """Each item its own result; a batch the results of its items, in their order."""
    told = []
    with lane.pool(2, max_pending=2) as pool:
        worker = pool.worker(form)
        single = worker.execute(21)
        batch = worker.execute_batch(range(12), lambda *progress: told.append(progress))
        lane.until(single.done)
        lane.until(batch.done)
        assert single.result() == 42
        assert batch.result() == list(range(0, 24, 2))
        assert told == [(n, 12) for n in range(1, 13)]
        assert counts(pool) == {"accepted": 13, "succeeded": 13}
        assert worker.close()
        assert counts(pool) == {"accepted": 13, "succeeded": 13}


def test_an_item_that_fails(lane):
    """Its own future has the error; that of its batch too."""
    with lane.pool(2) as pool:
        worker = pool.worker(jobs.meet)
        single = worker.execute("Oops")
        lane.until(single.done)
        assert type(single.exception()).__name__ == "Oops"
        batch = worker.execute_batch(["Oops", "Oops"])
        lane.until(batch.done)
        assert type(batch.exception()).__name__ == "Oops"
        assert counts(pool) == {"accepted": 3, "failed": 3}


def test_terminate(lane):
    """Every future has its end, those of items that no worker has seen too."""
    with lane.pool(1, max_pending=1) as pool:
        worker = pool.worker(jobs.double)
        batches = [worker.execute_batch(range(50)) for _ in range(3)]
        pool.terminate()
        for batch in batches:
            lane.until(batch.done)
            assert (
                batch.cancelled()
                or isinstance(batch.exception(), (TaskCancelled, type(None)))
                or type(batch.exception()).__name__ == "PoolClosed"
            )
        assert worker.pending == 0
