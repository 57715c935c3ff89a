"""`guarded` around a good call: what it costs while nothing goes wrong; pools: `options`."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

from benchmarks.harness import Case, table
from benchmarks.options import ample
from rxpool import CircuitBreaker, Limit, Retry, guarded
from rxpool.policies._breaker import breaker_door

Function = Callable[[int], int]


def identity(number: int) -> int:
    """The call."""
    return number


async def identity_later(number: int) -> int:
    """The async call."""
    return number


def calls(make: Callable[[], Function]) -> Callable[[int], float]:
    """Call what *make* makes, on this thread."""

    def run(items: int) -> float:
        fn, numbers = make(), range(items)
        began = time.perf_counter()
        for number in numbers:
            fn(number)
        return time.perf_counter() - began

    return run


def awaits(make: Callable[[], Callable[[int], Any]]) -> Callable[[int], float]:
    """Await what *make* makes, one after the other."""

    async def main(items: int) -> float:
        fn, numbers = make(), range(items)
        began = time.perf_counter()
        for number in numbers:
            await fn(number)
        return time.perf_counter() - began

    return lambda items: asyncio.run(main(items))


def floor() -> Function:
    """The least that retry needs: a function around the function, and a `try`."""

    def call(*args: Any, **kwargs: Any) -> int:
        try:
            return identity(*args, **kwargs)
        except Exception:
            return call(*args, **kwargs)

    return call


def tenacity(fn: Any) -> Any:
    """tenacity's retry."""
    from tenacity import retry, stop_after_attempt

    return retry(stop=stop_after_attempt(3))(fn)


def pybreaker(fn: Any) -> Any:
    """pybreaker's breaker."""
    from pybreaker import CircuitBreaker as Breaker

    return Breaker(fail_max=5, reset_timeout=60)(fn)


def not_perfect() -> CircuitBreaker:
    """A breaker with a failure in its window, so that each call is looked at."""
    breaker = CircuitBreaker(sliding_window_type="time", sliding_window_size=600)
    door, now = breaker_door(breaker), time.monotonic()
    door.failed(door.admit(now), now, 0.0, ValueError())
    return breaker


def main(rounds: int, quick: bool) -> None:
    """Print the tables."""
    n = 200_000
    both = {"retry": Retry(3)}
    table(
        "Policies around a good plain call (base: the bare call)",
        [
            Case("bare call", n, calls(lambda: identity)),
            Case("floor: a wrapper and a try", n, calls(floor)),
            Case("rxpool guarded(retry=)", n, calls(lambda: guarded(identity, **both))),
            Case(
                "rxpool guarded(limit=)",
                n // 4,
                calls(lambda: guarded(identity, limit=ample())),
            ),
            Case(
                "the same, two limits",
                n // 4,
                calls(lambda: guarded(identity, limit=Limit.all(ample(), ample()))),
            ),
            Case(
                "rxpool guarded(retry=, breaker=)",
                n,
                calls(lambda: guarded(identity, **both, breaker=CircuitBreaker())),
                "≤ 1.0 µs",
            ),
            Case(
                "the same, one failure in the window",
                n,
                calls(lambda: guarded(identity, **both, breaker=not_perfect())),
            ),
            Case(
                "rxpool guarded(retry=, breaker=, limit=)",
                n // 4,
                calls(
                    lambda: guarded(identity, **both, breaker=CircuitBreaker(), limit=ample())
                ),
            ),
            Case(
                "tenacity retry", n // 10, calls(lambda: tenacity(identity)), needs="tenacity"
            ),
            Case("pybreaker", n // 2, calls(lambda: pybreaker(identity)), needs="pybreaker"),
        ],
        rounds,
        quick,
    )
    table(
        "Policies around a good async call (base: the bare await)",
        [
            Case("bare await", n, awaits(lambda: identity_later)),
            Case(
                "rxpool guarded(retry=, breaker=)",
                n // 2,
                awaits(lambda: guarded(identity_later, **both, breaker=CircuitBreaker())),
            ),
            Case(
                "rxpool guarded(limit=)",
                n // 4,
                awaits(lambda: guarded(identity_later, limit=ample())),
            ),
            Case(
                "tenacity retry",
                n // 10,
                awaits(lambda: tenacity(identity_later)),
                needs="tenacity",
            ),
        ],
        rounds,
        quick,
    )
