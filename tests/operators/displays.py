"""Outcomes to show and displays to show them, for tests of ``progress``."""

import io

from rxpool.outcomes import Failure, Success


class Oops(Exception):
    """What sources and subscribers raise."""


BOOM = Oops("boom")
GOOD = Success("a", 1, 1, 0.0, 0.0)
BAD = Failure("b", BOOM, 1, 0.0, 0.0)


class Terminal(io.StringIO):
    """Says that it is a terminal."""

    def isatty(self):
        return True


class Stamped(io.StringIO):
    """Notes at which tick each line came."""

    def __init__(self, scheduler):
        super().__init__()
        self.scheduler, self.lines = scheduler, []

    def write(self, text):
        self.lines.append((self.scheduler.clock, text))
        return len(text)


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
