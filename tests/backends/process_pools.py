"""Pools on processes as tests look at them."""

import reactivex as rx

from rxpool import Failure
from tests.backends import process_jobs as jobs
from tests.pool.crew import collect
from tests.waiting import eventually


def outcomes(pool, fn, items, **options):
    """The outcomes of *items*, in their order."""
    options.setdefault("order", "input")
    return collect(rx.from_iterable(items).pipe(pool.outcomes(fn, **options)))


def outcome(pool, fn, item, **options):
    """The outcome of a single item."""
    (found,) = outcomes(pool, fn, [item], **options)
    return found


def error_of(pool, fn, item=0, **options):
    """The error of a single item, which fails."""
    found = outcome(pool, fn, item, **options)
    assert isinstance(found, Failure), found
    return found.error


def pids(pool):
    """The processes of *pool* that are alive."""
    return {process.pid for process in pool._engine.backend.processes}


def pids_of_both(pool):
    """Have both processes of a pool of two started."""
    found = set(collect(rx.of(0.05, 0.05).pipe(pool.map(jobs.nap))))
    assert found == {0.05}
    eventually(lambda: len(pids(pool)) == 2)
    return pids(pool)
