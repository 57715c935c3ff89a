"""`guarded`: the policies of a pool around a plain or an async function."""

import asyncio
import inspect
import time
from collections.abc import Callable
from functools import partial
from threading import Lock
from typing import Any, Final, ParamSpec, TypeVar, overload

from rxpool import _checks as checks
from rxpool._core.functions import is_async
from rxpool._forks import afresh
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.policies._arguments import ends, given, retry_given
from rxpool.policies._attempts import AttemptPolicies
from rxpool.policies._breaker import CircuitBreaker
from rxpool.policies._guarded_calls import guard_async, guard_plain
from rxpool.policies._limit import Limit
from rxpool.policies._options import MISSING, AttemptOptions
from rxpool.policies._retry import Retry
from rxpool.timing import Clock, TimerScheduler

__all__ = ("guarded",)

_NO_END: Final = "needs a deadline, which a guarded function does not have"

_P = ParamSpec("_P")
_R = TypeVar("_R")


@overload
def guarded(
    fn: Callable[_P, _R],
    *,
    retry: Retry | int | None = None,
    breaker: CircuitBreaker | None = None,
    limit: Limit | None = None,
    timeout: checks.Seconds | None = None,
    fallback: Any = MISSING,
    sleep: Callable[[float], Any] | None = None,
) -> Callable[_P, _R]: ...


@overload
def guarded(
    fn: None = None,
    *,
    retry: Retry | int | None = None,
    breaker: CircuitBreaker | None = None,
    limit: Limit | None = None,
    timeout: checks.Seconds | None = None,
    fallback: Any = MISSING,
    sleep: Callable[[float], Any] | None = None,
) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]: ...


def guarded(
    fn: Callable[..., Any] | None = None,
    *,
    retry: Retry | int | None = None,
    breaker: CircuitBreaker | None = None,
    limit: Limit | None = None,
    timeout: checks.Seconds | None = None,
    fallback: Any = MISSING,
    sleep: Callable[[float], Any] | None = None,
) -> Callable[..., Any]:
    """A function like *fn*, with policies around it; also a decorator.

    ::

        @guarded(retry=3, breaker=CircuitBreaker(name="shop"))
        def price(article: str) -> float: ...

        fetch = guarded(fetch, limit=Limit(50), timeout=5.0, fallback=None)

    The order is fixed, outermost first: ``fallback(retry(breaker(limit(timeout(fn)))))``.
    Each attempt is a call for the breaker and for the limit; one that the breaker refuses
    takes nothing from the limit, and is tried again only if `retry` asks for `CircuitOpen`.
    An error with a number as its `retry_after` attribute sets the wait, and pauses the
    limit for all who share it.

    A plain function waits on the thread of the caller, for the limit and between attempts;
    an ``async def`` function on its event loop.  What is not an `Exception`
    (KeyboardInterrupt, SystemExit, the cancellation of a coroutine) counts as nothing: the
    permits are given back, and it comes out at once.

    Args:
        fn: A plain or an async function; what it is called with is handed on.
        retry: When a call is made again, or the number of attempts, the first one included.
            `budget` is over all calls of this function.  ``max_attempts=None`` is refused,
            as nothing would end it.
        breaker: May be shared with other functions, pools and streams.
        limit: The same.  Its functions of an item see the first positional argument, which
            is `self` for a method, or None if there is none.
        timeout: The most seconds (or a timedelta) that an attempt of an async function may
            take; it is cancelled then, and failed with `TaskTimeout`.
        fallback: What is returned in the place of the last error: a value, or a function of
            the error; it may be async if *fn* is.  What it raises has that error as its
            cause.  For type checkers the signature stays as it is.
        sleep: Waits between attempts instead of `time.sleep` or `asyncio.sleep`, in tests.

    Returns:
        A function with the signature of *fn*, or, without *fn*, a decorator.

    Raises:
        InvalidArgument: At once, if an argument is out of range or of the wrong type; if
            `timeout` is given for a plain function, which nothing can end; or if the breaker
            follows virtual time.
    """
    options = AttemptOptions(
        fallback=fallback,
        retry=None if retry is None else _ending(retry),
        breaker=None if breaker is None else given(CircuitBreaker, "breaker", breaker),
        limit=None if limit is None else given(Limit, "limit", limit),
    )
    seconds = None if timeout is None else checks.duration("timeout", timeout, above=True)
    if sleep is not None:
        checks.call("sleep", sleep)
    guard = partial(_guard, options, seconds, sleep)
    return guard if fn is None else guard(fn)


def _guard(
    options: AttemptOptions,
    timeout: float | None,
    sleep: Callable[[float], Any] | None,
    fn: Callable[..., Any],
) -> Callable[..., Any]:
    checks.call("fn", fn)
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise InvalidArgumentType(
            "fn must not be a generator, as its code runs after the call, "
            f"got {checks.shown(fn)}"
        )
    if is_async(fn):
        return guard_async(fn, *_policies(options), timeout, sleep or asyncio.sleep)
    if timeout is not None:
        raise InvalidArgument(
            f"timeout={timeout:g} needs an async function, as nothing can end a plain one: "
            f"run {checks.shown(fn)} in a WorkerPool, which has a timeout too"
        )
    if is_async(options.fallback):
        raise InvalidArgumentType(
            "fallback must not be async for a plain function, "
            f"got {checks.shown(options.fallback)}"
        )
    return guard_plain(fn, *_policies(options), sleep or time.sleep)


def _policies(options: AttemptOptions) -> tuple[AttemptPolicies, Clock]:
    """Those of one function, in real time."""
    clock = Clock(TimerScheduler.singleton())  # sets no timer, starts no thread
    policies = AttemptPolicies(options, afresh(Lock()), refusals_count=True)
    policies.follow(clock)
    return policies, clock


def _ending(retry: Any) -> Retry:
    return ends("retry", retry_given("retry", retry), _NO_END)  # type: ignore[no-any-return]
