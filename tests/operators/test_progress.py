"""``progress``: its counts, its displays, and that it never harms the stream."""

import io
import logging
import os
import sys
import threading
import time
from contextlib import suppress
from datetime import timedelta
from importlib import import_module

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex import operators as ro
from reactivex.disposable import Disposable
from reactivex.scheduler import CurrentThreadScheduler
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

from rxpool import InvalidArgument
from rxpool import operators as ops
from rxpool.operators import _bars as bars
from rxpool.operators._progress_state import ProgressState, Standing
from rxpool.operators._shown import Shown
from rxpool.outcomes import Failure, Success
from rxpool.timing import Clock, TimerScheduler
from tests.waiting import WAIT

on_next, on_error = ReactiveTest.on_next, ReactiveTest.on_error
on_completed, subscribe = ReactiveTest.on_completed, ReactiveTest.subscribe


class Oops(Exception):
    """What sources and subscribers raise."""


BOOM = Oops("boom")
GOOD = Success("a", 1, 1, 0.0, 0.0)
BAD = Failure("b", BOOM, 1, 0.0, 0.0)


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self):
        return True


# -- the state ---------------------------------------------------------------------------------

STEPS = st.lists(st.tuples(st.floats(0, 100), st.booleans(), st.booleans()))


@given(STEPS, st.floats(0.01, 50), st.one_of(st.none(), st.integers(0, 20)))
def test_standings_are_exact_and_never_closer_than_every(steps, every, total):
    """Told when due: every item is in a standing, and two of them are `every` apart."""
    now, count, failed, told = 1000.0, 0, 0, 1000.0
    state = ProgressState(total, every, now)
    assert state.due is None
    told_count = 0
    for wait, is_item, is_failed in steps:
        now += wait
        if is_item:
            state.add(is_failed)
            count, failed = count + 1, failed + is_failed
        assert state.due == (None if count == told_count else told + every)
        if state.due is not None and state.due <= now:
            standing = state.tell(now)
            assert now - told >= every or told + every == now
            assert state.due is None
            told, told_count = now, count
            if is_failed:  # and the display took a while
                now += 1.0
                state.shown(now)
                told, standing = now, state.standing(now)
        else:
            standing = state.standing(now)
        assert standing == Standing(count, failed, total, now - 1000.0)


@given(st.integers(0, 10**9), st.one_of(st.none(), st.integers(0, 10**9)), st.floats(0, 1e9))
def test_rates_and_shares_are_always_numbers(count, total, elapsed):
    """No division by zero, and 100 % only when all of it is done."""
    standing = Standing(count, 0, total, elapsed)
    assert standing.rate >= 0
    if total is None:
        assert standing.share is None
    else:
        assert 0 <= standing.share <= 1
        assert (standing.share == 1) == (count >= total)
        assert ("(100 %)" in bars.line(standing)) == (count >= total)


def test_a_clock_that_goes_back_does_no_harm():
    """Elapsed is never negative, and a line is not due earlier."""
    state = ProgressState(None, 5, 100.0)
    state.add(False)
    assert state.tell(90.0) == Standing(1, 0, None, 0.0)
    state.add(False)
    assert state.due == 105.0


LINES = [
    (Standing(0, 0, None, 0.0), "0, 0.0/s, 0.0 s"),
    (Standing(3, 1, None, 2.0), "3, 1 failed, 1.5/s, 2.0 s"),
    (Standing(1200, 0, 5000, 5.0), "1,200 of 5,000 (24 %), 240/s, 5.0 s"),
    (Standing(999, 0, 1000, 1.0), "999 of 1,000 (99 %), 999/s, 1.0 s"),
    (Standing(7, 0, 5, 1.0), "7 of 5 (100 %), 7.0/s, 1.0 s"),
    (Standing(0, 0, 0, 1.0), "0 of 0 (100 %), 0.0/s, 1.0 s"),
]


@pytest.mark.parametrize(("standing", "text"), LINES, ids=[text for _, text in LINES])
def test_lines(standing, text):
    """A standing in words."""
    assert bars.line(standing) == text
    assert bars.line(standing, "files") == f"files: {text}"


# -- virtual time ------------------------------------------------------------------------------


class Stamped(io.StringIO):
    """Notes at which tick each line came."""

    def __init__(self, scheduler):
        super().__init__()
        self.scheduler, self.lines = scheduler, []

    def write(self, text):
        self.lines.append((self.scheduler.clock, text))
        return len(text)


# options, messages of the source, lines; `dispose` is at 300
RUNS = {
    "a line when it is due, not earlier, with all that came until then": (
        {"every": 10},
        [on_next(203, 1), on_next(204, 2), on_next(217, 3), on_completed(218)],
        [(210, "2, 0.2/s, 10.0 s\n"), (218, "3, 0.2/s, 18.0 s, done\n")],
    ),
    "nothing while nothing comes, then at once": (
        {"every": timedelta(seconds=10)},
        [on_next(205, 1), on_next(240, 2), on_next(243, 3), on_completed(299)],
        [
            (210, "1, 0.1/s, 10.0 s\n"),
            (240, "2, 0.1/s, 40.0 s\n"),
            (250, "3, 0.1/s, 50.0 s\n"),
            (299, "3, 0.0/s, 99.0 s, done\n"),
        ],
    ),
    "an empty stream": ({}, [on_completed(200 + 5)], [(205, "0, 0.0/s, 5.0 s, done\n")]),
    "two seconds by default": (
        {},
        [on_next(201, 1), on_next(201, 2), on_completed(204)],
        [(202, "2, 1.0/s, 2.0 s\n"), (204, "2, 0.5/s, 4.0 s, done\n")],
    ),
    "an error": (
        {"total": 4, "description": "files", "every": 50},
        [on_next(210, 1), on_error(220, BOOM)],
        [(220, "files: 1 of 4 (25 %), 0.1/s, 20.0 s, failed\n")],
    ),
    "dispose": (
        {"every": 60},
        [on_next(210, 1), on_next(270, 2)],
        [(260, "1, 0.0/s, 60.0 s\n"), (300, "2, 0.0/s, 100.0 s, disposed\n")],
    ),
    "outcomes": (
        {"every": 5},
        [on_next(201, GOOD), on_next(202, BAD), on_next(203, BAD), on_completed(210)],
        [
            (205, "3, 2 failed, 0.6/s, 5.0 s\n"),
            (210, "3, 2 failed, 0.3/s, 10.0 s, done\n"),
        ],
    ),
}


@pytest.mark.parametrize(("options", "messages", "lines"), RUNS.values(), ids=RUNS)
def test_lines_come_at_exact_ticks_and_items_as_they_came(options, messages, lines):
    """Also: everything is handed on at its tick, and the source is let go."""
    scheduler = TestScheduler()
    file = Stamped(scheduler)
    source = scheduler.create_hot_observable(messages)
    result = scheduler.start(
        lambda: source.pipe(ops.progress(bar="plain", file=file, **options)), disposed=300
    )
    assert result.messages == messages
    end = messages[-1].time if messages[-1].value.kind != "N" else 300
    assert source.subscriptions == [subscribe(200, end)]
    assert file.lines == lines


def test_nothing_is_left_in_the_scheduler():
    """After the end no timer rings."""
    scheduler = TestScheduler()
    file = Stamped(scheduler)
    source = scheduler.create_hot_observable(on_next(210, 1), on_completed(211))
    scheduler.start(lambda: source.pipe(ops.progress(file=file, every=500)), disposed=2000)
    assert scheduler.clock <= 2000
    assert [tick for tick, _ in file.lines] == [211]


def test_take_ends_it_with_the_item_counted():
    """A subscriber that leaves while it is given an item has been given it."""
    file = io.StringIO()
    rx.range(100).pipe(ops.progress(file=file), ro.take(3)).run()
    assert file.getvalue().startswith("3, ")
    assert file.getvalue().endswith(", disposed\n")


def test_each_subscription_counts_for_itself():
    """One operator value can be used in many streams."""
    file = io.StringIO()
    stream = rx.range(2).pipe(ops.progress(file=file))
    stream.run()
    stream.run()
    assert [text.split(",")[0] for text in file.getvalue().splitlines()] == ["2", "2"]


def test_a_subscriber_that_pushes_while_it_is_given_an_item():
    """Nothing is lost, doubled or nested."""
    source, seen, depth = Subject(), [], []

    def take(value):
        assert not depth
        depth.append(1)
        if value < 5:
            source.on_next(value + 1)
        seen.append(value)
        depth.pop()

    file = io.StringIO()
    source.pipe(ops.progress(file=file)).subscribe(take)
    source.on_next(0)
    source.on_completed()
    assert seen == [0, 1, 2, 3, 4, 5]
    assert file.getvalue().startswith("6, ")


def test_a_scheduler_that_sleeps_does_not_hold_back_the_stream():
    """Caught: a timer on the subscriber's trampoline, which would sleep until it rings."""
    file, ended = io.StringIO(), threading.Event()
    rx.range(3).pipe(ops.progress(file=file, every=3600)).subscribe(
        on_completed=ended.set, scheduler=CurrentThreadScheduler()
    )
    assert ended.is_set()


# -- displays that fail ------------------------------------------------------------------------


class Spy:
    """A display that notes what is done with it, and may fail at it."""

    def __init__(self, fails=()):
        self.calls, self.fails = [], fails

    def show(self, standing):
        self._call("show", standing.count)

    def close(self, standing, end):
        self._call("close", standing.count, end)

    def _call(self, name, *rest):
        self.calls.append((name, *rest))
        if name in self.fails:
            raise OSError(f"{name} failed")


@pytest.fixture(name="spied")
def _spied(monkeypatch):
    """Puts a display in the place of all others."""

    def spied(display):
        def opened(_):
            if "open" in display.fails:
                raise OSError("open failed")
            return display

        monkeypatch.setattr(
            "rxpool.operators._progress.make_display", lambda *_: opened, raising=True
        )

    return spied


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


# -- threads -----------------------------------------------------------------------------------


class Exclusive(Spy):
    """Sees whether two threads are in it at once, or one after its end."""

    def __init__(self):
        super().__init__()
        self.busy, self.wrong = threading.Lock(), 0

    def _call(self, name, *rest):
        free = self.busy.acquire(blocking=False)
        self.wrong += not free or any(call[0] == "close" for call in self.calls)
        time.sleep(0)
        self.calls.append((name, *rest))
        if free:
            self.busy.release()


@pytest.mark.usefixtures("frantic")
def test_producers_timers_and_a_dispose_at_once(spied):
    """Caught: counting without the lock, drawing without a drawer, closing twice."""
    for _ in range(20):
        display = Exclusive()
        spied(display)
        source, seen = Subject(), []
        subscription = source.pipe(ops.progress(every=1e-5)).subscribe(seen.append)
        together = threading.Barrier(5)

        def produce(together=together, source=source):
            together.wait(WAIT)
            for i in range(50):
                source.on_next(i)

        def leave(together=together, subscription=subscription):
            together.wait(WAIT)
            subscription.dispose()

        threads = [threading.Thread(target=produce) for _ in range(3)]
        threads += [threading.Thread(target=leave) for _ in range(1)]
        for thread in threads:
            thread.start()
        together.wait(WAIT)
        for thread in threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        closes = [call for call in display.calls if call[0] == "close"]
        assert [call[2] for call in closes] == ["disposed"]
        assert display.wrong == 0


@pytest.mark.usefixtures("frantic")
def test_no_count_is_lost_among_threads():
    """Caught: `add` without the lock."""
    display, clock = Spy(), Clock(TimerScheduler.singleton())
    shown = Shown(ProgressState(None, 3600, clock.now()), lambda _: display, clock, bool)
    together = threading.Barrier(4)

    def count():
        together.wait(WAIT)
        for _ in range(5000):
            if shown.count(BAD):
                shown.look()

    threads = [threading.Thread(target=count) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    shown.close("done")
    assert display.calls == [("close", 20_000, "done")]


def test_the_end_waits_for_the_line_that_is_being_written():
    """So what the program prints after the end stands below the last line."""
    writing, go_on, told = threading.Event(), threading.Event(), []

    class Slow(Spy):
        def show(self, standing):
            writing.set()
            go_on.wait(WAIT)
            super().show(standing)

    display, clock = Slow(), Clock(TimerScheduler.singleton())
    shown = Shown(ProgressState(None, 1e-6, clock.now()), lambda _: display, clock, bool)
    assert shown.count(1)
    drawing = threading.Thread(target=shown.look)
    drawing.start()
    assert writing.wait(WAIT)
    ending = threading.Thread(target=lambda: (shown.close("done"), told.extend(display.calls)))
    ending.start()
    assert not told
    go_on.set()
    ending.join(WAIT)
    drawing.join(WAIT)
    assert told == [("show", 1), ("close", 1, "done")]


def test_a_bar_is_drawn_ten_times_a_second_at_most(spied):
    """However many items come."""
    display = Spy()
    spied(display)
    scheduler = TestScheduler()
    file = Terminal()
    source = rx.interval(0.001, scheduler=scheduler).pipe(ro.take(1000))
    scheduler.start(lambda: source.pipe(ops.progress(bar="tqdm", file=file)), disposed=1000)
    shows = [call for call in display.calls if call[0] == "show"]
    assert 5 <= len(shows) <= 11


# -- rich, tqdm, and which of them -------------------------------------------------------------


@pytest.mark.parametrize("total", [None, 3])
@pytest.mark.parametrize("bar", ["rich", "tqdm"])
@pytest.mark.parametrize("end", ["done", "failed", "disposed"])
def test_real_bars_show_counts_failures_and_the_end(bar, end, total):
    """Also: they leave no thread behind."""
    file, source = Terminal(), Subject()
    threads = set(threading.enumerate())
    stream = source.pipe(ops.progress(total, bar=bar, file=file, description="files [x]"))
    subscription = stream.subscribe(on_error=lambda _: None)
    for item in (GOOD, BAD, GOOD):
        source.on_next(item)
    if end == "done":
        source.on_completed()
    elif end == "failed":
        source.on_error(BOOM)
    else:
        subscription.dispose()
    shown = file.getvalue()
    assert "files [x]" in shown
    assert "1 failed" in shown
    assert end in shown
    assert ("3 of 3" if bar == "rich" else "3/3") in shown or total is None
    left = {each for each in threading.enumerate() if each not in threads}
    assert not [each for each in left if "tqdm" in repr(each).lower() or "rich" in repr(each)]
    if bar == "tqdm":
        assert not list(import_module("tqdm").tqdm._instances)


@pytest.mark.parametrize("bar", ["rich", "tqdm"])
def test_a_bar_that_is_not_kept_is_taken_away(bar):
    """The last thing written clears the line."""
    file = Terminal()
    rx.range(3).pipe(ops.progress(bar=bar, file=file, keep=False)).run()
    shown = file.getvalue()
    if bar == "rich":
        assert "\x1b[2K" in shown.rsplit("done", 1)[1]
    else:
        assert shown.endswith(" \r")


def without(monkeypatch, *names):
    for name in names:
        monkeypatch.setitem(sys.modules, name, None)


@pytest.mark.parametrize("bar", ["rich", "tqdm"])
def test_a_missing_library_is_told_with_the_command(bar, monkeypatch):
    """At the call, not on subscribe."""
    without(monkeypatch, bar)
    with pytest.raises(ImportError, match=rf"pip install 'rxpool\[{bar}\]'"):
        ops.progress(bar=bar)


@pytest.mark.parametrize(
    ("missing", "file", "bar"),
    [
        ((), Terminal(), "rich"),
        (("rich",), Terminal(), "tqdm"),
        (("rich", "tqdm"), Terminal(), "plain"),
        ((), io.StringIO(), "plain"),
        ((), object(), "plain"),
    ],
)
def test_auto_takes_what_is_there(missing, file, bar, monkeypatch):
    """Rich first, then tqdm, on a terminal only."""
    without(monkeypatch, *missing)
    assert bars.chosen("auto", file) == (bar, file)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
def test_a_pseudo_terminal():
    """What a user sees, bytes and all."""
    import pty

    ours, theirs = pty.openpty()
    with open(ours, "rb", buffering=0) as screen, open(theirs, "w", encoding="utf-8") as file:
        rx.range(5).pipe(ops.progress(5, file=file)).run()
        shown = ""
        while "\x1b[?25h" not in shown:  # the cursor is back
            shown += screen.read(10_000).decode(errors="replace")
    assert "5 of 5 (100 %)" in shown
    assert "\x1b[?25l" in shown
    assert "done" in shown


def test_none_shows_nothing(capsys):
    """As for ``--quiet``."""
    assert rx.of(1).pipe(ops.progress(bar="none")).run() == 1
    assert capsys.readouterr() == ("", "")


def test_standard_error_is_looked_up_on_subscribe(capsys):
    """A stream may be made long before."""
    rx.of(1).pipe(ops.progress()).run()
    assert capsys.readouterr().err.endswith(", done\n")


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: ops.progress(-1), "total must be 0 or more, got -1"),
        (lambda: ops.progress(1.5), "total must be a whole number, got 1.5"),
        (lambda: ops.progress(True), "total must be a whole number, got True"),
        (lambda: ops.progress(description=3), "description must be a str or None, got 3"),
        (
            lambda: ops.progress(bar="x"),
            "bar must be one of auto, rich, tqdm, notebook, plain, none, got 'x'",
        ),
        (lambda: ops.progress(file="x"), "file must have write and flush, got 'x'"),
        (lambda: ops.progress(every=0), "every must be finite and greater than 0, got 0"),
        (lambda: ops.progress(every="x"), "every must be seconds or a timedelta, got 'x'"),
        (lambda: ops.progress(keep=1), "keep must be True or False, got 1"),
        (
            lambda: ops.progress(scheduler="x"),
            "scheduler must be a reactivex scheduler, got 'x'",
        ),
    ],
)
def test_arguments_are_checked_where_they_are_written(make, message):
    """The message names the value."""
    with pytest.raises(InvalidArgument) as caught:
        make()
    assert str(caught.value) == message
