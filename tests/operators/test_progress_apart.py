"""Bars and what is printed beside them; bars in notebooks."""

import io
import re
import sys
from types import SimpleNamespace

import pytest
import reactivex as rx

from rxpool import WorkerPool
from rxpool import operators as ops
from rxpool.operators._bars import chosen
from tests.operators.displays import Terminal


class Beside(Terminal):
    """One of several files that are the same terminal."""

    def __init__(self, screen):
        super().__init__()
        self._screen = screen

    def write(self, text):
        """All is on one screen."""
        return self._screen.write(text)


def run(monkeypatch, out, err, where="stdout"):
    """A bar, and a worker that prints."""

    def work(n):
        print(f"line {n}", file=getattr(sys, where))
        return n

    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    monkeypatch.setenv("TERM", "xterm")
    with WorkerPool(1) as pool:
        stream = rx.range(5).pipe(pool.map(work), ops.progress(5, bar="rich", every=0.0001))
        stream.subscribe()
    assert sys.stdout is out
    assert sys.stderr is err


@pytest.mark.parametrize("where", ["stdout", "stderr"])
def test_what_is_printed_stands_above_the_bar(where, monkeypatch):
    """On lines of its own, each begun where the bar was wiped away."""
    screen = Terminal()
    run(monkeypatch, Beside(screen), Beside(screen), where)
    text = screen.getvalue()
    for n in range(5):
        assert re.search(rf"(?:^|\n|\x1b\[2K)line {n}\r?\n", text), repr(text)
    assert "5 of 5 (100 %)" in text


def test_what_is_printed_elsewhere_arrives_there(monkeypatch):
    """Output that goes to a file does not land on the terminal of the bar."""
    out, err = io.StringIO(), Terminal()
    run(monkeypatch, out, err)
    assert out.getvalue() == "".join(f"line {n}\n" for n in range(5))
    assert "line" not in err.getvalue()


def test_a_bar_on_another_terminal(monkeypatch):
    """Takes nothing of what is printed here."""
    out, other = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    rx.range(3).pipe(ops.progress(3, bar="rich", file=other)).subscribe(print)
    assert out.getvalue() == "0\n1\n2\n"


def test_a_stream_that_fails_gives_them_back(monkeypatch):
    """However it ends."""
    out, err = Terminal(), Terminal()
    monkeypatch.setattr(sys, "stdout", out)
    monkeypatch.setattr(sys, "stderr", err)
    rx.throw(ValueError()).pipe(ops.progress(bar="rich")).subscribe(on_error=lambda _: None)
    assert sys.stdout is out
    rx.never().pipe(ops.progress(bar="rich")).subscribe().dispose()
    assert (sys.stdout, sys.stderr) == (out, err)


class Notebook:
    """What a kernel has of IPython."""

    def __init__(self, kernel=True):
        self.shown = []
        shell = SimpleNamespace(kernel=object()) if kernel else SimpleNamespace()
        self.get_ipython = lambda: shell
        self.display = SimpleNamespace(HTML=str, display=self._display)

    def _display(self, html, display_id):
        assert display_id is True
        self.shown.append(html)
        return SimpleNamespace(update=self.shown.append)


@pytest.fixture(name="notebook")
def _notebook(monkeypatch):
    notebook = Notebook()
    monkeypatch.setitem(sys.modules, "IPython", notebook)
    monkeypatch.setitem(sys.modules, "IPython.display", notebook.display)
    return notebook


@pytest.mark.parametrize("bar", ["auto", "notebook"])
def test_a_bar_in_a_notebook(notebook, bar, capsys):
    """Is redrawn in its place, and ends in the last standing; nothing is written beside it."""
    rx.range(4).pipe(ops.progress(4, description="<b>", bar=bar, every=0.0001)).subscribe()
    first, *_, last = notebook.shown
    assert '<progress value="0.0000"></progress>' in first
    assert '<progress value="1.0000"></progress>' in last
    assert "&lt;b&gt;: 4 of 4 (100 %)" in last
    assert last.endswith(", done</code>")
    assert capsys.readouterr() == ("", "")


def test_a_total_that_nobody_knows(notebook):
    """The bar moves until the end."""
    rx.range(4).pipe(ops.progress(every=0.0001)).subscribe()
    assert "<progress></progress>" in notebook.shown[0]
    assert '<progress value="1"></progress>' in notebook.shown[-1]


def test_one_that_is_not_kept(notebook):
    """Nothing is left of it."""
    rx.range(4).pipe(ops.progress(4, keep=False)).subscribe()
    assert notebook.shown[-1] == ""


def test_a_file_is_given(notebook):
    """Then it goes there."""
    file = io.StringIO()
    rx.range(4).pipe(ops.progress(4, file=file)).subscribe()
    assert "4 of 4" in file.getvalue()
    assert not notebook.shown


def test_ipython_on_a_terminal_is_no_notebook(monkeypatch):
    """There bars are those of terminals."""
    monkeypatch.setitem(sys.modules, "IPython", Notebook(kernel=False))
    monkeypatch.setattr(sys, "stderr", Terminal())
    assert chosen("auto", None)[0] == "rich"


def test_without_ipython(monkeypatch):
    """It is refused where it is written."""
    monkeypatch.setitem(sys.modules, "IPython", None)
    monkeypatch.setitem(sys.modules, "IPython.display", None)
    with pytest.raises(ImportError, match="ipython"):
        ops.progress(bar="notebook")
    assert chosen("auto", io.StringIO())[0] == "plain"
