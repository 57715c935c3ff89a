"""Ends in virtual time: when who is told what."""

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import BatchProcessor, DebounceManager, ThrottleManager, WorkerPool
from rxpool import operators as ops
from tests.pool.marbles import row, shown, windows, work


def ended(build, *, how="close", at=300, workers=2):
    """What observers of the streams that *build* makes of a pool are told, as text."""
    scheduler = TestScheduler()
    pool = WorkerPool(workers, on=scheduler)
    observers = []

    def subscribe(*_):
        for stream in build(scheduler, pool):
            observers.append(scheduler.create_observer())
            stream.subscribe(observers[-1], scheduler=scheduler)

    scheduler.schedule_absolute(200.0, subscribe)
    scheduler.schedule_absolute(float(at), lambda *_: getattr(pool, how)() and None)
    scheduler.advance_to(1000.0)
    assert pool.close()
    return [shown(observer.messages) for observer in observers]


def test_idle_flows_are_told_at_the_instant():
    """All of them."""

    def build(scheduler, pool):
        return [rx.never().pipe(pool.map(work)), Subject().pipe(pool.map(work))]

    assert ended(build) == ["|@300", "|@300"]
    assert ended(build, how="terminate") == ["#PoolClosed@300", "#PoolClosed@300"]


@pytest.mark.parametrize(
    ("share", "shared", "branch"),
    [
        ([ro.share()], "a@330 b@340 |@340", "a@340 b@350 |@350"),
        ([ro.replay(buffer_size=9), ro.ref_count()], "a@330 b@340 |@340", "a@340 b@350 |@350"),
        ([ops.throttle(1, per=30), ro.share()], "a@330 b@360 |@360", "a@340 b@370 |@370"),
        ([ro.delay(20.0), ro.share()], "a@350 b@360 |@360", "a@360 b@370 |@370"),
    ],
    ids=["share", "replay", "throttle", "delay"],
)
def test_what_others_feed_is_completed_by_them(share, shared, branch):
    """The branches of a shared stream, whose items come after the pool began to close."""

    def build(scheduler, pool):
        source = scheduler.create_hot_observable(*row("a40@290 b50@290 |@900"))
        stream = source.pipe(pool.map(work), *share)
        later = stream.pipe(pool.map(lambda name: rx.timer(10.0).pipe(ro.map(lambda _: name))))
        return [stream, later, later]

    assert ended(build, workers=4) == [shared, branch, branch]


def test_a_stage_below_a_pool_is_waited_for():
    """The pool has ended when what its results go through has."""
    scheduler = TestScheduler()
    pool = WorkerPool(4, on=scheduler)
    results = scheduler.create_observer()
    rx.of("a1", "b1", "c1").pipe(
        pool.map(work), ops.throttle(1, per=50, scheduler=scheduler)
    ).subscribe(results)
    answers = {}
    for tick in (10, 60, 110):
        scheduler.schedule_absolute(
            float(tick), lambda *_, tick=tick: answers.update({tick: pool.close()})
        )
    scheduler.advance_to(1000.0)
    assert shown(results.messages) == "a@1 b@51 c@101 |@101"
    assert answers == {10: False, 60: False, 110: True}


@pytest.mark.parametrize(
    ("stage", "expected"),
    [
        (ops.batch(1000, 600), "#PoolClosed@300"),
        (ops.throttle(1, per=200, burst=0), "#PoolClosed@300"),
        (ops.debounce(500), "#PoolClosed@300"),
    ],
)
def test_what_a_stage_above_holds_is_not_said_to_be_done(stage, expected):
    """A hard end: the items did not even reach the pool."""

    def build(scheduler, pool):
        source = scheduler.create_hot_observable(*row("a1@250 b1@251 |@900"))
        return [source.pipe(stage, pool.map(str)), source.pipe(stage, pool.outcomes(str))]

    assert ended(build, how="terminate") == [expected, expected]


def test_what_was_done_comes_out_first():
    """An open batch below the pool included."""

    def build(scheduler, pool):
        source = scheduler.create_hot_observable(*row("a1@250 b1@251 c90@252 |@900"))
        return [source.pipe(pool.map(work), ops.batch(1000, 600), ro.map("".join))]

    assert ended(build, how="terminate") == ["ab@300 #TaskCancelled@300"]


def test_sources_are_let_go_of_once_nothing_feeds_them():
    """At the close if they are entries, else when what is above has ended."""
    scheduler = TestScheduler()
    pool = WorkerPool(4, on=scheduler)
    above = scheduler.create_hot_observable(*row("a40@290 |@900"))
    beside = scheduler.create_hot_observable(*row("b1@900"))
    scheduler.schedule_absolute(300.0, lambda *_: pool.close() and None)
    results = scheduler.start(
        lambda: rx.merge(above.pipe(pool.map(work)), beside).pipe(pool.map(str.upper))
    )
    assert shown(results.messages) == "A@330 |@330"
    assert windows(above) == [(200, 300)]
    assert windows(beside) == [(200, 330)]


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_faces_on_the_pool(how):
    """What waits there is done by a graceful end, and fails by a hard one."""
    scheduler = TestScheduler()
    pool = WorkerPool(4, on=scheduler)
    batches = BatchProcessor(list, max_size=99, max_delay=500, pool=pool, scheduler=scheduler)
    throttle = ThrottleManager(1, per=20, pool=pool, scheduler=scheduler)
    debounce = DebounceManager(500, pool=pool, scheduler=scheduler)
    futures = []

    def fill(*_):
        futures.append(batches.add("batch"))
        futures.extend(throttle.execute(str, n) for n in range(3))
        futures.append(debounce.execute(str, "edge"))

    scheduler.schedule_absolute(200.0, fill)
    scheduler.schedule_absolute(205.0, lambda *_: getattr(pool, how)() and None)
    scheduler.advance_to(210.0)
    assert [f.done() for f in futures] == (
        [True, True, False, False, True] if how == "close" else [True] * 5
    )
    scheduler.advance_to(1000.0)
    assert all(future.done() for future in futures)
    if how == "close":
        assert [f.result() for f in futures] == ["batch", "0", "1", "2", "edge"]
    else:
        errors = [future.exception() for future in futures]
        assert [type(error).__name__ for error in errors] == [
            "PoolClosed", "NoneType", "PoolClosed", "PoolClosed", "PoolClosed",
        ]  # fmt: skip
    assert pool.close()
