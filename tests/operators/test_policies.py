"""What ``retry``, ``circuit_breaker`` and ``fallback`` have in common."""

import threading
import time
from datetime import timedelta

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import InvalidArgument, Retry
from rxpool import operators as ops
from rxpool._core.relay import PassState
from rxpool._core.state import FULL
from tests.operators.attempts import BOOM, breaker
from tests.operators.crew import finish, start
from tests.waiting import WAIT

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

    finish(*[start(produce, number) for number in range(4)])
    assert overlaps == 0
    assert sorted(values) == [(number, i) for number in range(4) for i in range(300)]
    for number in range(4):
        assert [i for n, i in values if n == number] == list(range(300))
