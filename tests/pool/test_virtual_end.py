"""The end of a pool in virtual time."""

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.testing import TestScheduler

from rxpool import TaskCancelled, WorkerPool
from rxpool import operators as ops
from rxpool.errors import PoolClosed
from tests.pool.marbles import Oops, conserved, counts, row, shown, windows, work
from tests.pool.virtual import at, outcome


def test_close_cuts_the_source_and_finishes_what_was_accepted():
    """`close` takes no more items; what was accepted comes out, then the completion."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a10@210 b10@211 c10@230 |@300"))
    closed = at(scheduler, 215, pool.close)
    results = scheduler.start(lambda: xs.pipe(pool.map(work)))
    assert shown(results.messages) == "a@220 b@230 |@230"
    assert windows(xs) == [(200, 215)]
    assert closed == [False]  # nobody can wait in virtual time
    assert counts(pool) == {"accepted": 2, "succeeded": 2}
    assert pool.close() is True


def test_close_of_an_idle_pool_completes_its_streams():
    """A flow with nothing inside completes at once."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    closed = at(scheduler, 215, pool.close)
    results = scheduler.start(lambda: rx.never().pipe(pool.map(work)))
    assert shown(results.messages) == "|@215"
    assert closed == [True]


@pytest.mark.parametrize(
    ("between", "expected"),
    [
        ((), "a@225 b@235 |@235"),
        ((ops.batch(10),), "ab@235 |@235"),
        ((ops.throttle(1, per=50),), "a@225 b@275 |@275"),
        ((ops.debounce(100),), "b@235 |@235"),
        ((ops.throttle(1, per=50), ops.batch(10)), "ab@275 |@275"),
    ],
)
def test_close_drains_a_chain_from_the_top(between, expected):
    """Stage after stage: tasks end, then what operators hold comes out, then the next map."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a10@210 b20@210 c10@230 |@900"))
    at(scheduler, 215, pool.close)

    def second(value):
        return rx.timer(5.0).pipe(ro.map(lambda _: "".join(value)))

    results = scheduler.start(lambda: xs.pipe(pool.map(work), *between, pool.map(second)))
    assert shown(results.messages) == expected
    assert windows(xs) == [(200, 215)]
    assert counts(pool)["accepted"] == counts(pool)["succeeded"]


def test_close_ends_a_flow_that_is_fed_by_something_else_as_well():
    """Once what is upstream has drained, a source that goes on for ever is cut."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a10@210 b30@211 |@900"))
    ys = scheduler.create_hot_observable(*row("c@216 d@900"))
    at(scheduler, 215, pool.close)
    results = scheduler.start(
        lambda: rx.merge(xs.pipe(pool.map(work)), ys).pipe(pool.map(str.upper))
    )
    assert shown(results.messages) == "C@220 A@220 B@241 |@241"
    assert windows(xs) == [(200, 215)]
    assert windows(ys) == [(200, 241)]


def test_terminate_gives_every_item_its_outcome():
    """`terminate` cancels what waits and what runs, and says so for each item."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    job = scheduler.create_cold_observable(*row("x@50 |@50"))
    xs = scheduler.create_hot_observable(*row("a@205 b@210 c@211 d@212 |@300"))
    at(scheduler, 230, pool.terminate)
    results = scheduler.start(
        lambda: xs.pipe(pool.outcomes(lambda item: work("a5") if item == "a" else job))
    )
    assert shown(results.messages, outcome) == (
        "a@210 -b:TaskCancelled@230 -c:TaskCancelled@230 -d:TaskCancelled@230 |@230"
    )
    assert windows(xs) == [(200, 230)]
    assert windows(job) == [(210, 230), (211, 230)]
    assert counts(pool) == {"accepted": 4, "succeeded": 1, "cancelled": 3}
    failures = [m.value.value for m in results.messages[1:-1]]
    assert [(f.attempts, f.waited, f.took) for f in failures] == [
        (1, 0, 20), (1, 0, 19), (0, 18, 0),
    ]  # fmt: skip
    assert all(pool.name in str(f.error) for f in failures)


def test_terminate_in_input_order():
    """Results that waited for their turn come out; the others are cancelled, in order."""
    scheduler = TestScheduler()
    pool = WorkerPool(2, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a90@210 b5@210 c90@211 d5@212 |@300"))
    at(scheduler, 230, pool.terminate)
    results = scheduler.start(lambda: xs.pipe(pool.outcomes(work, order="input")))
    assert shown(results.messages, outcome) == (
        "-a90:TaskCancelled@230 b@230 -c90:TaskCancelled@230 -d5:TaskCancelled@230 |@230"
    )


def test_terminate_ends_a_map_with_the_error():
    """A cancelled item is a failed item: it ends a stream with ``on_failure="raise"``."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a90@210 b90@211 |@300"))
    at(scheduler, 230, pool.terminate)
    results = scheduler.start(lambda: xs.pipe(pool.map(work)))
    assert shown(results.messages) == "#TaskCancelled@230"
    assert isinstance(results.messages[0].value.exception, TaskCancelled)
    assert counts(pool) == {"accepted": 2, "cancelled": 2}


def test_terminate_ends_a_chain():
    """Every flow of a chain ends at once, with an error: the batch did not come to the last."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    xs = scheduler.create_hot_observable(*row("a5@210 b90@211 |@300"))
    at(scheduler, 230, pool.terminate)
    results = scheduler.start(
        lambda: xs.pipe(pool.map(work, on_failure="skip"), ops.batch(9), pool.outcomes(len))
    )
    assert shown(results.messages) == "#PoolClosed@230"
    assert counts(pool)["cancelled"] >= 1
    conserved(pool)


def test_leaving_the_block_by_an_exception_terminates():
    """An exception out of the ``with`` block cancels what was accepted."""
    scheduler = TestScheduler()
    results = scheduler.create_observer()

    def use():
        with WorkerPool(1, on=scheduler) as pool:
            rx.of("a10", "b10").pipe(pool.outcomes(work)).subscribe(results)
            scheduler.advance_to(5.0)
            raise Oops

    with pytest.raises(Oops):
        use()
    assert shown(results.messages, outcome) == ("-a10:TaskCancelled@5 -b10:TaskCancelled@5 |@5")


def test_a_closed_pool_takes_nothing():
    """A map on a closed pool fails with `PoolClosed`, its source is not even subscribed."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler, name="shut")
    pool.close()
    xs = scheduler.create_hot_observable(*row("a10@210"))
    results = scheduler.start(lambda: xs.pipe(pool.map(work)))
    assert shown(results.messages) == "#PoolClosed@200"
    assert "shut" in str(results.messages[0].value.exception)
    assert windows(xs) == []
    with pytest.raises(PoolClosed, match="shut"):
        pool.submit(print)
    with pytest.raises(PoolClosed, match="shut"):
        pool.imap(print, [])
    assert counts(pool) == {}


def test_a_pool_that_closes_takes_no_new_flow():
    """While a closing pool drains it is closed for new work."""
    scheduler = TestScheduler()
    pool = WorkerPool(1, on=scheduler)
    at(scheduler, 215, pool.close)
    xs = scheduler.create_hot_observable(*row("a30@210"))
    late = scheduler.create_observer()
    at(scheduler, 220, lambda: rx.of("b1").pipe(pool.map(work)).subscribe(late))
    results = scheduler.start(lambda: xs.pipe(pool.map(work)))
    assert shown(results.messages) == "a@240 |@240"
    assert shown(late.messages) == "#PoolClosed@220"
