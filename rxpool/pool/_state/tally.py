"""`Tally`: counts final failures, and says when there are too many.

No clock, no thread, no Rx and no user code.
"""

from math import inf
from numbers import Integral
from typing import Any, Final

from rxpool import _checks as checks
from rxpool._checks import count
from rxpool.errors import InvalidArgument, InvalidArgumentType, TooManyFailures

__all__ = ("Tally", "most_failures")

_ENOUGH: Final = 20  #: settled items from which on a share says something


class Tally:
    """How many items of a flow have failed, of how many that are settled.

    What was dropped or cancelled is not told to it.  It answers once.
    """

    __slots__ = ("_most", "_name", "_over", "_share", "failed", "settled")

    def __init__(self, name: str, most: float) -> None:
        self._name = name
        whole = isinstance(most, int)
        self._most = most if whole else inf
        self._share = inf if whole else most
        self.failed = self.settled = 0
        self._over = False

    def settle(self, failed: bool) -> TooManyFailures | None:
        """One more is settled: the error if the flow is to end."""
        self.settled += 1
        self.failed += failed
        if self._over:
            return None
        if self.failed > self._most:
            allowed = f"max_failures={self._most}"
        elif self.settled >= _ENOUGH and self.failed > self._share * self.settled:
            allowed = f"max_failures={self._share:g}"
        else:
            return None
        self._over = True
        return TooManyFailures(
            f"{self._name}: {self.failed} of {self.settled} settled items failed ({allowed})",
            self.failed,
            self.settled,
        )


def most_failures(name: str, value: Any) -> int | float:
    """A number of failures, or a share of the settled items."""
    if isinstance(value, Integral):
        return count(name, value)
    if not isinstance(value, float):
        raise InvalidArgumentType(
            f"{name} must be a whole number or a share, got {checks.shown(value)}"
        )
    if not 0 < value < 1:
        raise InvalidArgument(
            f"{name} must be above 0 and below 1 as a share, got {checks.shown(value)}"
        )
    return float(value)
