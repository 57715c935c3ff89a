"""Subscribers that leave a pool in virtual time."""

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.testing import TestScheduler

from rxpool import WorkerPool
from tests.pool.marbles import counts, row, shown, windows, work
from tests.pool.virtual import run


@pytest.mark.parametrize("order", ["completion", "input"])
def test_take_lets_everything_go(order):
    """After `take(1)` the source is let go, running work is disposed, the rest cancelled."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    jobs = {
        name: scheduler.create_cold_observable(*row(text))
        for name, text in [("a", "a@10 |@10"), ("b", "b@30 |@30"), ("c", "c@5 |@5")]
    }
    xs = scheduler.create_hot_observable(*row("a@210 b@211 c@212 |@300"))
    results = scheduler.start(
        lambda: xs.pipe(pool.map(jobs.__getitem__, order=order), ro.take(1))
    )
    assert shown(results.messages) == "a@220 |@220"
    assert windows(xs) == [(200, 220)]
    # The result at 220 is delivered before its work has completed.
    assert [windows(job) for job in jobs.values()] == [[(210, 220)], [(211, 220)], []]
    assert counts(pool) == {"accepted": 3, "cancelled": 3}


def test_dispose_cancels_what_waits_and_runs():
    """Disposing lets the source go; what was accepted counts as cancelled, at once."""
    messages, xs, pool = run("a5@210 b30@210 c10@211 |@300", disposed=225)
    assert shown(messages) == "a@215"
    assert windows(xs) == [(200, 225)]
    assert counts(pool) == {"accepted": 3, "succeeded": 1, "cancelled": 2}


def test_disposed_work_frees_its_slot():
    """A flow that is disposed leaves the worker to the others."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    hog = rx.of("a900").pipe(pool.map(work)).subscribe()
    scheduler.schedule_absolute(230.0, lambda *_: hog.dispose())
    results = scheduler.start(lambda: rx.of("b10").pipe(pool.map(work)))
    assert shown(results.messages) == "b@240 |@240"


def test_a_subscriber_may_leave_while_it_is_given_a_value():
    """Nothing comes after the value during which the subscriber left."""
    scheduler = TestScheduler()
    pool = WorkerPool(3, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a@210 b@210 c@210 |@300"))
    got = []

    def take_two(value):
        got.append(value)
        if len(got) == 2:
            subscription.dispose()

    subscription = xs.pipe(pool.map(str.upper)).subscribe(take_two)
    scheduler.start()
    assert got == ["A", "B"]
    assert windows(xs) == [(0, 210)]
    assert counts(pool) == {"accepted": 3, "succeeded": 2, "cancelled": 1}
