"""``progress``: shows how far a stream is."""

from collections.abc import Callable
from typing import Any, TextIO, TypeVar

from reactivex import Observable, abc
from reactivex.disposable import Disposable
from reactivex.observer import Observer

from rxpool import _checks as checks
from rxpool._core.relay import Relay
from rxpool.errors import InvalidArgumentType
from rxpool.operators._bars import BARS, Bar, chosen, make_display, require
from rxpool.operators._progress_state import ProgressState
from rxpool.operators._shown import Shown
from rxpool.timing import Clock

__all__ = ("progress",)

_T = TypeVar("_T")

_REDRAW = 0.1  #: seconds between two drawings of a bar
_LINE = 2.0  #: seconds between two lines


def _counting(observer: abc.ObserverBase[Any], shown: Shown) -> Observer[Any]:
    """Stands in front of the subscriber; a stage calls it, so one thread at a time."""
    deliver, count, look, close = observer.on_next, shown.count, shown.look, shown.close

    def on_next(item: Any) -> None:
        # Counted before, as the subscriber may dispose while it is given the item.
        to_look = count(item)
        try:
            deliver(item)
        except BaseException:
            close("disposed")
            raise
        if to_look:
            look()

    def on_error(error: Exception) -> None:
        close("failed")
        observer.on_error(error)

    def on_completed() -> None:
        close("done")
        observer.on_completed()

    return Observer(on_next, on_error, on_completed)


def progress(
    total: int | None = None,
    *,
    description: str | None = None,
    bar: Bar = "auto",
    file: TextIO | None = None,
    every: checks.Seconds | None = None,
    keep: bool = True,
    scheduler: abc.SchedulerBase | None = None,
) -> Callable[[Observable[_T]], Observable[_T]]:
    """Show on a terminal, or in lines of text, how far the stream is.

    - **Emits** the items of the source as they come.
    - **Completes** when the source does.
    - **Fails** when the source does.
    - **Holds back** nothing, unless over a thousand items wait for a busy subscriber.

    ::

        files: 1,200 of 5,000 (24 %), 3 failed, 240/s, 5.0 s
        files: 5,000 of 5,000 (100 %), 3 failed, 250/s, 20.0 s, done

    Items are counted as they are handed on; where they are outcomes of ``pool.outcomes``, those
    that are a `Failure` are counted on their own too.  The rate is that since the
    subscription.  The last line or the bar's last state ends in ``done``, ``failed`` or
    ``disposed``, and is written before the end is handed on.

    Args:
        total: How many items are expected; None if nobody knows.
        description: Stands in front.
        bar: ``"rich"`` or ``"tqdm"`` for a bar of these libraries, ``"plain"`` for lines,
            ``"notebook"`` for a bar in the output of a cell, ``"none"`` for nothing.
            ``"auto"`` takes that of a notebook in one, if no `file` is given; what is
            installed, rich first, if `file` is a terminal; else lines.  What is printed on a
            terminal while there is a bar of rich stands above it, unless it is printed by
            another process.
        file: Where it goes; by default the standard error of the moment of the subscription.
            One that is closed, or None there, gets nothing.
        every: Seconds between two lines or two drawings, at the least; by default 2 for lines
            and 0.1 for bars.  While no item comes, nothing more is written than what is new.
        keep: Whether a bar stays on the terminal when it is over.  Lines do.
        scheduler: The clock; by default the subscriber's if that is one of virtual time, else
            the shared `TimerScheduler`.

    Raises:
        ImportError: At once, if the library that `bar` names is missing; the message says how
            to install it.
        InvalidArgument: At once, if an argument is out of range or of the wrong type.

    A display that raises is logged once and dropped; the stream goes on.  Each subscription
    has a display of its own.
    """
    expected = None if total is None else checks.count("total", total)
    if description is not None and not isinstance(description, str):  # pyright: ignore[reportUnnecessaryIsInstance]
        raise InvalidArgumentType(
            f"description must be a str or None, got {checks.shown(description)}"
        )
    checks.one_of("bar", bar, BARS)
    if file is not None and not all(
        callable(getattr(file, name, None)) for name in ("write", "flush")
    ):
        raise InvalidArgumentType(f"file must have write and flush, got {checks.shown(file)}")
    pause = None if every is None else checks.duration("every", every, above=True)
    checks.flag("keep", keep)
    checks.timing("scheduler", scheduler)
    require(bar)

    def bind(source: Observable[_T]) -> Observable[_T]:
        def subscribe(
            observer: abc.ObserverBase[_T], default: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            kind, target = chosen(bar, file)
            if target is None:
                return source.subscribe(observer, scheduler=default)
            clock = _clock(scheduler, default)
            seconds = pause or (_LINE if kind == "plain" else _REDRAW)
            shown = Shown(
                ProgressState(expected, seconds, clock.now()),
                make_display(kind, target, description, keep),
                clock,
                lambda: bool(getattr(target, "closed", False)),
            )
            relay: Relay[_T] = Relay("progress", _counting(observer, shown), clock, default)
            stage = relay.stage
            try:
                relay.follow(source, stage.fail)
            except BaseException:
                shown.close("disposed")
                raise

            def dispose() -> None:
                stage.dispose()
                shown.close("disposed")

            return Disposable(dispose)

        return Observable(subscribe)

    return bind


def _clock(given: abc.SchedulerBase | None, default: abc.SchedulerBase | None) -> Clock:
    """The clock of a display.

    It sets timers, and a scheduler of the subscriber may sleep on its only thread until they
    ring: a display must not hold back a stream.  Virtual time is that of the stream.
    """
    if given is None and default is not None and not Clock(default).virtual:
        default = None
    return Clock.of(given, default)
