"""What a limit grants without a ticket: the same as with one, as long as nobody waits."""

import copy
import threading
from time import monotonic

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rxpool import CircuitBreaker, CircuitOpen, Limit, WorkerPool, guarded
from rxpool._core.rate_limiters import TokenBucket
from rxpool.policies._attempts import AttemptOptions, AttemptPolicies
from rxpool.policies._limit import limit_door
from rxpool.policies._limit_parts import CapacityPart, RatePart
from rxpool.policies._limit_state import LimitState, Place
from rxpool.timing import Clock
from tests.pool.crew import collect
from tests.waiting import WAIT

LATE = 1e-6
WAITS = st.lists(st.floats(0, 3, width=32), min_size=1, max_size=30)
COSTS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 5.0])
BURSTS = st.sampled_from([0.0, 0.5, 1.0, 2.0, 3.0, 10.0])


def state_of(bucket):
    """All that it knows, but for what came above the cap and is lost in either case."""
    return bucket.empty, bucket.blocked


@given(interval=st.sampled_from([0.1, 0.5, 1.0, 1 / 3]), burst=BURSTS, cost=COSTS, waits=WAITS)
@settings(deadline=None)
@example(interval=1.0, burst=1.0, cost=1.0, waits=[0.0, 1.0 - 5e-7, 1.0])
def test_a_bucket_takes_at_once_what_is_due_at_once(interval, burst, cost, waits):
    """The same decision and the same state as to settle, look when it is due, and take."""
    one, other, now = TokenBucket(interval, burst, 0.0, 0.0), None, 0.0
    other = copy.copy(one)
    for wait in waits:
        now += wait
        other.settle(now)
        due = other.due(cost) <= now + LATE
        if due:
            other.take(cost, now, now)
        assert one.take_now(cost, now, LATE) is due
        settled = copy.copy(one)
        settled.settle(now)
        if not due:
            one.settle(now)
        assert state_of(one) == pytest.approx(state_of(other), abs=1e-9)


def rates(figures):
    """Parts with these figures: rate, burst, cost."""
    return [RatePart(rate, 1.0, burst, False, cost, None, 0.0) for rate, burst, cost in figures]


FIGURES = st.lists(
    st.tuples(st.sampled_from([0.5, 1.0, 3.0]), BURSTS, st.sampled_from([0.0, 1.0, 2.0])),
    min_size=1,
    max_size=3,
)


def tokens(parts, now):
    """How many there are of each, capped."""
    found = []
    for part in parts:
        bucket = copy.copy(part._meters.get(None) or part._bucket(now))
        bucket.settle(now)
        found.append((now - bucket.empty) / bucket.interval)
    return found


@given(figures=FIGURES, waits=WAITS, pause=st.sampled_from([0.0, 0.7, 4.0]))
@settings(deadline=None)
def test_without_a_ticket_the_same_are_let_through(figures, waits, pause):
    """All parts or none of them: what the first gave is returned when the second refuses."""
    one, other = LimitState(rates(figures)), LimitState(rates(figures))
    now = 0.0
    for number, wait in enumerate(waits):
        now += wait
        if number == 3 and pause:
            one.pause(pause, now)
            other.pause(pause, now)
        place = Place((None,) * len(figures), tuple(cost for *_, cost in figures))
        passes = other.enter(place, now)
        assert one.enter_now(now) is passes
        other.leave(place)
        assert tokens(one.parts, now) == pytest.approx(tokens(other.parts, now), abs=1e-5)


def test_nobody_passes_one_who_waits():
    """Not even with tokens enough for both, and not at another limit that shares a part."""
    part, alone = rates([(1.0, 1.0, 1.0)])[0], rates([(1.0, 9.0, 1.0)])[0]
    both, one, other = LimitState([alone, part]), LimitState([part]), LimitState([alone])
    assert one.enter_now(0.0)
    place = Place((None, None), (1.0, 1.0))
    assert not both.enter(place, 0.0)
    assert not one.enter_now(5.0)
    assert not other.enter_now(5.0)
    assert both.enter(place, 5.0)
    assert other.enter_now(5.0)


@given(
    figures=FIGURES,
    before=st.integers(0, 3),
    count=st.integers(1, 4),
    after=st.integers(0, 3),
)
@settings(deadline=None)
def test_what_was_not_used_is_there_as_if_nobody_had_come(figures, before, count, after):
    """At the same instant, with or without a ticket."""
    one, other = LimitState(rates(figures)), LimitState(rates(figures))
    for _ in range(before):
        assert one.enter_now(1.0) is other.enter_now(1.0)
    taken = 0
    for number in range(count):
        place = Place((None,) * len(figures), tuple(cost for *_, cost in figures))
        granted = one.enter(place, 1.0) if number % 2 else one.enter_now(1.0)
        one.leave(place)
        if granted:
            taken += 1
    for _ in range(taken):
        one.refund(None)
    for now in [1.0] * after + [1.5, 2.0, 9.0]:
        assert tokens(one.parts, now) == pytest.approx(tokens(other.parts, now), abs=1e-5)


@given(burst=st.sampled_from([1.0, 3.0, 10.0]), count=st.integers(1, 10), late=st.floats(0, 50))
@settings(deadline=None)
def test_returned_tokens_are_no_more_than_the_burst(burst, count, late):
    """However late they come back."""
    (part,) = parts = rates([(1.0, burst, 1.0)])
    state = LimitState(parts)
    taken = sum(state.enter_now(1.0) for _ in range(count))
    for _ in range(taken):
        state.refund(None)
    assert tokens(parts, 1.0 + late) == pytest.approx([burst])
    passed = sum(state.enter_now(1.0 + late) for _ in range(30))
    assert passed == burst
    assert part.lines == {}


def test_tokens_do_not_come_back_to_a_bucket_that_a_pause_has_emptied():
    """Else who was told to come back later would find them at once."""
    parts = rates([(1.0, 5.0, 1.0)])
    state = LimitState(parts)
    assert state.enter_now(0.0)
    assert state.enter_now(0.0)
    state.pause(10.0, 0.0)
    state.refund(None)
    state.refund(Place((None,), (1.0,)))
    assert not state.enter_now(9.9)
    assert [state.enter_now(10.0) for _ in range(3)] == [True, False, False]


def test_room_that_was_not_used_is_free_again():
    """A part that counts who is inside says nothing of a call that was not made."""
    part = CapacityPart(1, 1, 4, 0.5, lambda error, took: True)
    state = LimitState([part])
    place = Place((None,), (1.0,))
    assert state.enter(place, 0.0)
    state.refund(place)
    assert (part.running, part.limit) == (0, 1.0)
    assert state.enter(place, 0.0)


def test_a_strict_window_forgets_nothing():
    """It never lets more through, whatever became of those."""
    part = RatePart(1.0, 10.0, 1.0, True, 1.0, None, 0.0)
    state = LimitState([part])
    place = Place((None,), (1.0,))
    assert state.enter(place, 0.0)
    state.refund(place)
    assert not state.enter(Place((None,), (1.0,)), 5.0)


@pytest.mark.parametrize("way", ["guarded", "pool"])
def test_who_is_refused_by_the_breaker_counts_once(way):
    """With a limit beside it, which is not asked then."""
    breaker = CircuitBreaker()
    breaker.force_open()
    limit = Limit(10, burst=10)
    if way == "guarded":
        with pytest.raises(CircuitOpen):
            guarded(abs, breaker=breaker, limit=limit)(1)
    else:
        with WorkerPool(1) as pool:
            stream = pool.pull([1]).pipe(pool.map(abs, breaker=breaker, limit=limit))
            with pytest.raises(CircuitOpen):
                collect(stream)
    assert breaker.metrics().not_permitted == 1
    assert limit_door(limit).state.parts[0]._meters == {}


def test_a_token_that_a_worker_did_not_need_is_for_who_waits():
    """It is woken then, not when it was told that the next one comes."""
    limit, woken = Limit(1, per=600, burst=1), threading.Event()
    door = limit_door(limit)
    options = AttemptOptions(limit=limit)
    policies = AttemptPolicies(options, threading.Lock(), refusals_count=True)
    permit = policies.ask_now(monotonic())
    assert permit >= 0
    ticket = door.ticket(None, woken.set, Clock.of(None))
    assert not door.enter(ticket, monotonic())
    door.arm()
    policies.unused(permit)
    assert woken.wait(WAIT)
    assert door.enter(ticket, monotonic())
