"""Makes an operator of a pure state: checks done, nothing shared between subscriptions."""

from collections.abc import Callable
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import CompositeDisposable

from rxpool import _checks as checks
from rxpool._core.inlet import feeding
from rxpool._core.stage import Stage
from rxpool._core.state import StageState
from rxpool.events import Monitor
from rxpool.timing import Clock

__all__ = ("Attach", "operator")

_T = TypeVar("_T")

#: subscribes a stage to something beside its source
Attach = Callable[[Any, Any, abc.SchedulerBase | None], abc.DisposableBase]


def operator(
    name: str,
    make_state: Callable[[bool], StageState[_T]],
    *,
    measure: Callable[[_T], Any] | None,
    monitor: Monitor | None,
    scheduler: abc.SchedulerBase | None,
    attach: Attach | None = None,
) -> Callable[[Observable[_T]], Observable[Any]]:
    """An operator whose decisions are those of a state.

    Args:
        name: For messages.
        make_state: Makes the state of a subscription; told whether anybody listens to
            measurements.
        measure: The user's functions of an item, called outside every lock.
        monitor: Takes the measurements.
        scheduler: The clock; None means the subscriber's.
        attach: Subscribes to something beside the source.

    Raises:
        InvalidArgument: If `monitor` or `scheduler` is of the wrong type.
    """
    checks.sink("monitor", monitor)
    checks.timing("scheduler", scheduler)

    def bind(source: Observable[_T]) -> Observable[Any]:
        def subscribe(
            observer: abc.ObserverBase[Any], default: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            state = make_state(monitor is not None)
            clock = Clock.of(scheduler, default)
            stage: Stage[_T, Any] = Stage(name, state, observer, clock, monitor)
            # The stage lets go of all of it, whatever ends it and from whichever thread.
            upstream = CompositeDisposable()
            subscription = stage.connect(upstream)
            if attach is not None:
                upstream.add(attach(stage, state, default))
            if not upstream.is_disposed:
                on_next = _entry(stage, state, measure)
                with feeding(stage):
                    upstream.add(
                        source.subscribe(on_next, stage.fail, stage.complete, scheduler=default)
                    )
            return subscription

        return Observable(subscribe)

    return bind


def _entry(
    stage: Stage[_T, Any], state: StageState[_T], measure: Callable[[_T], Any] | None
) -> Callable[[_T], None]:
    """What the source calls for each item."""
    if measure is None:
        if (absorb := getattr(state, "absorb", None)) is not None:
            return stage.fast_take(absorb)
        if (admit := getattr(state, "admit", None)) is not None:
            return stage.fast_pass(admit)
        return stage.put

    def on_next(item: _T) -> None:
        try:
            extra = measure(item)
        except Exception as error:
            stage.fail(error)
        else:
            stage.put(item, extra)

    return on_next
