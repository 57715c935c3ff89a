"""The displays of ``progress``: rich, tqdm, plain lines, and which of them is taken."""

import io
import sys
import threading
from importlib import import_module

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import operators as ops
from rxpool.operators import _bars as bars
from tests.operators.displays import BAD, BOOM, GOOD, Terminal


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
