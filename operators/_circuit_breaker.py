"""``circuit_breaker``: a subscription is a call that a breaker may refuse."""

from collections.abc import Callable
from typing import TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable

from rxpool import _checks as checks
from rxpool._core.causes import caused
from rxpool._core.relay import Relay
from rxpool.policies import CircuitBreaker
from rxpool.policies._arguments import given
from rxpool.policies._breaker import breaker_door
from rxpool.policies._breaker_door import BreakerDoor
from rxpool.timing import Clock

__all__ = ("circuit_breaker",)

_T = TypeVar("_T")


class _Call:
    """Tells the breaker once how a call ended, from whichever thread that is known first."""

    __slots__ = ("_began", "_breaker", "_clock", "_permits")

    def __init__(self, breaker: BreakerDoor, permit: int, clock: Clock, began: float) -> None:
        self._breaker = breaker
        self._permits = [permit]  # `pop` is atomic: one thread gets it
        self._clock = clock
        self._began = began

    def succeeded(self) -> None:
        if (permit := self._take()) is not None:
            now = self._clock.now()
            self._breaker.succeeded(permit, now, now - self._began)
            self._breaker.publish()

    def failed(self, error: Exception) -> None:
        if (permit := self._take()) is not None:
            now = self._clock.now()
            try:
                self._breaker.failed(permit, now, now - self._began, error)
            finally:
                self._breaker.publish()

    def cancelled(self) -> None:
        if (permit := self._take()) is not None:
            self._breaker.release(permit)
            self._breaker.publish()

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
    door = breaker_door(given(CircuitBreaker, "breaker", breaker))
    checks.timing("scheduler", scheduler)

    def bind(source: Observable[_T]) -> Observable[_T]:
        def subscribe(
            observer: abc.ObserverBase[_T], default: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            clock = Clock.of(scheduler, default)
            door.follow(clock)
            began = clock.now()
            permit = door.admit(began)
            door.publish()
            if permit < 0:
                observer.on_error(door.error(began))
                return Disposable()
            call = _Call(door, permit, clock, began)
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
