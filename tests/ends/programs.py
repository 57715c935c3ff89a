"""Small programs, each in a process of its own: how they end is what is tested.

A program has a session of its own, so that whatever it leaves behind can be found, and a hard
limit, after which all of it is killed.
"""

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[2]
LIMIT = 30.0  #: seconds after which a program is said to hang
PARTING = 3.0  #: seconds after its end in which what it started has to be gone


@dataclass(frozen=True)
class Ended:
    """How a program ended."""

    code: int  #: below 0: the signal that ended it
    out: str
    err: str
    took: float  #: seconds
    left: tuple[str, ...]  #: processes of its session that outlived it

    @property
    def lines(self) -> list[str]:
        """What it printed, line by line."""
        return self.out.splitlines()


class Program:
    """A program that runs; a context manager that kills what is left of it."""

    def __init__(
        self,
        folder: Path,
        text: str,
        *arguments: str,
        name: str = "program.py",
        env: Mapping[str, str] | None = None,
        stdin: bool = False,
    ) -> None:
        self.file = folder / name
        self.file.write_text(textwrap.dedent(text))
        command = [sys.executable, "-W", "error", "-X", "faulthandler"]
        command += ["-"] if stdin else [str(self.file)]
        self._begun = time.monotonic()
        # Files, not pipes: what outlives the program would hold a pipe open.
        self._out, self._err = folder / f"{name}.out", folder / f"{name}.err"
        source = self.file if stdin else Path(os.devnull)
        with self._out.open("wb") as out, self._err.open("wb") as err, source.open() as into:
            self._process = subprocess.Popen(
                [*command, *arguments],
                env={**os.environ, "PYTHONPATH": str(ROOT), **(env or {})},
                stdin=into,
                stdout=out,
                stderr=err,
                cwd=folder,
                start_new_session=True,
            )
        self.pid = self._process.pid

    def wait_for(self, line: str) -> None:
        """Wait until it has printed *line*."""
        until = time.monotonic() + LIMIT
        # With its end, or a signal may come in the midst of `print`.
        while f"{line}\n" not in self._out.read_text().splitlines(keepends=True):
            assert self._process.poll() is None, f"ended without {line!r}: {self._texts()}"
            assert time.monotonic() < until, f"never said {line!r}: {self._texts()}"
            time.sleep(0.005)

    def signal(self, number: int, *, group: bool = False) -> None:
        """Send a signal to the program, or to it and all that are in its process group."""
        (os.killpg if group else os.kill)(self.pid, number)

    def ended(self, limit: float = LIMIT) -> Ended:
        """Wait for its end; a program that hangs is killed, and that is a failure."""
        try:
            self._process.wait(limit)
        except subprocess.TimeoutExpired:
            self._process.send_signal(signal.SIGABRT)  # faulthandler tells where it stands
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(5)
            raise AssertionError(f"hangs after {limit} s\n{self._texts()}") from None
        took = time.monotonic() - self._begun
        until = time.monotonic() + PARTING
        while (left := _session(self.pid)) and time.monotonic() < until:
            time.sleep(0.01)
        out, err = self._out.read_text(), self._err.read_text()
        return Ended(self._process.returncode, out, err, took, left)

    def _texts(self) -> str:
        return f"{self._out.read_text()}\n{self._err.read_text()}"

    def kill(self) -> None:
        """End it and all it started."""
        for process in psutil.process_iter():
            with suppress(psutil.Error, ProcessLookupError, PermissionError):
                if os.getsid(process.pid) == self.pid:
                    process.kill()

    def __enter__(self) -> "Program":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()
        self._process.wait()


def _session(leader: int) -> tuple[str, ...]:
    """What is alive of a session, the resource tracker and the fork server included."""
    left = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, ProcessLookupError, PermissionError):
            if os.getsid(process.pid) == leader and process.status() != psutil.STATUS_ZOMBIE:
                left.append(f"{process.pid} {' '.join(process.cmdline())[-200:]}")
    return tuple(left)


def run(
    folder: Path, text: str, *arguments: str, limit: float = LIMIT, **options: object
) -> Ended:
    """Run a program to its end."""
    with Program(folder, text, *arguments, **options) as program:  # type: ignore[arg-type]
        return program.ended(limit)
