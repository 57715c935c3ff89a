"""``fallback``: something in the place of an error."""

from collections.abc import Callable
from typing import Any, TypeVar, overload

from reactivex import Observable, abc

from rxpool._core.causes import caused
from rxpool._core.relay import Relay
from rxpool.timing import Clock

__all__ = ("fallback",)

_T = TypeVar("_T")
_R = TypeVar("_R")


@overload
def fallback(
    value_or_function: Observable[_R] | Callable[[Exception], Observable[_R]],
) -> Callable[[Observable[_T]], Observable[_T | _R]]: ...


@overload
def fallback(
    value_or_function: Callable[[Exception], _R],
) -> Callable[[Observable[_T]], Observable[_T | _R]]: ...


@overload
def fallback(value_or_function: _R) -> Callable[[Observable[_T]], Observable[_T | _R]]: ...


def fallback(value_or_function: Any) -> Callable[[Observable[Any]], Observable[Any]]:
    """Put a value, or another stream, in the place of an error of the source.

    - **Emits** the items of the source as they come; after an error the value, what the
      function returns for it, or the items of the Observable that one of these is.
    - **Completes** when the source does, after the value, or with that Observable.
    - **Fails** when the function or the Observable that it is replaced by does, with the
      error of the source as the cause.
    - **Holds back** nothing, unless over a thousand items wait for a busy subscriber.

    ::

        --1-2-x
        [ fallback(0) ]
        --1-2-0|

    Args:
        value_or_function: A value, which may be None; an Observable; or a function of the
            error that returns one of these.
    """

    def bind(source: Observable[Any]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], default: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            relay: Relay[Any] = Relay("fallback", observer, Clock.of(default), default)
            stage = relay.stage

            def fail(raised: Exception, error: Exception) -> None:
                stage.fail(caused(raised, error))

            def on_error(error: Exception) -> None:
                value = value_or_function
                try:
                    if callable(value):
                        value = value(error)
                except Exception as raised:
                    fail(raised, error)
                    return
                if isinstance(value, Observable):
                    relay.follow(
                        value,  # pyright: ignore[reportUnknownArgumentType]
                        lambda raised: fail(raised, error),
                    )
                else:
                    stage.put(value)
                    stage.complete()

            relay.follow(source, on_error)
            return relay.subscription()

        return Observable(subscribe)

    return bind
