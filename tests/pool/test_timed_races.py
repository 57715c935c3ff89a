"""Deadlines and second runs, and workers that go on without the lock: one item, one outcome."""

import random
import threading
import time

import pytest
from reactivex import operators as ro

from rxpool import DeadlineExceeded, Failure, Hedge, WorkerPool
from rxpool.backends._threads import ThreadBackend
from tests.waiting import WAIT

pytestmark = pytest.mark.usefixtures("frantic")


def spin(seconds):
    """Work for so long."""
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        pass


@pytest.mark.parametrize("order", ["completion", "input"])
def test_two_runs_of_an_item_have_one_outcome(order):
    """The second one begins at about the time at which the first one ends.

    Catches second runs that begin beside a task which a worker has just settled, and a worker
    that settles a task without looking whether it has another run.
    """
    chance = random.Random(7)
    takes = [chance.uniform(0.0, 0.0012) for _ in range(12)]
    for _ in range(200):
        with WorkerPool(3) as pool:
            stream = pool.pull(range(12)).pipe(
                pool.map(
                    lambda n: spin(takes[n]) or n, hedge=Hedge(0.0005, budget=None), order=order
                ),
                ro.to_list(),
            )
            results = stream.run()
            assert sorted(results) == list(range(12))
            assert order == "completion" or results == list(range(12))
        report = pool.report()
        assert (report.accepted, report.succeeded) == (12, 12)


def test_some_second_runs_begin():
    """Or the test above would show nothing."""
    runs, gate = [], threading.Event()

    def work(number):
        runs.append(number)
        if len(runs) > 1:
            gate.set()
        gate.wait(WAIT)
        return number

    with WorkerPool(3) as pool:
        results = pool.pull([1]).pipe(pool.map(work, hedge=Hedge(0.0005)), ro.to_list()).run()
    assert results == [1]
    assert runs == [1, 1]


@pytest.mark.parametrize("options", [{}, {"order": "input"}, {"priority": lambda n: -n}])
def test_an_item_that_is_taken_when_its_deadline_is_over_has_one_outcome(options):
    """It has waited too long, it is run, or it ran too long: whichever was first.

    Catches an alarm that fails an item which a worker has just taken.
    """
    late = 0
    for _ in range(200):
        with WorkerPool(2) as pool:
            stream = pool.pull(range(40)).pipe(
                pool.outcomes(lambda n: spin(0.00002) or n, deadline=0.0006, **options),
                ro.to_list(),
            )
            outcomes = stream.run()
        assert sorted(outcome.item for outcome in outcomes) == list(range(40))
        failures = [outcome for outcome in outcomes if isinstance(outcome, Failure)]
        assert {type(failure.error) for failure in failures} <= {DeadlineExceeded}
        late += len(failures)
        report = pool.report()
        assert (report.accepted, report.succeeded) == (40, 40 - len(failures))
        assert report.failed == len(failures)
    assert late


def test_the_backend_of_these_is_threads():
    """Whose workers go on without the lock."""
    with WorkerPool(1) as pool:
        assert isinstance(pool._engine.backend, ThreadBackend)
