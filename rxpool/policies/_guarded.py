"""`guarded`: the policies of a pool around a plain or an async function."""

import asyncio
import inspect
import time
from collections.abc import Callable
from functools import partial, wraps
from threading import Event
from time import monotonic
from typing import Any, ParamSpec, TypeVar, overload

from rxpool import _checks as checks
from rxpool._core.causes import caused
from rxpool._core.sleeper import Sleeper
from rxpool.errors import InvalidArgument, InvalidArgumentType, TaskTimeout
from rxpool.policies._breaker import CircuitBreaker
from rxpool.policies._given import given, retry_given
from rxpool.policies._guard import MISSING, Call, Guard
from rxpool.policies._limit import Limit
from rxpool.policies._retry import Retry

__all__ = ("guarded",)

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
            `budget` is over all calls of this function.
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
    options: dict[str, Any] = {
        "retry": None if retry is None else retry_given("retry", retry),
        "breaker": None if breaker is None else given(CircuitBreaker, "breaker", breaker),
        "limit": None if limit is None else given(Limit, "limit", limit),
        "fallback": fallback,
    }
    seconds = None if timeout is None else checks.duration("timeout", timeout, above=True)
    if sleep is not None:
        checks.call("sleep", sleep)
    guard = partial(_guard, options, seconds, sleep)
    return guard if fn is None else guard(fn)


def _guard(
    options: dict[str, Any],
    timeout: float | None,
    sleep: Callable[[float], Any] | None,
    fn: Callable[..., Any],
) -> Callable[..., Any]:
    checks.call("fn", fn)
    if inspect.isgeneratorfunction(fn) or inspect.isasyncgenfunction(fn):
        raise InvalidArgumentType(
            f"fn must not be a generator, as its code runs after the call, got {fn!r}"
        )
    if _is_async(fn):
        return _async(fn, Guard(**options), timeout, sleep or asyncio.sleep)
    if timeout is not None:
        raise InvalidArgument(
            f"timeout={timeout:g} needs an async function, as nothing can end a plain one: "
            f"run {fn!r} in a WorkerPool, which has a timeout too"
        )
    if _is_async(options["fallback"]):
        raise InvalidArgumentType(
            f"fallback must not be async for a plain function, got {options['fallback']!r}"
        )
    return _plain(fn, Guard(**options), sleep or time.sleep)


def _is_async(fn: Any) -> bool:
    return inspect.iscoroutinefunction(fn) or inspect.iscoroutinefunction(
        getattr(fn, "__call__", None)  # noqa: B004
    )


def _plain(
    fn: Callable[..., Any], guard: Guard, sleep: Callable[[float], Any]
) -> Callable[..., Any]:
    """Wait on the thread of the caller."""
    go_on = partial(_go_on, guard, fn, sleep)

    @wraps(fn)
    def careful(*args: Any, **kwargs: Any) -> Any:
        guard.deposit()
        return go_on(args, kwargs, Call(guard, args[0] if args else None, monotonic()))

    if guard.limit is not None or guard.counts:
        return careful

    # The rest is for speed: the first attempt needs no `Call`, and most have no second.
    breaker = guard.breaker
    if breaker is None:

        @wraps(fn)
        def retried(*args: Any, **kwargs: Any) -> Any:
            began = monotonic()
            try:
                return fn(*args, **kwargs)
            except Exception as raised:
                error = raised
            try:
                return go_on(args, kwargs, Call(guard, None, began, -1), error)
            finally:
                del error

        return retried

    admit, succeeded, publish = breaker.admit, breaker.succeeded, breaker.publish

    @wraps(fn)
    def broken(*args: Any, **kwargs: Any) -> Any:
        began = monotonic()
        permit = admit(began)
        publish()
        if permit >= 0:
            try:
                result = fn(*args, **kwargs)
            except Exception as raised:
                error = raised
            except BaseException:
                breaker.release(permit)
                publish()
                raise
            else:
                ended = monotonic()
                succeeded(permit, ended, ended - began)
                publish()
                return result
        else:
            error = breaker.error(began)
        try:
            return go_on(args, kwargs, Call(guard, None, began, permit), error)
        finally:
            del error

    return broken


def _go_on(
    guard: Guard,
    fn: Callable[..., Any],
    sleep: Callable[[float], Any],
    args: Any,
    kwargs: Any,
    call: Call,
    error: Exception | None = None,
) -> Any:
    """Make all attempts that are left, after one that failed with *error*."""
    wake = Event() if guard.limit is not None else None
    while True:
        if error is not None:
            wait, error = call.failed(error)
            if wait is None:
                break
            error = None  # this frame and the error would keep each other alive
            if wait > 0:
                sleep(wait)
        try:
            if wake is None:
                call.may_start(_nobody)
            else:
                while not call.may_start(wake.set):
                    wake.wait()
                    wake.clear()
            result = fn(*args, **kwargs)
        except Exception as raised:
            error = raised
        except BaseException:
            call.cancelled()
            raise
        else:
            call.succeeded()
            return result
    try:
        return guard.replace(error)
    finally:
        del error


def _nobody() -> None:
    """Wakes nobody: without a limit there is no line to stand in."""


def _async(
    fn: Callable[..., Any],
    guard: Guard,
    timeout: float | None,
    sleep: Callable[[float], Any],
) -> Callable[..., Any]:
    """Wait on the event loop of the caller."""
    if timeout is not None:
        fn = _within(timeout, fn)

    @wraps(fn)
    async def guarded_call(*args: Any, **kwargs: Any) -> Any:
        guard.deposit()
        call = Call(guard, args[0] if args else None, monotonic())
        waiter = Sleeper() if guard.limit is not None else None
        while True:
            try:
                if waiter is None:
                    call.may_start(_nobody)
                else:
                    while not call.may_start(waiter.wake):
                        await waiter.sleep()
                result = await fn(*args, **kwargs)
            except Exception as raised:
                wait, error = call.failed(raised)
                if wait is None:
                    break
            except BaseException:
                call.cancelled()
                raise
            else:
                call.succeeded()
                return result
            del error
            if wait > 0:
                await sleep(wait)
        try:
            value = guard.replace(error)
            if callable(guard.fallback) and inspect.isawaitable(value):
                try:
                    value = await value
                except Exception as raised:
                    caused(raised, error)
                    raise
            return value
        finally:
            del error

    return guarded_call


def _within(timeout: float, fn: Callable[..., Any]) -> Callable[..., Any]:
    """*fn*, cancelled when it takes too long."""

    @wraps(fn)
    async def in_time(*args: Any, **kwargs: Any) -> Any:
        limit = asyncio.timeout(timeout)
        try:
            async with limit:
                return await fn(*args, **kwargs)
        except TimeoutError as error:
            if not limit.expired():
                raise
            raise TaskTimeout(f"the attempt ran longer than {timeout:g} s") from error

    return in_time
