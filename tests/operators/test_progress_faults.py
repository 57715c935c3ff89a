"""Displays of ``progress`` that fail, hang back or meddle never harm the stream."""

import io
import logging
import os
import sys
from contextlib import suppress

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.disposable import Disposable
from reactivex.testing import TestScheduler

from rxpool import operators as ops
from rxpool.operators import _bars as bars
from rxpool.operators._progress_state import ProgressState
from rxpool.operators._shown import Shown
from rxpool.timing import Clock
from tests.operators.displays import BOOM, Oops, Spy, Stamped
from tests.operators.sources import on_completed, on_next


@pytest.mark.parametrize(
    ("fails", "calls"),
    [
        ((), [("show", 1), ("show", 2), ("close", 2, "done")]),
        (("open",), []),
        (("show",), [("show", 1), ("close", 1, None)]),
        (("show", "close"), [("show", 1), ("close", 1, None)]),
        (("close",), [("show", 1), ("show", 2), ("close", 2, "done")]),
    ],
)
def test_a_display_that_raises_is_dropped_and_told_of_once(fails, calls, spied, caplog):
    """The stream is whole, the display is closed once, the log has one record."""
    display = Spy(fails)
    spied(display)
    scheduler = TestScheduler()
    messages = [on_next(210, 1), on_next(220, 2), on_completed(230)]
    source = scheduler.create_hot_observable(messages)
    with caplog.at_level(logging.DEBUG):
        result = scheduler.start(lambda: source.pipe(ops.progress(every=1)))
    assert result.messages == messages
    assert display.calls == calls
    assert len(caplog.records) == bool(fails)


def raising(_):
    raise BOOM


@pytest.mark.parametrize(
    ("run", "end"),
    [
        (lambda stream: stream.subscribe(), "done"),
        (lambda stream: stream.subscribe().dispose(), "done"),
        (lambda stream: stream.pipe(ro.concat(rx.never())).subscribe().dispose(), "done"),
        (lambda stream: stream.pipe(ro.take(1)).subscribe(), "disposed"),
        (lambda stream: stream.subscribe(raising), "disposed"),
    ],
)
def test_it_is_closed_once_whatever_ends_it(run, end, spied):
    """Also by a subscriber that raises, whose exception goes where it always goes."""
    display = Spy()
    spied(display)
    with suppress(Oops):
        run(rx.of(1).pipe(ops.progress()))
    assert [call for call in display.calls if call[0] == "close"] == [("close", 1, end)]


def test_a_source_that_cannot_be_subscribed_to_closes_the_display(spied):
    """The exception goes to the subscriber or its caller, and the bar is not left open."""
    display = Spy()
    spied(display)

    def broken(*_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rx.create(broken).pipe(ops.progress()).subscribe()
    assert display.calls == [("close", 0, "disposed")]


def test_no_noise_when_standard_error_is_closed(monkeypatch, caplog):
    """None, as in programs without a console; closed before; closed meanwhile."""
    monkeypatch.setattr(sys, "stderr", None)
    assert rx.of(1).pipe(ops.progress()).run() == 1
    shut = io.StringIO()
    shut.close()
    monkeypatch.setattr(sys, "stderr", shut)
    assert rx.of(1).pipe(ops.progress()).run() == 1
    closing = io.StringIO()
    source = rx.of(1).pipe(ro.do_action(lambda _: closing.close()))
    assert source.pipe(ops.progress(file=closing)).run() == 1
    assert not caplog.records


def test_a_pipe_that_nobody_reads_is_no_news(caplog):
    """As with `| head`."""
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write, "wb", buffering=0) as raw:
        file = io.TextIOWrapper(raw, write_through=True)
        assert rx.of(1).pipe(ops.progress(file=file)).run() == 1
    assert not caplog.records


def test_a_scheduler_without_timers_still_shows_and_ends(caplog):
    """Items alone show where things stand then; the log says so once."""

    class Lame(TestScheduler):
        def schedule_relative(self, *_, **__):
            raise RuntimeError("no timers here")

    scheduler = Lame()
    file = Stamped(scheduler)
    state = ProgressState(None, 10, 0.0)
    display = bars.Lines(file, None)
    shown = Shown(state, lambda _: display, Clock(scheduler), lambda: False)
    for tick in (3, 5, 12, 13):
        scheduler._clock = float(tick)
        if shown.count("x"):
            shown.look()
    shown.close("done")
    assert [text.split(",")[0] for _, text in file.lines] == ["3", "4"]
    assert len(caplog.records) == 1


class Hand:
    """A clock that is set by hand."""

    def __init__(self):
        self.at, self.alarms = 0.0, []

    def now(self):
        return self.at

    def alarm(self, due, ring):
        self.alarms.append((due, ring))
        return Disposable()

    def ring(self):
        """Go to the instant of the only alarm."""
        ((self.at, ring),) = self.alarms
        self.alarms.clear()
        ring(self.at)


class Meddling(Spy):
    """A display that does something else while it shows the first standing."""

    def __init__(self, meddle):
        super().__init__()
        self.meddle, self.depth = meddle, 0

    def show(self, standing):
        self.depth += 1
        assert self.depth == 1
        super().show(standing)
        meddle, self.meddle = self.meddle, None
        if meddle is not None:
            meddle()
        self.depth -= 1


def meddled(meddle):
    """What a display was called with whose first `show` meddles."""
    clock = Hand()
    display = Meddling(lambda: meddle(shown, clock))
    shown = Shown(ProgressState(None, 1, 0.0), lambda _: display, clock, bool)
    clock.at = 1.0
    assert shown.count(1)
    shown.look()
    if clock.alarms:
        clock.ring()
    return display.calls, clock.at


def push(shown, clock):
    """An item at an instant at which a standing is due."""
    clock.at += 1.0
    if shown.count(1):
        shown.look()


def ring(shown, clock):
    """An item that sets the timer, which rings."""
    assert shown.count(1)
    shown.look()
    clock.ring()


def end_twice(shown, clock):
    """Two ends: the first one counts."""
    shown.close("failed")
    shown.close("disposed")


@pytest.mark.parametrize(
    ("meddle", "calls", "until"),
    [
        (push, [("show", 1), ("show", 2)], 3.0),
        (ring, [("show", 1), ("show", 2)], 3.0),
        (end_twice, [("show", 1), ("close", 1, "failed")], 1.0),
    ],
)
def test_what_comes_while_the_display_is_busy_is_shown_after_it(meddle, calls, until):
    """Never one call of the display inside another, and nothing stays unshown.

    A display that is slow is left alone for as long as a quick one.
    """
    assert meddled(meddle) == (calls, until)
