"""``guarded`` with a fallback."""

import asyncio

import pytest

from rxpool import CircuitOpen, Retry, guarded
from tests.policies.calls import EXACT, Oops, Work, breaker


@pytest.mark.parametrize(
    ("fallback", "expected"), [(0, 0), (None, None), (str, "bad"), (lambda _: None, None)]
)
def test_a_fallback_stands_in_for_the_last_error(way, fallback, expected):
    """After all attempts."""
    work = Work(Oops("bad"))
    assert way.run(work, retry=Retry(3, **EXACT), fallback=fallback) == expected
    assert work.calls == 3


def test_a_fallback_is_not_asked_after_a_good_call(way):
    """Nor returned."""
    assert way.run(Work(None), fallback=5) is None


def test_a_fallback_stands_in_for_a_refusal(way):
    """It sees `CircuitOpen`."""
    guard = breaker()
    guard.force_open()
    assert way.run(Work(1), breaker=guard, fallback=type) is CircuitOpen


def test_a_fallback_that_raises_says_what_for(way):
    """The error of the call is the cause."""

    def broken(_):
        raise LookupError("mine")

    with pytest.raises(LookupError) as caught:
        way.run(Work(Oops()), fallback=broken)
    assert isinstance(caught.value.__cause__, Oops)


def test_a_fallback_may_be_async():
    """Its result is waited for; what it raises has a cause too."""

    async def fn():
        raise Oops

    async def good(error):
        await asyncio.sleep(0)
        return type(error)

    async def bad(error):
        await asyncio.sleep(0)
        raise LookupError

    assert asyncio.run(guarded(fn, fallback=good)()) is Oops
    with pytest.raises(LookupError) as caught:
        asyncio.run(guarded(fn, fallback=bad)())
    assert isinstance(caught.value.__cause__, Oops)
