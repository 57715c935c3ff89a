"""`CircuitBreaker`: its options, what counts, operation by hand, events."""

import logging
from datetime import timedelta

import pytest
from reactivex.testing import TestScheduler

from rxpool.errors import CircuitOpen, InvalidArgument
from rxpool.policies import BreakerEvent, BreakerMetrics, CircuitBreaker
from rxpool.policies._breaker import breaker_door as door
from tests.policies.tripping import BOOM, seen, trip, tripping

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
