"""`CircuitBreaker`: its options, what counts, events, timers, threads."""

import gc
import logging
import threading
import time
from datetime import timedelta
from itertools import pairwise

import pytest
from reactivex.testing import TestScheduler

from rxpool.errors import CircuitOpen, InvalidArgument, InvalidArgumentType
from rxpool.policies import BreakerEvent, BreakerMetrics, CircuitBreaker
from rxpool.policies._breaker import breaker_door as door
from rxpool.timing import Clock, TimerScheduler

BOOM = ValueError("boom")


def tripping(**options):
    """A breaker that one failure opens."""
    options.setdefault("minimum_number_of_calls", 1)
    return CircuitBreaker(**options)


def trip(breaker, now=0.0, error=BOOM):
    """Have a call fail, and tell of it."""
    door(breaker).failed(door(breaker).admit(now), now, 0.0, error)
    door(breaker).publish()


def seen(breaker):
    """The changes that a subscriber is told of, as they come."""
    changes = []
    breaker.events.subscribe(lambda e: changes.append((e.before, e.after, e.at)))
    return changes


# -- options ---------------------------------------------------------------------

BAD = [
    ({"name": 3}, "name must be a str, got 3"),
    ({"failure_rate_threshold": 0}, "failure_rate_threshold must be finite and greater than 0"),
    ({"failure_rate_threshold": 50}, "failure_rate_threshold must be a fraction of up to 1"),
    ({"slow_call_rate_threshold": 1.5}, "slow_call_rate_threshold must be a fraction"),
    ({"slow_call_duration_threshold": -1}, "slow_call_duration_threshold .* got -1"),
    ({"sliding_window_type": "calls"}, "must be one of count, time, got 'calls'"),
    ({"sliding_window_size": 0}, "sliding_window_size must be 1 or more, got 0"),
    ({"sliding_window_size": 2.5}, "sliding_window_size must be a whole number, got 2.5"),
    ({"minimum_number_of_calls": 0}, "minimum_number_of_calls must be 1 or more, got 0"),
    ({"permitted_number_of_calls_in_half_open_state": 0}, "must be 1 or more, got 0"),
    ({"wait_duration_in_open_state": "1"}, "wait_duration_in_open_state must be seconds"),
    ({"wait_duration_in_open_state": -1}, "wait_duration_in_open_state .* got -1"),
    ({"max_wait_duration_in_half_open_state": -1}, "max_wait_duration_in_half_open_state"),
    ({"automatic_transition_from_open_to_half_open_enabled": 1}, "must be True or False"),
    ({"record_exceptions": int}, "record_exceptions must be an exception type"),
    ({"record_exceptions": (ValueError, 3)}, "record_exceptions must be an exception type"),
    ({"ignore_exceptions": "ValueError"}, "ignore_exceptions must be an exception type"),
    ({"probe_timeout": 0}, "probe_timeout must be finite and greater than 0, got 0"),
    ({"scheduler": 3}, "scheduler must be a reactivex scheduler, got 3"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[str(o) for o, _ in BAD])
def test_options_are_checked_where_they_are_written(options, message):
    """The message has the name and the value."""
    with pytest.raises(InvalidArgument, match=message):
        CircuitBreaker(**options)


def test_the_defaults_are_those_of_resilience4j():
    """100 calls make a rate; half of them bad opens it for a minute; then ten probes."""
    breaker = CircuitBreaker()
    for call in range(99):
        door(breaker).failed(door(breaker).admit(0.0), 0.0, 0.0, BOOM)
        assert breaker.metrics() == BreakerMetrics(
            "closed", None, None, call + 1, call + 1, 0, 0
        )
    door(breaker).succeeded(door(breaker).admit(0.0), 0.0, 60.1)
    assert breaker.metrics() == BreakerMetrics("open", 0.99, 0.01, 100, 99, 1, 0)
    assert (door(breaker).admit(59.9), breaker.retry_after(0.0)) == (-1, 60.0)
    probes = [door(breaker).admit(60.0) for _ in range(11)]
    assert probes.index(-1) == 10
    assert breaker.state == "half_open"
    for probe in probes[:10]:
        door(breaker).succeeded(probe, 61.0, 60.0)  # 60 seconds are not slow yet
    assert breaker.metrics() == BreakerMetrics("closed", None, None, 0, 0, 0, 0)


def test_durations_may_be_timedeltas():
    """Everywhere where seconds are."""
    breaker = tripping(
        wait_duration_in_open_state=timedelta(minutes=2),
        slow_call_duration_threshold=timedelta(milliseconds=100),
        probe_timeout=timedelta(seconds=3),
        permitted_number_of_calls_in_half_open_state=1,
        max_wait_duration_in_half_open_state=timedelta(seconds=9),
    )
    door(breaker).succeeded(door(breaker).admit(0.0), 0.0, 0.101)
    assert breaker.retry_after(0.0) == 120.0
    assert door(breaker).admit(120.0) >= 0
    assert breaker.retry_after(120.0) == 3.0


# -- what counts -------------------------------------------------------------------

COUNTS = {
    "an exception fails": ({}, BOOM, 1, 1),
    "not one that is not recorded": ({"record_exceptions": KeyError}, BOOM, 1, 0),
    "a tuple": ({"record_exceptions": (KeyError, ValueError)}, BOOM, 1, 1),
    "a predicate": ({"record_exceptions": lambda e: "boom" in str(e)}, BOOM, 1, 1),
    "a predicate that says no": ({"record_exceptions": lambda e: None}, BOOM, 1, 0),
    "ignored": ({"ignore_exceptions": ValueError}, BOOM, 0, 0),
    "ignored in a tuple": ({"ignore_exceptions": (KeyError, ValueError)}, BOOM, 0, 0),
    "ignored by a predicate": ({"ignore_exceptions": lambda e: 1}, BOOM, 0, 0),
    "ignored comes before recorded": (
        {"ignore_exceptions": Exception, "record_exceptions": ValueError},
        BOOM,
        0,
        0,
    ),
    "an exit says nothing of the service": ({}, SystemExit(), 0, 0),
    "unless it is recorded": ({"record_exceptions": SystemExit}, SystemExit(), 1, 1),
}


@pytest.mark.parametrize(("options", "error", "calls", "failed"), COUNTS.values(), ids=COUNTS)
def test_what_counts_as_a_failure(options, error, calls, failed):
    """Failures, successes, and neither."""
    breaker = CircuitBreaker(slow_call_duration_threshold=1.0, **options)
    door(breaker).failed(door(breaker).admit(0.0), 0.0, 2.0, error)
    metrics = breaker.metrics()
    assert (metrics.calls, metrics.failed, metrics.slow) == (calls, failed, calls)


@pytest.mark.parametrize("option", ["record_exceptions", "ignore_exceptions"])
def test_a_predicate_that_raises(option):
    """Its error comes out; the call is counted as a failure before."""

    def predicate(error):
        assert not door(breaker)._lock._is_owned()
        raise KeyError("predicate")

    breaker = tripping(**{option: predicate})
    changes = seen(breaker)
    with pytest.raises(KeyError, match="predicate"):
        door(breaker).failed(door(breaker).admit(0.0), 5.0, 0.0, BOOM)
    assert (breaker.state, breaker.metrics().failed) == ("open", 1)
    door(breaker).publish()
    assert changes == [("closed", "open", 5.0)]


def test_an_ignored_error_gives_the_probe_back():
    """And so does a release."""
    breaker = tripping(
        permitted_number_of_calls_in_half_open_state=1, ignore_exceptions=KeyError
    )
    trip(breaker)
    probe = door(breaker).admit(60.0)
    assert door(breaker).admit(60.0) == -1
    door(breaker).failed(probe, 61.0, 1.0, KeyError())
    probe = door(breaker).admit(61.0)
    assert door(breaker).admit(61.0) == -1
    door(breaker).release(probe)
    door(breaker).succeeded(door(breaker).admit(62.0), 62.0, 0.0)
    assert breaker.state == "closed"


@pytest.mark.parametrize("kind", ["count", "time"])
def test_good_calls_are_counted_up_to_the_window(kind):
    """Where they are not looked at any more, the numbers are still right."""
    breaker = CircuitBreaker(
        sliding_window_type=kind,
        sliding_window_size=4,
        minimum_number_of_calls=4,
        scheduler=TestScheduler(),
    )
    for call in range(8):
        door(breaker).succeeded(door(breaker).admit(0.0), 0.0, 0.0)
        assert breaker.metrics().calls == (min(call + 1, 4) if kind == "count" else call + 1)
    permit = door(breaker).admit(0.0)
    door(breaker).failed(permit, 0.0, 0.0, BOOM)
    assert breaker.metrics().failure_rate == (0.25 if kind == "count" else 1 / 9)
    for _ in range(3):
        door(breaker).succeeded(permit, 0.0, 0.0)
    assert breaker.metrics().failed == 1
    door(breaker).succeeded(permit, 0.0, 0.0)
    assert breaker.metrics().failed == (0 if kind == "count" else 1)
    breaker.close()
    door(breaker).succeeded(permit, 0.0, 0.0)  # began before
    assert breaker.metrics().calls == 0


def test_a_clean_window_is_left_as_it_should_be():
    """By a slow call, and for a new window."""
    breaker = CircuitBreaker(sliding_window_size=2, slow_call_duration_threshold=1.0)
    permit = door(breaker).admit(0.0)
    for took in (0.0, 0.0, 0.0, 2.0):
        door(breaker).succeeded(permit, 0.0, took)
    assert (breaker.metrics().calls, breaker.metrics().slow) == (2, 1)
    for _ in range(2):
        door(breaker).succeeded(permit, 0.0, 0.0)
    assert (breaker.metrics().calls, breaker.metrics().slow) == (2, 0)
    breaker.close()
    door(breaker).succeeded(door(breaker).admit(0.0), 0.0, 0.0)
    assert breaker.metrics().calls == 1


# -- by hand -----------------------------------------------------------------------


def test_by_hand():
    """Every state can be left for every other; each change is told once."""
    scheduler = TestScheduler()
    breaker = CircuitBreaker(name="api", scheduler=scheduler)
    events = []
    breaker.events.subscribe(events.append)
    acts = [
        (breaker.force_open, "forced_open", -1),
        (breaker.force_open, "forced_open", -1),
        (breaker.disable, "disabled", 0),
        (breaker.transition_to_metrics_only, "metrics_only", 0),
        (breaker.force_open, "forced_open", -1),
        (breaker.close, "closed", 0),
        (breaker.reset, "closed", 0),
    ]
    for tick, (act, state, least) in enumerate(acts):
        scheduler.advance_to(float(tick))
        act()
        assert breaker.state == state
        assert (door(breaker).admit(tick) >= 0) == (least >= 0)
    assert events == [
        BreakerEvent("api", "closed", "forced_open", 0.0),
        BreakerEvent("api", "forced_open", "disabled", 2.0),
        BreakerEvent("api", "disabled", "metrics_only", 3.0),
        BreakerEvent("api", "metrics_only", "forced_open", 4.0),
        BreakerEvent("api", "forced_open", "closed", 5.0),
    ]
    assert repr(breaker) == "<CircuitBreaker 'api' closed>"


def test_metrics_only_counts_and_disabled_does_not():
    """Rates are there, and nothing opens."""
    breaker = tripping()
    breaker.transition_to_metrics_only()
    trip(breaker)
    assert breaker.metrics() == BreakerMetrics("metrics_only", 1.0, 0.0, 1, 1, 0, 0)
    breaker.disable()
    trip(breaker)
    assert breaker.metrics() == BreakerMetrics("disabled", None, None, 0, 0, 0, 0)


def test_refused_calls_are_counted():
    """Since it was last closed, half-open or set by hand; opening alone changes nothing."""
    breaker = tripping(permitted_number_of_calls_in_half_open_state=1)
    trip(breaker)
    assert [door(breaker).admit(1.0), door(breaker).admit(2.0)] == [-1, -1]
    assert breaker.metrics().not_permitted == 2
    probe = door(breaker).admit(60.0)
    assert [door(breaker).admit(60.0), breaker.metrics().not_permitted] == [-1, 1]
    door(breaker).succeeded(probe, 60.0, 0.0)
    assert breaker.metrics().not_permitted == 0


def test_the_error_says_how_long():
    """Where that is known."""
    breaker = tripping(name="api", permitted_number_of_calls_in_half_open_state=1)
    trip(breaker)
    told = []
    for now in (15.0, 60.0):
        door(breaker).admit(now)
        error = door(breaker).error(now)
        assert isinstance(error, CircuitOpen)
        told.append((str(error), error.retry_after))
    breaker.force_open()
    told.append((str(door(breaker).error()), door(breaker).error().retry_after))
    assert told == [
        ("breaker 'api' is open for another 45 s", 45.0),
        ("breaker 'api' is half-open and has its probes", None),
        ("breaker 'api' is open", None),
    ]


# -- events --------------------------------------------------------------------------


def test_changes_are_logged(caplog):
    """At INFO, with the name of the breaker and the state before."""
    breaker = tripping(name="weather", wait_duration_in_open_state=1)
    trip(breaker)
    breaker.close()
    assert caplog.messages == []
    with caplog.at_level(logging.INFO, "rxpool"):
        trip(breaker)
        breaker.close()
    assert caplog.messages == [
        "breaker opened breaker='weather' before='closed'",
        "breaker closed breaker='weather' before='open'",
    ]
    assert {record.levelno for record in caplog.records} == {logging.INFO}


def test_nothing_is_told_before_publish():
    """Who reports may hold locks; who publishes does not, and neither does the breaker."""
    breaker = tripping()
    locked, changes = [], seen(breaker)
    breaker.events.subscribe(lambda _: locked.append(door(breaker)._lock._is_owned()))
    door(breaker).failed(door(breaker).admit(3.0), 4.0, 0.0, BOOM)
    assert changes == []
    door(breaker).publish()
    door(breaker).publish()
    assert (changes, locked) == ([("closed", "open", 4.0)], [False])


def test_a_subscriber_may_operate_the_breaker():
    """What comes of that follows, to all, and is not nested."""
    breaker = tripping(scheduler=TestScheduler())
    order = []

    def close(event):
        order.append(("first", event.after))
        if event.after == "open":
            breaker.close()

    breaker.events.subscribe(close)
    breaker.events.subscribe(lambda event: order.append(("second", event.after)))
    trip(breaker)
    assert order == [
        ("first", "open"),
        ("second", "open"),
        ("first", "closed"),
        ("second", "closed"),
    ]


def test_a_subscriber_that_raises_harms_nobody(caplog):
    """It is logged and let go; the others hear everything."""
    breaker = tripping(scheduler=TestScheduler())

    def bad(event):
        raise BOOM

    breaker.events.subscribe(bad)
    changes = seen(breaker)
    with caplog.at_level(logging.ERROR, "rxpool"):
        trip(breaker)
        breaker.close()
    assert [after for _, after, _ in changes] == ["open", "closed"]
    assert len(caplog.records) == 1


def test_an_exit_in_a_subscriber_does_not_silence_the_breaker():
    """It comes out of publish, and later changes are told."""
    breaker = tripping(scheduler=TestScheduler())

    def leave(event):
        raise SystemExit

    leaving = breaker.events.subscribe(leave)
    with pytest.raises(SystemExit):
        trip(breaker)
    leaving.dispose()
    changes = seen(breaker)
    breaker.close()
    assert changes == [("open", "closed", 0.0)]


# -- the wait --------------------------------------------------------------------------


def test_the_wait_may_depend_on_the_attempt():
    """The function is asked by publish, with no lock held, once for each opening."""
    asked = []

    def wait(attempt):
        assert not door(breaker)._lock._is_owned()
        asked.append(attempt)
        return timedelta(seconds=5 * attempt)

    breaker = tripping(
        wait_duration_in_open_state=wait, permitted_number_of_calls_in_half_open_state=1
    )
    door(breaker).failed(door(breaker).admit(0.0), 0.0, 0.0, BOOM)
    assert (asked, breaker.retry_after(0.0), door(breaker).admit(50.0)) == (
        [],
        None,
        -1,
    )
    door(breaker).publish()
    assert breaker.retry_after(0.0) == 5.0
    trip(breaker, 5.0)
    assert breaker.retry_after(5.0) == 10.0
    trip(breaker, 15.0)
    assert breaker.retry_after(15.0) == 15.0
    door(breaker).succeeded(door(breaker).admit(30.0), 30.0, 0.0)
    trip(breaker, 31.0)
    assert (asked, breaker.retry_after(31.0)) == ([1, 2, 3, 1], 5.0)


@pytest.mark.parametrize("bad", [-1.0, float("nan"), None, "5"])
def test_a_wait_that_is_none_is_a_minute(bad, caplog):
    """The mistake is logged; the breaker works."""
    breaker = tripping(wait_duration_in_open_state=lambda _: bad)
    with caplog.at_level(logging.ERROR, "rxpool"):
        trip(breaker)
    assert breaker.retry_after(0.0) == 60.0
    assert "wait_duration_in_open_state" in caplog.text


def test_a_subscriber_knows_the_wait_already():
    """The function is asked before the change is told."""
    breaker, waits = tripping(wait_duration_in_open_state=lambda _: 7.0), []
    breaker.events.subscribe(lambda e: waits.append(breaker.retry_after(e.at)))
    trip(breaker)
    assert waits == [7.0]


# -- timers ------------------------------------------------------------------------


def test_half_open_by_a_timer():
    """At its tick, with no call; and back, when the probes take too long."""
    scheduler = TestScheduler()
    breaker = tripping(
        wait_duration_in_open_state=lambda attempt: 10.0 * attempt,
        automatic_transition_from_open_to_half_open_enabled=True,
        max_wait_duration_in_half_open_state=5.0,
        permitted_number_of_calls_in_half_open_state=1,
        scheduler=scheduler,
    )
    changes = seen(breaker)
    scheduler.advance_to(100.0)
    trip(breaker, 100.0)
    scheduler.advance_to(134.0)
    assert changes == [
        ("closed", "open", 100.0),
        ("open", "half_open", 110.0),
        ("half_open", "open", 115.0),
    ]
    del changes[:]
    scheduler.advance_to(136.0)
    door(breaker).succeeded(door(breaker).admit(136.0), 136.0, 0.0)
    door(breaker).publish()
    scheduler.advance_to(999.0)
    assert changes == [("open", "half_open", 135.0), ("half_open", "closed", 136.0)]


def test_a_timer_that_is_not_needed_any_more_does_nothing():
    """What was closed by hand is not opened half, nor what opened again too early."""
    scheduler = TestScheduler()
    breaker = tripping(
        wait_duration_in_open_state=10.0,
        automatic_transition_from_open_to_half_open_enabled=True,
        scheduler=scheduler,
    )
    changes = seen(breaker)
    scheduler.advance_to(1.0)
    trip(breaker, 1.0)
    scheduler.advance_to(5.0)
    breaker.close()
    trip(breaker, 5.0)
    scheduler.advance_to(14.0)
    assert changes == [
        ("closed", "open", 1.0),
        ("open", "closed", 5.0),
        ("closed", "open", 5.0),
    ]
    scheduler.advance_to(16.0)
    assert changes[3:] == [("open", "half_open", 15.0)]


def test_half_open_by_a_real_timer():
    """On the shared scheduler, in real time."""
    breaker = tripping(
        wait_duration_in_open_state=0.02,
        automatic_transition_from_open_to_half_open_enabled=True,
    )
    done = threading.Event()
    breaker.events.subscribe(lambda e: e.after == "half_open" and done.set())
    start = time.monotonic()
    trip(breaker, start)
    assert done.wait(10.0)
    assert time.monotonic() - start >= 0.02


def test_a_breaker_that_is_gone_leaves_no_timer():
    """Nor does one that needs none; nobody has to close a breaker."""
    scheduler = TimerScheduler.singleton()
    before = scheduler.pending
    breaker = tripping(
        wait_duration_in_open_state=3600.0,
        automatic_transition_from_open_to_half_open_enabled=True,
    )
    trip(breaker, time.monotonic())
    assert scheduler.pending == before + 1
    breaker.close()
    assert scheduler.pending == before
    trip(breaker, time.monotonic())
    assert scheduler.pending == before + 1
    del breaker
    gc.collect()
    assert scheduler.pending == before


def test_the_clock_is_that_of_the_first_pool():
    """Unless it has a scheduler; real and virtual time are not mixed."""
    first, second = TestScheduler(), TestScheduler()
    breaker, own = tripping(), tripping(scheduler=second)
    for one in (breaker, own):
        door(one).follow(Clock(first))
        door(one).follow(Clock(second))
        with pytest.raises(InvalidArgument, match="'breaker' is used in real and in virtual"):
            door(one).follow(Clock.of())
    first.advance_to(7.0)
    changes, owns = seen(breaker), seen(own)
    breaker.disable()
    own.disable()
    assert (changes, owns) == ([("closed", "disabled", 7.0)], [("closed", "disabled", 0.0)])
    assert issubclass(InvalidArgumentType, InvalidArgument)


# -- threads -------------------------------------------------------------------------


def together(*jobs):
    """Run *jobs* at once; their errors come out."""
    errors, gate = [], threading.Barrier(len(jobs))

    def work(job):
        gate.wait()
        try:
            job()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=work, args=(job,)) for job in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("kind", ["count", "time"])
def test_no_result_is_lost_between_threads(kind):
    """The sums are exact, whoever reports at the same time."""
    breaker = CircuitBreaker(sliding_window_type=kind, sliding_window_size=100_000)
    breaker.transition_to_metrics_only()
    permit, each, now = door(breaker).admit(0.0), 3000, time.monotonic()

    def report():
        for call in range(each):
            if call % 3:
                door(breaker).succeeded(permit, now, 0.0)
            else:
                door(breaker).failed(permit, now, 99.0, BOOM)

    together(*[report] * 4)
    metrics = breaker.metrics()
    assert (metrics.calls, metrics.failed, metrics.slow) == (4 * each, 4000, 4000)


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize("fails", [False, True])
def test_it_opens_once(fails):
    """Of those who report what opens it, one does, and the others come too late."""
    for _ in range(60):
        asked = []
        breaker = CircuitBreaker(
            failure_rate_threshold=0.01,
            sliding_window_size=100,
            minimum_number_of_calls=40,
            wait_duration_in_open_state=lambda n, asked=asked: asked.append(n) or 1.0,
        )
        permit = door(breaker).admit(0.0)
        door(breaker).failed(permit, 0.0, 0.0, BOOM)

        def report(breaker=breaker, permit=permit):
            for _ in range(20):
                if fails:
                    door(breaker).failed(permit, 0.0, 0.0, BOOM)
                else:
                    door(breaker).succeeded(permit, 0.0, 0.0)

        together(*[report] * 4)
        door(breaker).publish()
        assert (breaker.state, asked, breaker.metrics().calls) == ("open", [1], 40)


@pytest.mark.usefixtures("frantic")
def test_threads_share_the_probes():
    """However many ask at once, as many get a permit as there are."""
    for _ in range(30):
        breaker = tripping(permitted_number_of_calls_in_half_open_state=50)
        trip(breaker)
        got = []

        def ask(breaker=breaker, got=got):
            for _ in range(40):
                if (permit := door(breaker).admit(60.0)) >= 0:
                    got.append(permit)

        together(*[ask] * 4)
        assert len(got) == len(set(got)) == 50


@pytest.mark.usefixtures("frantic")
def test_changes_come_one_by_one_and_in_order():
    """Each begins where the one before ended, on whatever thread it is told."""
    for _ in range(8):
        breaker = tripping(wait_duration_in_open_state=0.0)
        changes, inside, overlaps = [], threading.Lock(), []

        def hear(event, changes=changes, inside=inside, overlaps=overlaps):
            if not inside.acquire(blocking=False):
                overlaps.append(event)
                return
            time.sleep(0)  # let the others try
            changes.append((event.before, event.after))
            inside.release()

        breaker.events.subscribe(hear)

        def work(breaker=breaker):
            for _ in range(20):  # no more changes than are kept for a slow subscriber
                trip(breaker, 1.0)
                breaker.close()
                breaker.force_open()

        together(*[work] * 4)
        assert overlaps == []
        assert changes[0][0] == "closed"
        for (_, after), (before, _) in pairwise(changes):
            assert after == before
        assert breaker.state == changes[-1][1]
