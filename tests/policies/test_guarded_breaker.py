"""``guarded`` with a circuit breaker."""

import time

import pytest

from rxpool import CircuitOpen, Limit, Retry, guarded
from tests.policies.calls import EXACT, Oops, Work, breaker, half_open, has_its_probe
from tests.waiting import WAIT


def test_a_breaker_refuses_after_bad_calls(way):
    """Each attempt is a call; what is refused is neither made nor tried again."""
    guard, work = breaker(), Work(Oops())
    with pytest.raises(CircuitOpen, match="'shop' is open for another") as caught:
        way.run(work, breaker=guard, retry=Retry(9, **EXACT))
    assert caught.value.retry_after == pytest.approx(600, abs=WAIT)
    assert work.calls == 2
    assert way.waits == [10, 20]
    with pytest.raises(CircuitOpen):
        way.run(work, breaker=guard)
    assert work.calls == 2
    assert guard.metrics().not_permitted == 2


def test_predicates_of_the_breaker_see_no_refusals(way):
    """They are asked about errors of the function alone."""
    seen = []
    guard = breaker(record_exceptions=lambda error: seen.append(type(error)) or True)
    work = Work(Oops())
    with pytest.raises(CircuitOpen):
        way.run(work, breaker=guard, retry=Retry(9, **EXACT))
    with pytest.raises(CircuitOpen):
        way.run(work, breaker=guard)
    assert seen == [Oops, Oops]


def test_refusals_are_tried_again_if_retry_asks_for_them(way):
    """After the time that the breaker says; they count as attempts."""
    guard, work = breaker(), Work(Oops(), Oops(), 1)
    with pytest.raises(CircuitOpen):
        way.run(work, breaker=guard, retry=Retry(4, on=(Oops, CircuitOpen), **EXACT))
    assert way.waits[:2] == [10, 20]
    assert way.waits[2:] == [pytest.approx(600, abs=WAIT)]
    assert work.calls == 2


def test_a_good_probe_closes_the_breaker(way):
    """The probe's permit is reported once."""
    guard = half_open()
    assert way.run(Work(1), breaker=guard) == 1
    assert guard.state == "closed"


def test_good_and_slow_calls_are_counted(way):
    """The duration is that of the function."""
    guard = breaker(slow_call_duration_threshold=0.005, sliding_window_size=10)

    def slow(_):
        time.sleep(0.006)

    way.run(slow, breaker=guard)
    way.run(Work(1), breaker=breaker(), retry=3)
    metrics = guard.metrics()
    assert (metrics.calls, metrics.slow, metrics.failed) == (1, 1, 0)


def test_a_slow_bad_call_is_both(way):
    """The time of a call that failed counts too."""
    guard = breaker(slow_call_duration_threshold=0.005, sliding_window_size=10)

    def slow(_):
        time.sleep(0.006)
        raise Oops

    with pytest.raises(Oops):
        way.run(slow, breaker=guard)
    metrics = guard.metrics()
    assert (metrics.calls, metrics.slow, metrics.failed) == (1, 1, 1)


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_what_is_not_an_exception_counts_as_nothing(error):
    """A probe's permit is given back."""
    for limit in (None, Limit(1000)):
        guard = half_open()
        with pytest.raises(error):
            guarded(Work(error), breaker=guard, limit=limit, retry=3, fallback=0)()
        assert has_its_probe(guard)


def test_what_a_predicate_of_the_breaker_raises_comes_out(way):
    """With the error as its cause; no attempt follows, and the call counts as bad."""

    def broken(_):
        raise LookupError("mine")

    guard, work = breaker(record_exceptions=broken), Work(Oops())
    with pytest.raises(LookupError) as caught:
        way.run(work, breaker=guard, retry=3)
    assert isinstance(caught.value.__cause__, Oops)
    assert (work.calls, guard.metrics().failed) == (1, 1)


def test_changes_of_state_are_told_when_they_happen(way):
    """Not with the next call."""
    guard = breaker()
    seen = []
    guard.events.subscribe(lambda event: seen.append(event.after))
    with pytest.raises(Oops):
        way.run(Work(Oops()), breaker=guard, retry=Retry(2, delay=0))
    assert seen == ["open"]
