"""``retry``, ``circuit_breaker`` and ``fallback`` in virtual time, and among threads."""

import sys
import threading
import time
from datetime import timedelta
from queue import SimpleQueue

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ro
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

from rxpool import CircuitBreaker, CircuitOpen, InvalidArgument, Retry, TimerScheduler
from rxpool import operators as ops
from rxpool._core import inlet
from rxpool._core.relay import PassState
from rxpool._core.state import FULL
from rxpool.operators._circuit_breaker import _Call as Call
from rxpool.operators._retry import _Attempts as Attempt
from rxpool.timing import Clock
from tests.waiting import WAIT

on_next, on_error = ReactiveTest.on_next, ReactiveTest.on_error
on_completed, subscribe = ReactiveTest.on_completed, ReactiveTest.subscribe


class Oops(Exception):
    """What sources fail with."""


class Busy(Oops):
    """Comes with the time that the other side asks to wait."""

    retry_after = 50.0


BOOM, BUSY = Oops("boom"), Busy("busy")
EXACT = {"jitter": 0, "delay": 10}


class Alarms(TestScheduler):
    """Virtual time that counts the timers that were set and those that rang."""

    def __init__(self):
        super().__init__()
        self.set = self.rang = 0

    def schedule_relative(self, duetime, action, state=None):
        self.set += 1

        def ring(scheduler, state=None):
            self.rang += 1
            return action(scheduler, state)

        return super().schedule_relative(duetime, ring, state)


class Attempts:
    """A source whose attempts each have a plan; `windows` says when each was subscribed."""

    def __init__(self, scheduler, *plans):
        self.colds = [scheduler.create_cold_observable(*plan) for plan in plans]
        self.left = list(self.colds)
        self.source = rx.defer(lambda _: self.left.pop(0))

    @property
    def windows(self):
        """The subscriptions, one after the other."""
        return [window for cold in self.colds for window in cold.subscriptions]


def subscribe_at(scheduler, at, stream, observer):
    """One of several subscribers."""

    def begin(*_):
        stream.subscribe(observer, scheduler=scheduler)

    scheduler.schedule_absolute(at, begin)


def refusal(message):
    """What a message carries."""
    return message.value.exception


# -- retry -------------------------------------------------------------------------------------

BAD = [on_next(5, "a"), on_error(10, BOOM)]
GOOD = [on_next(5, "b"), on_completed(7)]


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


# -- circuit_breaker ---------------------------------------------------------------------------


def breaker(**options):
    """Opens with the second of two bad calls, for 100 ticks; then takes one probe."""
    rules = {
        "minimum_number_of_calls": 2,
        "sliding_window_size": 2,
        "failure_rate_threshold": 1.0,
        "wait_duration_in_open_state": 100,
        "permitted_number_of_calls_in_half_open_state": 1,
    }
    return CircuitBreaker(name="shop", **rules | options)


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


# -- fallback ----------------------------------------------------------------------------------


def later(scheduler, *messages):
    """A cold source, made when it is known what its time is."""
    return scheduler.create_cold_observable(*messages)


FALLBACKS = {
    "no error, no fallback": (lambda s: 0, GOOD, [on_next(205, "b"), on_completed(207)]),
    "a value": (lambda s: 0, BAD, [on_next(205, "a"), on_next(210, 0), on_completed(210)]),
    "None is a value": (
        lambda s: None,
        BAD,
        [on_next(205, "a"), on_next(210, None), on_completed(210)],
    ),
    "a function of the error": (
        lambda s: str,
        BAD,
        [on_next(205, "a"), on_next(210, "boom"), on_completed(210)],
    ),
    "an Observable": (
        lambda s: later(s, *GOOD),
        BAD,
        [on_next(205, "a"), on_next(215, "b"), on_completed(217)],
    ),
    "a function that returns one": (
        lambda s: lambda error: later(s, *GOOD),
        BAD,
        [on_next(205, "a"), on_next(215, "b"), on_completed(217)],
    ),
    "an Observable that fails": (
        lambda s: later(s, on_error(3, BUSY)),
        BAD,
        [on_next(205, "a"), on_error(213, BUSY)],
    ),
}


@pytest.mark.parametrize(("make", "plan", "expected"), FALLBACKS.values(), ids=FALLBACKS)
def test_fallbacks_at_their_ticks(make, plan, expected):
    """The value at the instant of the error; the source is let go there."""
    scheduler = TestScheduler()
    source = scheduler.create_cold_observable(*plan)
    result = scheduler.start(lambda: source.pipe(ops.fallback(make(scheduler))))
    assert result.messages == expected
    assert source.subscriptions == [subscribe(200, 200 + plan[-1].time)]


def test_the_replacement_is_let_go_with_the_subscription():
    """Nothing of it is left."""
    scheduler = TestScheduler()
    other = scheduler.create_cold_observable(on_next(5, "b"), on_next(50, "c"))
    source = scheduler.create_cold_observable(*BAD)
    result = scheduler.start(lambda: source.pipe(ops.fallback(lambda _: other)), disposed=230)
    assert result.messages == [on_next(205, "a"), on_next(215, "b")]
    assert other.subscriptions == [subscribe(210, 230)]


@pytest.mark.parametrize("kind", ["function", "Observable"])
def test_a_fallback_that_fails_says_what_for(kind):
    """The error of the source is the cause of the fallback's."""
    mine, first, seen = LookupError("mine"), Oops(), []

    def broken(_):
        raise mine

    replacement = broken if kind == "function" else rx.throw(mine)
    rx.throw(first).pipe(ops.fallback(replacement)).subscribe(on_error=seen.append)
    assert seen == [mine]
    assert mine.__cause__ is first


def test_the_order_of_a_pool():
    """fallback(retry(breaker(source))): a stream written the way the pool does it."""
    scheduler = TestScheduler()
    attempts = Attempts(scheduler, BAD, BAD)
    guard = breaker()
    result = scheduler.start(
        lambda: attempts.source.pipe(
            ops.circuit_breaker(guard),
            ops.retry(Retry(5, **EXACT)),
            ops.fallback(lambda error: type(error).__name__),
        )
    )
    # The third attempt is refused, and that is not tried again.
    assert result.messages == [
        on_next(205, "a"),
        on_next(225, "a"),
        on_next(250, "CircuitOpen"),
        on_completed(250),
    ]


# -- the state of all three --------------------------------------------------------------------


@given(st.lists(st.sampled_from(["offer", "admit", "fetch", "finish", "clear"]), max_size=40))
def test_items_come_out_in_order_and_none_passes_one_that_waits(moves):
    """A model: a list, and whether the end was seen."""
    state, waits, over = PassState(), [], False
    for number, move in enumerate(moves):
        if move == "offer":
            assert state.offer(number, 0.0, None) == 1
            waits.append(number)
        elif move == "admit":
            assert state.admit(0.0) == (not waits and not over)
        elif move == "fetch" and waits:
            assert state.ready.popleft() == waits.pop(0)
        elif move == "finish":
            state.finish(0.0)
            over = True
        elif move == "clear":
            assert state.clear() == len(waits)
            waits, over = [], True
        assert (list(state.ready), state.held) == (waits, len(waits))
        state.expire(0.0)
        assert (state.due, state.retry_at(None)) == (None, None)


def test_a_thousand_items_wait_for_a_busy_subscriber_and_no_more():
    """One that the subscriber itself brings is taken all the same."""
    state = PassState()
    assert {state.offer(number, 0.0, None) for number in range(1024)} == {1}
    assert state.offer(None, 0.0, None) == FULL
    assert state.offer(None, 0.0, None, True) == 1
    assert state.held == 1025


# -- arguments ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: ops.retry(0), "max_attempts must be 1 or more, got 0"),
        (lambda: ops.retry(True), "policy must be a Retry, got True"),
        (lambda: ops.retry("3"), "policy must be a Retry, got '3'"),
        (lambda: ops.retry(3, scheduler=5), "scheduler must be a reactivex scheduler, got 5"),
        (lambda: ops.circuit_breaker(3), "breaker must be a CircuitBreaker, got 3"),
        (
            lambda: ops.circuit_breaker(breaker(), scheduler="x"),
            "scheduler must be a reactivex scheduler, got 'x'",
        ),
    ],
)
def test_bad_arguments_are_refused_where_they_are_written(make, text):
    """With the value in the message."""
    with pytest.raises(InvalidArgument, match=text):
        make()


def test_the_scheduler_that_is_given_goes_before_the_subscribers():
    """Timers ring on it; the source gets the subscriber's."""
    own, other = TestScheduler(), TestScheduler()
    left, seen, given = [rx.of(1), rx.throw(BOOM)], [], []

    def attempt(scheduler):
        given.append(scheduler)
        return left.pop()

    policy = Retry(2, delay=timedelta(seconds=10), jitter=0)
    rx.defer(attempt).pipe(ops.retry(policy, scheduler=own)).subscribe(
        seen.append, scheduler=other
    )
    other.advance_by(100)
    assert seen == []
    own.advance_by(9)
    assert len(given) == 1
    own.advance_by(1)
    other.advance_by(1)
    assert seen == [1]
    assert given == [other, other]


# -- threads -----------------------------------------------------------------------------------


def start(function, *args):
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def finish(threads):
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive(), "a thread hangs"


MAKES = {
    "retry": lambda: ops.retry(3),
    "circuit_breaker": lambda: ops.circuit_breaker(breaker()),
    "fallback": lambda: ops.fallback(None),
}


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("make", MAKES.values(), ids=MAKES)
def test_producers_at_once_are_handed_on_one_at_a_time(make):
    """Caught: handing items on without the stage."""
    source, values, overlaps = Subject(), [], 0
    busy = threading.Lock()

    def sink(value):
        nonlocal overlaps
        free = busy.acquire(blocking=False)
        overlaps += not free
        time.sleep(0)
        values.append(value)
        if free:
            busy.release()

    source.pipe(make()).subscribe(sink)
    together = threading.Barrier(4)

    def produce(number):
        together.wait(WAIT)
        for i in range(300):
            source.on_next((number, i))

    finish([start(produce, number) for number in range(4)])
    assert overlaps == 0
    assert sorted(values) == [(number, i) for number in range(4) for i in range(300)]
    for number in range(4):
        assert [i for n, i in values if n == number] == list(range(300))


def giving_way(*functions):
    """A trace function: whoever runs these lets others run before each line."""
    codes = {function.__code__ for function in functions}

    def line(*_):
        time.sleep(0)
        return line

    return lambda frame, *_: line if frame.f_code in codes else None


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

    finish([start(end, how) for how in (Call.succeeded, Call.cancelled)])
    assert len(reports) == len(calls)


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
    finish(threads)
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
