"""An observer of failures that fails itself: the stream ends with that error."""

import pytest
import reactivex as rx
from reactivex import Observer

from rxpool import WorkerPool
from tests import jobs
from tests.conformance.lanes import KINDS, LANES


class Full(OSError):
    """There is no room for dead letters."""


def disk_full(_):
    """Take no letter."""
    raise Full("disk full")


@pytest.fixture(params=LANES)
def lane(request, tmp_path):
    """A place where work runs."""
    lane = KINDS[request.param](request.param, tmp_path)
    yield lane
    lane.end()


@pytest.mark.parametrize("order", ["completion", "input"])
def test_the_stream_ends_with_that_error(lane, order):
    """Chained to the failure that it was given."""
    with lane.pool(2) as pool:
        work = pool.map(jobs.fail_odd, order=order, on_failure=Observer(disk_full))
        sink = lane.subscribe(rx.of(0, 2, 5, 4, 7).pipe(work)).wait()
        assert isinstance(sink.error, Full)
        assert isinstance(sink.error.__cause__, jobs.Oops)
        assert set(sink.values) <= {0, 2, 4}
        report = pool.report()
        assert report.failed >= 1


@pytest.mark.parametrize("error", [Full, SystemExit, StopIteration])
def test_run_ends(error):
    """`run` raises it instead of waiting for ever."""

    def refuse(_):
        raise error

    with WorkerPool(2) as pool:
        work = pool.map(jobs.fail_odd, on_failure=Observer(refuse))
        with pytest.raises((error, RuntimeError)):
            rx.of(1, 3).pipe(work).run()


def test_an_iterator_raises_it():
    """`imap` does so too, and cancels the rest."""
    with WorkerPool(2) as pool:
        results = pool.imap(jobs.fail_odd, range(50), on_failure=Observer(disk_full))
        with pytest.raises(Full) as raised:
            list(results)
        assert isinstance(raised.value.__cause__, jobs.Oops)
        assert list(results) == []


def test_a_batch_of_failures():
    """The first that is refused ends it."""
    with WorkerPool(2) as pool:
        work = pool.map_batches(
            lambda batch: [jobs.Oops(n) for n in batch], on_failure=Observer(disk_full)
        )
        with pytest.raises(Full):
            rx.of([1, 2, 3]).pipe(work).run()
