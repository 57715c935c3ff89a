"""How guarded functions call and wait: on the caller's thread, or on its event loop."""

import asyncio
import inspect
from collections.abc import Callable
from functools import partial, wraps
from threading import Event
from time import monotonic
from typing import Any

from rxpool._core.causes import caused
from rxpool._core.sleeper import Sleeper
from rxpool._core.waits import LOOK
from rxpool._forks import afresh
from rxpool.errors import TaskTimeout
from rxpool.policies._attempts import NO_BREAKER, REFUSED, AttemptPolicies
from rxpool.policies._guard import Call, replaced
from rxpool.timing import Clock

__all__ = ("guard_async", "guard_plain")


def guard_plain(  # noqa: C901 - a branch for each combination, so that most calls have none
    fn: Callable[..., Any],
    policies: AttemptPolicies,
    clock: Clock,
    sleep: Callable[[float], Any],
) -> Callable[..., Any]:
    """Wait on the thread of the caller."""
    go_on = partial(_go_on, policies, fn, sleep)
    new_call = partial(Call, policies, clock)

    @wraps(fn)
    def careful(*args: Any, **kwargs: Any) -> Any:
        began = monotonic()
        if policies.counts:
            policies.deposit(began)
        return go_on(args, kwargs, new_call(args[0] if args else None, began))

    waits = policies.asks and not policies.lock_free
    if waits or policies.counts or policies.on_result:
        return careful

    # The rest is for speed: the first attempt needs no `Call`, and most have no second.
    breaker = policies.breaker
    if policies.limit is not None:
        return _limited(fn, policies, go_on, new_call)
    if breaker is None:

        @wraps(fn)
        def retried(*args: Any, **kwargs: Any) -> Any:
            began = monotonic()
            try:
                return fn(*args, **kwargs)
            except Exception as raised:
                error = raised
            try:
                return go_on(args, kwargs, new_call(None, began, NO_BREAKER), error)
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
            return go_on(
                args, kwargs, new_call(None, began, permit if permit >= 0 else None), error
            )
        finally:
            del error

    return broken


def _limited(
    fn: Callable[..., Any],
    policies: AttemptPolicies,
    go_on: Callable[..., Any],
    new_call: Callable[..., Call],
) -> Callable[..., Any]:
    """With a limit that lets most calls through at once, and perhaps a breaker."""
    ask_now, good, breaker = policies.ask_now, policies.good, policies.breaker

    @wraps(fn)
    def limited(*args: Any, **kwargs: Any) -> Any:
        began = monotonic()
        permit = ask_now(began)
        if breaker is not None:
            breaker.publish()
        if permit >= 0:
            try:
                result = fn(*args, **kwargs)
            except Exception as raised:
                error = raised
            except BaseException:
                new_call(None, began, permit).cancelled()
                raise
            else:
                if breaker is not None:
                    ended = monotonic()
                    good(permit, ended, ended - began)
                return result
        elif permit == REFUSED:
            error = policies.refusal(began)
        else:  # it has to wait
            return go_on(args, kwargs, new_call(args[0] if args else None, began))
        try:
            known = permit if permit >= 0 else None
            call = new_call(args[0] if args else None, began, known)
            return go_on(args, kwargs, call, error)
        finally:
            del error

    return limited


def _go_on(
    policies: AttemptPolicies,
    fn: Callable[..., Any],
    sleep: Callable[[float], Any],
    args: Any,
    kwargs: Any,
    call: Call,
    error: Exception | None = None,
) -> Any:
    """Make all attempts that are left, after one that failed with *error*."""
    wake = Event() if policies.limit is not None else None
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
                    while not afresh(wake).wait(LOOK):
                        pass
                    wake.clear()
            result = fn(*args, **kwargs)
            if policies.on_result and (flaw := policies.flaw(result)) is not None:
                raise flaw
        except Exception as raised:
            error = raised
        except BaseException:
            call.cancelled()
            raise
        else:
            call.succeeded()
            return result
    try:
        return replaced(policies, error)
    finally:
        del error


def _nobody() -> None:
    """Wakes nobody: without a limit there is no line to stand in."""


def guard_async(  # noqa: C901 - the attempt loop, whole: each wait in it is awaited
    fn: Callable[..., Any],
    policies: AttemptPolicies,
    clock: Clock,
    timeout: float | None,
    sleep: Callable[[float], Any],
) -> Callable[..., Any]:
    """Wait on the event loop of the caller."""
    if timeout is not None:
        fn = _within(timeout, fn)

    @wraps(fn)
    async def guarded_call(*args: Any, **kwargs: Any) -> Any:
        began = monotonic()
        policies.deposit(began)
        call = Call(policies, clock, args[0] if args else None, began)
        waiter = Sleeper() if policies.limit is not None else None
        while True:
            try:
                if waiter is None:
                    call.may_start(_nobody)
                else:
                    while not call.may_start(waiter.wake):
                        await waiter.sleep()
                result = await fn(*args, **kwargs)
                if (flaw := policies.flaw(result)) is not None:
                    raise flaw
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
            value = replaced(policies, error)
            if callable(policies.fallback) and inspect.isawaitable(value):
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
