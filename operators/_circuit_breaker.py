"""``circuit_breaker``: a subscription is a call that a breaker may refuse."""

from collections.abc import Callable
from contextlib import nullcontext
from typing import TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxpool import _checks as checks
from rxpool._core.causes import caused
from rxpool._core.relay import Relay
from rxpool.policies import CircuitBreaker
from rxpool.policies._arguments import given
from rxpool.policies._attempts import AttemptPolicies
from rxpool.policies._options import AttemptOptions
from rxpool.timing import Clock

__all__ = ("circuit_breaker",)

_T = TypeVar("_T")


class _Call:
    """Tells its policies once how it ended, from whichever thread that is known first."""

    __slots__ = ("_began", "_clock", "_permits", "_policies")

    def __init__(
        self, policies: AttemptPolicies, permit: int, clock: Clock, began: float
    ) -> None:
        self._policies = policies
        self._permits = [permit]  # `pop` is atomic: one thread gets it
        self._clock = clock
        self._began = began

    def succeeded(self) -> None:
        if (permit := self._take()) is not None:
            now = self._clock.now()
            self._policies.succeeded(permit, now, now - self._began)
            self._policies.carry_out()

    def failed(self, error: Exception) -> None:
        if (permit := self._take()) is not None:
            now = self._clock.now()
            try:
                self._policies.failed(permit, error, (error,), now, now - self._began)
            finally:
                self._policies.carry_out()

    def cancelled(self) -> None:
        if (permit := self._take()) is not None:
            self._policies.cancelled(permit, None)
            self._policies.carry_out()

    def _take(self) -> int | None:
        try:
            return self._permits.pop()
        except IndexError:
            return None


def circuit_breaker(
    breaker: CircuitBreaker, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[_T]], Observable[_T]]:
    """Ask *breaker* before each subscription to the source, and tell it how that ended.

    A subscription is one call: it succeeds when the source completes and fails when the
    source does; one that the subscriber ends before counts as neither, and gives its permit
    back.  It lasts from the subscription to the end.

    - **Emits** the items of the source as they come.
    - **Completes** when the source does.
    - **Fails** when the source does; at once with `CircuitOpen`, and without a subscription
      to the source, while the breaker refuses; with what a predicate of the breaker raises,
      which carries the error of the source as its cause.
    - **Holds back** nothing, unless over a thousand items wait for a busy subscriber.

    Put ``retry`` after it, so that each attempt is a call.

    Args:
        breaker: May be shared with other streams, pools and functions.
        scheduler: The clock; by default the subscriber's, else the shared `TimerScheduler`.

    Raises:
        InvalidArgument: At once, if an argument is of the wrong type.  A breaker that is
            used in virtual and in real time fails the stream with it.
    """
    options = AttemptOptions(breaker=given(CircuitBreaker, "breaker", breaker))
    policies = AttemptPolicies(options, nullcontext(), refusals_count=True)
    checks.timing("scheduler", scheduler)

    def bind(source: Observable[_T]) -> Observable[_T]:
        def subscribe(
            observer: abc.ObserverBase[_T], default: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            clock = Clock.of(scheduler, default)
            policies.follow(clock)
            began = clock.now()
            permit = policies.ask(None, began)
            policies.carry_out()
            if not isinstance(permit, int):
                observer.on_error(policies.refusal(began))
                return Disposable()
            call = _Call(policies, permit, clock, began)
            relay: Relay[_T] = Relay(
                "circuit_breaker", observer, clock, default, call.cancelled
            )

            def on_error(error: Exception) -> None:
                try:
                    call.failed(error)
                except Exception as raised:
                    error = caused(raised, error)
                relay.stage.fail(error)

            def on_completed() -> None:
                call.succeeded()
                relay.stage.complete()

            relay.follow(source, on_error, on_completed)
            return relay.subscription()

        return Observable(subscribe)

    return bind
