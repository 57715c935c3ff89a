"""``circuit_breaker`` in virtual time: which calls it refuses, and who gives permits back."""

import sys
import threading

import pytest
import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import CircuitOpen, InvalidArgument, Retry, TimerScheduler
from rxpool import operators as ops
from rxpool.operators._circuit_breaker import _Call as Call
from rxpool.timing import Clock
from tests.operators.attempts import (
    BAD,
    BOOM,
    GOOD,
    Attempts,
    Oops,
    breaker,
    giving_way,
    subscribe_at,
)
from tests.operators.crew import finish, start
from tests.operators.sources import on_completed, on_error, on_next, subscribe
from tests.waiting import WAIT


def refusal(message):
    """What a message carries."""
    return message.value.exception


# -- circuit_breaker ---------------------------------------------------------------------------


def test_calls_of_a_breaker_at_their_ticks():
    """Two bad ones open it; a refused one subscribes to nothing; a good probe closes it."""
    scheduler = TestScheduler()
    guard = breaker()
    attempts = Attempts(scheduler, BAD, BAD, GOOD, GOOD)
    guarded = attempts.source.pipe(ops.circuit_breaker(guard))
    results = [scheduler.create_observer() for _ in range(5)]
    states = []
    for at, result in zip((200, 220, 240, 330, 340), results, strict=True):
        subscribe_at(scheduler, at, guarded, result)
        scheduler.schedule_absolute(at + 11, lambda *_: states.append(guard.state))
    scheduler.start(rx.never)
    one, two, three, four, five = (result.messages for result in results)
    assert one == [on_next(205, "a"), on_error(210, BOOM)]
    assert two == [on_next(225, "a"), on_error(230, BOOM)]
    (refused,) = three
    assert refused.time == 240
    assert isinstance(refusal(refused), CircuitOpen)
    assert refusal(refused).retry_after == 90.0
    assert four == [on_next(335, "b"), on_completed(337)]
    assert five == [on_next(345, "b"), on_completed(347)]
    assert states == ["closed", "open", "open", "closed", "closed"]
    assert attempts.windows == [
        subscribe(200, 210),
        subscribe(220, 230),
        subscribe(330, 337),
        subscribe(340, 347),
    ]


def test_a_probe_that_is_left_gives_its_permit_back():
    """And counts as neither; the next one is let through."""
    scheduler = TestScheduler()
    guard = breaker()
    attempts = Attempts(scheduler, BAD, BAD, [], GOOD)
    guarded = attempts.source.pipe(ops.circuit_breaker(guard))
    results = [scheduler.create_observer() for _ in range(5)]
    subscriptions = {}
    for at, result in zip((200, 220, 340, 345, 360), results, strict=True):

        def begin(*_, at=at, result=result):
            subscriptions[at] = guarded.subscribe(result, scheduler=scheduler)

        scheduler.schedule_absolute(at, begin)
    scheduler.schedule_absolute(350, lambda *_: subscriptions[340].dispose())
    scheduler.start(rx.never)
    assert results[2].messages == []
    assert isinstance(refusal(results[3].messages[0]), CircuitOpen)
    assert results[4].messages == [on_next(365, "b"), on_completed(367)]
    assert guard.state == "closed"
    assert attempts.windows[2:] == [subscribe(340, 350), subscribe(360, 367)]


def test_slow_calls_are_measured_on_the_clock():
    """From the subscription to the end, good or bad."""
    scheduler = TestScheduler()
    guard = breaker(slow_call_duration_threshold=6)
    attempts = Attempts(scheduler, BAD, GOOD)
    scheduler.start(
        lambda: attempts.source.pipe(ops.circuit_breaker(guard), ops.retry(Retry(2, delay=0)))
    )
    metrics = guard.metrics()
    assert (metrics.calls, metrics.slow, metrics.failed) == (2, 2, 1)
    assert guard.state == "open"


def test_retry_around_a_breaker_gives_up_unless_it_asks_for_refusals():
    """Each attempt is a call; with `CircuitOpen` in `on` the wait is that of the breaker."""
    for on, expected in (
        (Exception, [222]),
        ((Oops, CircuitOpen), [325]),
    ):
        scheduler = TestScheduler()
        attempts = Attempts(
            scheduler, [on_error(1, BOOM)], [on_error(1, BOOM)], [on_next(5, "b")]
        )
        policy = Retry(9, delay=5, jitter=0, backoff=lambda n: 18 if n == 1 else 2, on=on)
        result = scheduler.start(
            lambda attempts=attempts, policy=policy: attempts.source.pipe(
                ops.circuit_breaker(breaker()), ops.retry(policy)
            )
        )
        assert [message.time for message in result.messages] == expected


def test_what_a_predicate_of_the_breaker_raises_ends_the_stream():
    """With the error of the source as its cause."""

    def broken(_):
        raise LookupError("broken")

    seen = []
    guard = breaker(record_exceptions=broken)
    rx.throw(Oops()).pipe(ops.circuit_breaker(guard)).subscribe(on_error=seen.append)
    assert isinstance(seen[0], LookupError)
    assert isinstance(seen[0].__cause__, Oops)
    assert guard.metrics().failed == 1


def test_virtual_and_real_time_do_not_mix():
    """The stream fails with a message that says what to do."""
    guard = breaker()
    rx.of(1).pipe(ops.circuit_breaker(guard)).run()
    scheduler = TestScheduler()
    result = scheduler.start(lambda: rx.of(1).pipe(ops.circuit_breaker(guard)))
    (message,) = result.messages
    assert isinstance(refusal(message), InvalidArgument)


def test_a_subscriber_that_raises_gives_the_permit_back():
    """The source's thread gets the exception."""
    guard = breaker()
    source = Subject()

    def raising(_):
        raise LookupError("mine")

    source.pipe(ops.circuit_breaker(guard)).subscribe(raising)
    with pytest.raises(LookupError, match="mine"):
        source.on_next(1)
    source.on_completed()
    assert guard.metrics().calls == 0


def test_an_interrupt_while_the_source_is_subscribed_to_gives_the_permit_back():
    """The next one gets the probe."""

    def interrupted(*_):
        raise KeyboardInterrupt

    guard = breaker(wait_duration_in_open_state=0)
    for source in (rx.throw(BOOM), rx.throw(BOOM)):
        source.pipe(ops.circuit_breaker(guard)).subscribe(on_error=lambda _: None)
    with pytest.raises(KeyboardInterrupt):
        rx.create(interrupted).pipe(ops.circuit_breaker(guard)).subscribe()
    assert rx.of(1).pipe(ops.circuit_breaker(guard)).run() == 1
    assert guard.state == "closed"


# -- threads -----------------------------------------------------------------------------------


def test_an_end_and_a_dispose_at_once_report_a_call_once():
    """Caught: looking whether the call was reported, and noting that it is, in two steps."""
    reports = []

    class Spy:
        def succeeded(self, permit, now, took):
            reports.append("succeeded")

        def cancelled(self, permit, place):
            reports.append("cancelled")

        def carry_out(self):
            """There is nothing to tell."""

    spy, clock = Spy(), Clock(TimerScheduler.singleton())
    calls = [Call(spy, 0, clock, 0.0) for _ in range(300)]
    together = threading.Barrier(2)

    def end(how):
        sys.settrace(giving_way(Call._take))
        for call in calls:
            together.wait(WAIT)
            how(call)

    finish(*[start(end, how) for how in (Call.succeeded, Call.cancelled)])
    assert len(reports) == len(calls)
