"""``retry`` in virtual time: when sources are subscribed to again, and what is let go."""

import sys
import threading
import time
from queue import SimpleQueue

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import Retry, TimerScheduler
from rxpool import operators as ops
from rxpool._core import inlet
from rxpool.operators._retry import _Attempts as Attempt
from tests.alarms import Alarms
from tests.operators.attempts import (
    BAD,
    BOOM,
    BUSY,
    EXACT,
    GOOD,
    Attempts,
    Oops,
    giving_way,
    subscribe_at,
)
from tests.operators.crew import finish, start
from tests.operators.sources import on_completed, on_error, on_next, subscribe
from tests.waiting import WAIT

# -- retry -------------------------------------------------------------------------------------


def test_retries_until_the_subscriber_leaves():
    """With as many attempts as it takes, nothing else ends it."""
    scheduler = TestScheduler()
    made = []

    def fail(_):
        made.append(scheduler.clock)
        return rx.throw(BOOM)

    endless = Retry(max_attempts=None, backoff="constant", **EXACT)
    results = scheduler.start(lambda: rx.defer(fail).pipe(ops.retry(endless)), disposed=705)
    assert results.messages == []
    assert made == [200.0 + 10 * n for n in range(51)]


# policy, plans of the attempts, messages, subscriptions, timers
RETRIES = {
    "a good source is subscribed to once": (
        Retry(3, **EXACT),
        [GOOD],
        [on_next(205, "b"), on_completed(207)],
        [subscribe(200, 207)],
        0,
    ),
    "a wait counts from the error, and the source is let go before it": (
        Retry(3, **EXACT),
        [BAD, GOOD],
        [on_next(205, "a"), on_next(225, "b"), on_completed(227)],
        [subscribe(200, 210), subscribe(220, 227)],
        1,
    ),
    "exponential": (
        Retry(3, **EXACT),
        [BAD, BAD, GOOD],
        [on_next(205, "a"), on_next(225, "a"), on_next(255, "b"), on_completed(257)],
        [subscribe(200, 210), subscribe(220, 230), subscribe(250, 257)],
        2,
    ),
    "linear": (
        Retry(4, backoff="linear", **EXACT),
        [[on_error(1, BOOM)], [on_error(1, BOOM)], [on_error(1, BOOM)], GOOD],
        [on_next(268, "b"), on_completed(270)],
        [subscribe(200, 201), subscribe(211, 212), subscribe(232, 233), subscribe(263, 270)],
        3,
    ),
    "the last error, with no wait after it": (
        Retry(2, **EXACT),
        [BAD, [on_error(3, BUSY)]],
        [on_next(205, "a"), on_error(223, BUSY)],
        [subscribe(200, 210), subscribe(220, 223)],
        1,
    ),
    "a number is that of attempts": (
        1,
        [BAD],
        [on_next(205, "a"), on_error(210, BOOM)],
        [subscribe(200, 210)],
        0,
    ),
    "without a wait at the same instant": (
        Retry(3, delay=0),
        [BAD, [on_error(0, BOOM)], GOOD],
        [on_next(205, "a"), on_next(215, "b"), on_completed(217)],
        [subscribe(200, 210), subscribe(210, 210), subscribe(210, 217)],
        0,
    ),
    "the error sets the wait": (
        Retry(3, max_delay=10, **EXACT),
        [[on_error(10, BUSY)], GOOD],
        [on_next(265, "b"), on_completed(267)],
        [subscribe(200, 210), subscribe(260, 267)],
        1,
    ),
    "other errors come out": (
        Retry(3, on=KeyError, **EXACT),
        [BAD],
        [on_next(205, "a"), on_error(210, BOOM)],
        [subscribe(200, 210)],
        0,
    ),
    "a budget counts the first attempt": (
        Retry(9, backoff="constant", jitter=0, delay=1, budget=4),
        [[on_error(1, BOOM)]] * 5,
        [on_error(209, BOOM)],
        [subscribe(at, at + 1) for at in (200, 202, 204, 206, 208)],
        4,
    ),
    "a budget grants its floor and no more": (
        Retry(9, backoff="constant", jitter=0, delay=1, budget=0.2),
        [[on_error(1, BOOM)]] * 3 + [[on_error(1, BOOM)]],
        [on_error(207, BOOM)],
        [subscribe(200, 201), subscribe(202, 203), subscribe(204, 205), subscribe(206, 207)],
        3,
    ),
}


@pytest.mark.parametrize(
    ("policy", "plans", "messages", "windows", "timers"), RETRIES.values(), ids=RETRIES
)
def test_retries_at_their_ticks(policy, plans, messages, windows, timers):
    """What comes out, when the source is subscribed to and let go, how many timers it took."""
    scheduler = Alarms()
    attempts = Attempts(scheduler, *plans)
    before = scheduler.set
    result = scheduler.start(lambda: attempts.source.pipe(ops.retry(policy)))
    assert result.messages == messages
    assert attempts.windows == windows
    # Cold sources set one timer for each of their messages.
    ours = scheduler.set - before - sum(len(plan) for plan in plans)
    assert ours == timers


@pytest.mark.parametrize(
    ("at", "windows"),
    [
        (206, [subscribe(200, 206)]),  # in the first attempt
        (215, [subscribe(200, 210)]),  # in the wait
        (223, [subscribe(200, 210), subscribe(220, 223)]),  # in the second attempt
    ],
)
def test_dispose_lets_go_of_the_source_and_of_the_timer(at, windows):
    """Nothing is subscribed to afterwards."""
    scheduler = TestScheduler()
    attempts = Attempts(scheduler, BAD, GOOD)
    result = scheduler.start(
        lambda: attempts.source.pipe(ops.retry(Retry(3, **EXACT))), disposed=at
    )
    assert result.messages == [on_next(205, "a")]
    assert attempts.windows == windows
    assert len(attempts.left) == 2 - len(windows)


def test_subscribers_share_nothing():
    """Each has attempts and a budget of its own, also of one operator value."""
    scheduler = TestScheduler()
    cold = scheduler.create_cold_observable(on_error(1, BOOM))
    retried = cold.pipe(ops.retry(Retry(9, delay=1, jitter=0, backoff="constant", budget=0)))
    results = [scheduler.create_observer() for _ in range(2)]
    for at, result in zip((200, 203), results, strict=True):
        subscribe_at(scheduler, at, retried, result)
    scheduler.start(rx.never)
    assert [result.messages for result in results] == [
        [on_error(207, BOOM)],
        [on_error(210, BOOM)],
    ]
    assert len(cold.subscriptions) == 8


def test_a_policy_is_told_of_the_time_since_the_subscription():
    """In seconds of the clock, waits included."""
    told = []

    class Spy(Retry):
        def wait_before_next(self, attempts, error, elapsed, random):
            told.append((attempts, elapsed))
            return super().wait_before_next(attempts, error, elapsed, random)

    scheduler = TestScheduler()
    cold = scheduler.create_cold_observable(on_error(5, BOOM))
    scheduler.start(lambda: cold.pipe(ops.retry(Spy(3, **EXACT))))
    assert told == [(1, 5.0), (2, 20.0), (3, 45.0)]


@pytest.mark.parametrize("where", ["on", "backoff"])
def test_what_a_function_of_the_policy_raises_ends_the_stream(where):
    """With the error of the source as its cause."""

    def broken(_):
        raise LookupError("broken")

    seen = []
    rx.throw(Oops()).pipe(ops.retry(Retry(3, **{where: broken}))).subscribe(
        on_error=seen.append
    )
    (error,) = seen
    assert isinstance(error, LookupError)
    assert isinstance(error.__cause__, Oops)


def test_a_source_that_fails_at_once_100_000_times():
    """Nothing gets deeper, be it while it is subscribed to or later."""
    count = 0

    def failing(observer, _):
        nonlocal count
        count += 1
        observer.on_error(BOOM)
        return Disposable()

    seen = []
    rx.create(failing).pipe(ops.retry(Retry(100_000, delay=0))).subscribe(on_error=seen.append)
    assert (count, seen) == (100_000, [BOOM])
    first = Subject()
    seen.clear()
    left = [rx.create(failing)] * 4_999 + [first]
    late = rx.defer(lambda _: left.pop())
    late.pipe(ops.retry(Retry(5_000, delay=0))).subscribe(on_error=seen.append)
    assert not seen
    first.on_error(BOOM)
    assert (count, seen) == (104_999, [BOOM])


def test_a_subscriber_that_has_enough_ends_attempts_that_fail_at_once():
    """It has its subscription before the second attempt is made."""
    count = 0

    def failing(observer, _):
        nonlocal count
        count += 1
        observer.on_next(count)
        observer.on_error(BOOM)
        return Disposable()

    seen = []
    retried = rx.create(failing).pipe(ops.retry(Retry(1000, delay=0)))
    retried.pipe(ro.take(3)).subscribe(seen.append)
    assert (count, seen) == (3, [1, 2, 3])


def test_attempts_of_a_source_that_runs_on_the_current_thread():
    """The trampoline of RxPY holds the attempts, one after the other."""
    source = rx.concat(rx.of(1, 2), rx.throw(BOOM))
    seen = []
    source.pipe(ops.retry(Retry(3, delay=0))).subscribe(
        seen.append, seen.append, scheduler=CurrentThreadScheduler()
    )
    assert seen == [1, 2, 1, 2, 1, 2, BOOM]


def test_an_operator_may_be_asked_again_by_a_source_that_knows_what_it_feeds():
    """An attempt that is made later feeds what the first one fed, and nothing twice."""

    class Node:
        sources: list
        ended = False

        def __init__(self):
            self.sources = []

        def cut(self):
            """Nothing to do."""

    outer, seen, subjects = Node(), [], []

    def look(observer, _):
        seen.append(inlet.current_inlet())
        subjects.append(Subject())
        return subjects[-1].subscribe(observer)

    with inlet.feeding(outer, outer):
        rx.create(look).pipe(ops.batch(1), ops.retry(Retry(4, delay=0))).subscribe(
            on_error=lambda _: None
        )
    (stage,) = outer.sources
    assert len(stage.sources) == 1
    subjects[0].on_error(BOOM)
    with inlet.feeding(Node()):
        subjects[1].on_error(BOOM)
    assert seen == [outer] * 3
    assert outer.sources == [stage]
    assert [source.ended for source in stage.sources] == [False]
    stage.cut()
    assert stage.ended


def test_in_real_time_on_the_shared_timers():
    """Waits cost no thread each; a wait that is disposed leaves no timer."""
    done = threading.Event()
    left = [rx.of(1), rx.throw(BOOM), rx.throw(BOOM)]
    policy = Retry(3, delay=0.01, jitter=0)
    seen = []
    rx.defer(lambda _: left.pop()).pipe(ops.retry(policy)).subscribe(
        seen.append, seen.append, done.set
    )
    assert done.wait(WAIT)
    assert seen == [1]
    before = TimerScheduler.singleton().pending
    threads = threading.active_count()
    waiting = [
        rx.throw(BOOM).pipe(ops.retry(Retry(3, delay=600))).subscribe(on_error=seen.append)
        for _ in range(50)
    ]
    assert TimerScheduler.singleton().pending == before + 50
    assert threading.active_count() <= threads + 2
    for each in waiting:
        each.dispose()
    assert TimerScheduler.singleton().pending == before
    assert seen == [1]


# -- threads -----------------------------------------------------------------------------------


def test_an_error_that_comes_while_the_attempt_is_still_being_subscribed():
    """Caught: asking who makes the next attempt without the lock."""
    queue, failed, seen = SimpleQueue(), [], []

    def attempt(observer, _):
        queue.put(observer)
        return Disposable()

    def fail():
        sys.settrace(giving_way(Attempt.again, Attempt._goes_on))
        while (observer := queue.get(timeout=WAIT)) is not None:
            observer.on_error(BOOM)

    def end(error):
        seen.append(error)
        for _ in threads:
            queue.put(None)

    threads = [start(fail) for _ in range(3)]
    policy = Retry(500, backoff=lambda attempts: failed.append(attempts) or 0)
    rx.create(attempt).pipe(ops.retry(policy)).subscribe(on_error=end)
    finish(*threads)
    assert failed == list(range(1, 500))  # each was heard of before the next was made
    assert seen == [BOOM]


@pytest.mark.usefixtures("frantic")
def test_dispose_while_a_retry_begins_leaves_nothing():
    """Caught: taking the subscription of an attempt without a look at who left meanwhile."""
    alive = 0
    lock = threading.Lock()

    def attempt(observer, _):
        nonlocal alive
        with lock:
            alive += 1
        late = TimerScheduler.singleton().schedule_relative(
            0.0005, lambda *_: observer.on_error(BOOM)
        )

        def gone():
            nonlocal alive
            late.dispose()
            with lock:
                alive -= 1

        return Disposable(gone)

    retried = rx.create(attempt).pipe(ops.retry(Retry(10**9, delay=0)))
    for _ in range(100):
        subscription = retried.subscribe(on_error=print)
        time.sleep(0.0015)  # some attempts; it does not matter how many
        subscription.dispose()
    end = time.monotonic() + WAIT
    while alive and time.monotonic() < end:
        time.sleep(0.001)  # an attempt that was just being made ends when it is
    assert alive == 0


@pytest.mark.parametrize(("wait", "made"), [(0.0, 10), (None, 4)])
def test_retries_that_were_asked_for_use_no_budget(wait, made):
    """The other side has said when to come: as in a pool."""
    subscribed = []

    def fail(*_):
        subscribed.append(1)
        error = RuntimeError()
        if wait is not None:
            error.retry_after = wait
        return rx.throw(error)

    seen = []
    policy = Retry(10, delay=0, budget=0.01)
    rx.defer(fail).pipe(ops.retry(policy)).subscribe(on_error=seen.append)
    assert [type(error) for error in seen] == [RuntimeError]
    assert len(subscribed) == made
