"""What shows a `Standing`: a bar of rich or of tqdm, or plain lines."""

import sys
from collections.abc import Callable
from html import escape
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final, Literal, Protocol, TextIO, TypeAlias, get_args

from rxpool.operators._progress_state import Standing

__all__ = (
    "BARS",
    "Bar",
    "Display",
    "End",
    "Lines",
    "NotebookBar",
    "RichBar",
    "TqdmBar",
    "chosen",
    "line",
    "make_display",
    "require",
)

#: how progress is shown
Bar: TypeAlias = Literal["auto", "rich", "tqdm", "notebook", "plain", "none"]
BARS: Final[tuple[str, ...]] = get_args(Bar)

#: how a stream ended
End: TypeAlias = Literal["done", "failed", "disposed"]


class Display(Protocol):
    """Is called by one thread at a time, and no more after `close`."""

    def show(self, standing: Standing) -> None:
        """Show where things stand."""

    def close(self, standing: Standing, end: End | None) -> None:
        """Show the last standing, unless *end* is None, and let go of everything."""


def line(standing: Standing, description: str | None = None) -> str:
    """A standing in words: ``1,200 of 5,000 (24 %), 3 failed, 240/s, 5.0 s``."""
    text = f"{standing.count:,}"
    if standing.share is not None:
        # Down, so that 100 % means all of it.
        text += f" of {standing.total:,} ({int(standing.share * 100)} %)"
    if standing.failed:
        text += f", {standing.failed:,} failed"
    rate = standing.rate
    text += f", {rate:,.0f}/s" if rate >= 10 else f", {rate:.1f}/s"
    text += f", {standing.elapsed:.1f} s"
    return text if description is None else f"{description}: {text}"


class Lines:
    """A line per standing."""

    def __init__(self, file: TextIO, description: str | None) -> None:
        self._file = file
        self._description = description

    def show(self, standing: Standing) -> None:
        self._write(line(standing, self._description))

    def close(self, standing: Standing, end: End | None) -> None:
        if end is not None:
            self._write(f"{line(standing, self._description)}, {end}")

    def _write(self, text: str) -> None:
        self._file.write(f"{text}\n")
        self._file.flush()


class RichBar:
    """A bar of rich.  It has no thread.

    What is printed to a terminal while it is there stands above it: rich takes the place of
    those standard streams that are terminals, and of no others, as what goes elsewhere is to
    arrive there.
    """

    def __init__(
        self, file: TextIO, description: str | None, keep: bool, standing: Standing
    ) -> None:
        console = import_module("rich.console")
        progress: Any = import_module("rich.progress")
        beside = file is sys.stderr or file is sys.stdout
        self._bar = progress.Progress(
            progress.TextColumn("{task.description}", markup=False),
            progress.BarColumn(),
            progress.TextColumn("{task.fields[text]}", markup=False),
            console=console.Console(file=file),
            auto_refresh=False,
            redirect_stdout=beside and _is_terminal(sys.stdout),
            redirect_stderr=beside and _is_terminal(sys.stderr),
            transient=not keep,
        )
        self._task = self._bar.add_task(
            description or "", total=standing.total, text=line(standing)
        )
        self._bar.start()

    def show(self, standing: Standing) -> None:
        self._show(standing, line(standing))

    def close(self, standing: Standing, end: End | None) -> None:
        try:
            if end is not None:
                self._show(standing, f"{line(standing)}, {end}")
        finally:
            self._bar.stop()

    def _show(self, standing: Standing, text: str) -> None:
        self._bar.update(self._task, completed=standing.count, text=text, refresh=True)


class TqdmBar:
    """A bar of tqdm."""

    def __init__(
        self, file: TextIO, description: str | None, keep: bool, standing: Standing
    ) -> None:
        tqdm: Any = import_module("tqdm").tqdm

        class Quiet(tqdm):  # type: ignore[misc]
            """Has no thread that redraws: `show` says when."""

            monitor_interval = 0

        self._bar: Any = Quiet(
            total=standing.total,
            desc=description,
            file=file,
            dynamic_ncols=True,
            mininterval=0,
            miniters=1,
            leave=keep,
        )

    def show(self, standing: Standing) -> None:
        self._set(standing)
        self._bar.refresh()

    def close(self, standing: Standing, end: End | None) -> None:
        try:
            self._set(standing, end)
        finally:
            self._bar.close()  # draws once more

    def _set(self, standing: Standing, end: End | None = None) -> None:
        words = [f"{standing.failed:,} failed"] if standing.failed else []
        if end is not None:
            words.append(end)
        self._bar.set_postfix_str(", ".join(words), refresh=False)
        self._bar.n = standing.count


class NotebookBar:
    """A bar in the output of a notebook's cell, redrawn in its place."""

    def __init__(self, description: str | None, keep: bool, standing: Standing) -> None:
        self._view: Any = import_module("IPython.display")
        self._description = description
        self._keep = keep
        self._handle = self._view.display(self._html(standing, None), display_id=True)

    def show(self, standing: Standing) -> None:
        self._handle.update(self._html(standing, None))

    def close(self, standing: Standing, end: End | None) -> None:
        if not self._keep:
            self._handle.update(self._view.HTML(""))
        elif end is not None:
            self._handle.update(self._html(standing, end))

    def _html(self, standing: Standing, end: End | None) -> Any:
        words = line(standing, self._description)
        if end is not None:
            words = f"{words}, {end}"
        where = f' value="{standing.share:.4f}"' if standing.share is not None else ""
        if standing.share is None and end is not None:
            where = ' value="1"'  # else it goes on moving
        return self._view.HTML(f"<progress{where}></progress> <code>{escape(words)}</code>")


def require(bar: str) -> None:
    """See that the library of a bar that was asked for by name is there.

    Raises:
        ImportError: If it is missing; the message says how to install it.
    """
    if bar == "notebook":
        try:
            import_module("IPython.display")
        except ImportError:
            raise ImportError("progress(bar='notebook') needs ipython") from None
    if bar in ("rich", "tqdm"):
        try:
            import_module(bar)
        except ImportError:
            raise ImportError(
                f"progress(bar={bar!r}) needs {bar}: pip install 'rxpool[{bar}]'"
            ) from None


def chosen(bar: str, file: TextIO | None) -> tuple[str, TextIO | None]:
    """Which bar it is, never "auto", and where it goes."""
    target: TextIO | None = sys.stderr if file is None else file
    # A program without a console has None there.
    if bar == "none" or target is None or getattr(target, "closed", False):
        return "none", None
    if bar == "auto":
        bar = "plain"
        if file is None and _is_in_notebook():
            bar = "notebook"
        elif _is_terminal(target):
            bar = next((name for name in ("rich", "tqdm") if _is_installed(name)), bar)
    return bar, target


def _is_in_notebook() -> bool:
    """Whether a kernel runs this; then IPython has been imported."""
    try:
        shell = sys.modules["IPython"].get_ipython()
    except (KeyError, AttributeError):
        return False
    return getattr(shell, "kernel", None) is not None


def _is_terminal(file: TextIO | None) -> bool:
    if file is None:
        return False
    try:
        return file.isatty()
    except Exception:  # something with `write`, and little else
        return False


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except (ImportError, ValueError):  # None in sys.modules, for example
        return False


def make_display(
    bar: str, file: TextIO, description: str | None, keep: bool
) -> Callable[[Standing], Display]:
    """What opens the display, given the first standing."""
    if bar == "notebook":
        return lambda standing: NotebookBar(description, keep, standing)
    if bar == "rich":
        return lambda standing: RichBar(file, description, keep, standing)
    if bar == "tqdm":
        return lambda standing: TqdmBar(file, description, keep, standing)
    return lambda _: Lines(file, description)
