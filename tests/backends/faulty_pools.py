"""Pools on processes under faults, and what is to be left of them."""

import reactivex as rx

from tests.backends import process_jobs as jobs
from tests.backends.process_pools import pids
from tests.pool.crew import Sink
from tests.waiting import WAIT, eventually


def outcomes(pool, fn, items, **options):
    """The outcomes of *items*, as they come."""
    return Sink().to(rx.from_iterable(items).pipe(pool.outcomes(fn, **options))).wait()


def ready(pool):
    """Wait until all workers of a pool of two run; their processes."""
    Sink().to(rx.of(0.05, 0.05).pipe(pool.map(jobs.nap))).wait()
    eventually(lambda: len(pids(pool)) == 2)
    return pids(pool)


def healthy(pool, workers=2):
    """The books balance, nothing is inside, and as many items run at once as there should."""
    r = pool.report()
    assert r.accepted == r.succeeded + r.failed + r.dropped + r.cancelled + r.in_flight
    assert (r.in_flight, r.waiting, r.flows) == (0, 0, ())
    assert pool.workers == workers
    assert pool.submit(jobs.double, 21).result(WAIT) == 42
    eventually(lambda: len(pool._engine.backend._roster.idle) == len(pids(pool)))
    assert pool._engine.slots.free == workers
    return r
