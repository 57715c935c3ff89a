"""``guarded`` with a limit, and with a breaker beside it."""

import asyncio
import threading
import time

import pytest

from rxpool import AdaptiveConcurrency, CircuitOpen, Limit, guarded
from rxpool.policies._limit import limit_door
from tests.policies.calls import Busy, Oops, Work, breaker, half_open, has_its_probe
from tests.waiting import WAIT


def test_calls_wait_for_the_limit(way):
    """Ten calls a burst of one: nine intervals at least."""
    limit = Limit(500, burst=1)
    began = time.monotonic()
    for _ in range(10):
        way.run(Work(1), limit=limit)
    assert time.monotonic() - began >= 9 / 500 - 1e-3


def test_functions_of_the_limit_see_the_first_argument():
    """None if there is none."""
    seen = []

    def cost(item):
        seen.append(item)
        return 0

    def fn(item=None, *, other=None):
        return item

    async def afn(item=None, *, other=None):
        return item

    limit = Limit(1000, cost=cost)
    call, acall = guarded(fn, limit=limit), guarded(afn, limit=limit)
    assert [call("a"), call(other=1), call(item="b")] == ["a", None, "b"]
    assert asyncio.run(acall("c")) == "c"
    assert seen == ["a", None, None, "c"]


def test_what_a_function_of_the_limit_raises_is_the_failure(way):
    """The function is not called, and a probe's permit is given back."""

    def cost(_):
        raise LookupError("mine")

    guard, work = half_open(), Work(1)
    with pytest.raises(LookupError, match="mine"):
        way.run(work, limit=Limit(1000, cost=cost), breaker=guard)
    assert work.calls == 0
    assert has_its_probe(guard)


def test_an_error_with_retry_after_pauses_the_limit(way):
    """For all who share it, from the attempt that failed."""
    limit = Limit(1000, burst=100, jitter=0)
    with pytest.raises(Busy):
        way.run(Work(Busy()), limit=limit)
    assert limit.acquire(timeout=0) is False


def test_a_refused_call_takes_nothing_from_the_limit(way):
    """Nor does its `retry_after` pause it."""
    guard = breaker()
    guard.force_open()
    limit = Limit(0.001, burst=1)
    for _ in range(3):
        with pytest.raises(CircuitOpen):
            way.run(Work(1), breaker=guard, limit=limit)
    assert limit.acquire(timeout=0) is True


def test_places_are_given_back(way):
    """However the call ends."""
    limit = AdaptiveConcurrency(initial=1, most=1)
    for plan in ([1], [Oops()], [SystemExit()]):
        for _ in range(3):
            with pytest.raises((Oops, SystemExit)) if plan != [1] else nothing():
                way.run(Work(*plan), limit=limit, breaker=breaker())
    assert limit.acquire(timeout=0) is True


class nothing:
    """A context in which nothing is expected."""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        return None


def waiting(limit):
    """Wait until somebody stands in the line of *limit*."""
    end = time.monotonic() + WAIT
    while not limit_door(limit).state.lines:
        assert time.monotonic() < end, "nobody waits"
        time.sleep(0.001)


def test_whoever_waits_for_the_limit_holds_no_permit(way):
    """The probe is there for others meanwhile."""
    limit, guard = AdaptiveConcurrency(initial=1, most=1), half_open()
    assert limit.acquire(timeout=0)
    results = []
    thread = threading.Thread(
        target=lambda: results.append(way.run(Work(1), limit=limit, breaker=guard))
    )
    thread.start()
    waiting(limit)
    assert has_its_probe(guard)
    assert results == []
    limit_door(limit).give_back()
    limit_door(limit).arm()
    thread.join(WAIT)
    assert results == [1]
    assert guard.state == "closed"


def test_a_breaker_that_opens_meanwhile_refuses_who_waits_for_the_limit(way):
    """And that one leaves the line."""
    limit, guard = AdaptiveConcurrency(initial=1, most=1), breaker()
    assert limit.acquire(timeout=0)
    errors = []

    def run():
        try:
            way.run(Work(1), limit=limit, breaker=guard)
        except CircuitOpen as error:
            errors.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    waiting(limit)
    guard.force_open()
    limit_door(limit).give_back()
    limit_door(limit).arm()
    thread.join(WAIT)
    assert len(errors) == 1
    assert not limit_door(limit).state.lines
    assert limit.acquire(timeout=0) is True
