"""`OnFailure`: what the failure of an item does to the stream it is in."""

from collections.abc import Callable
from typing import Any

from rxpool._core.causes import caused
from rxpool.errors import ItemDropped
from rxpool.pool._state.tally import Tally

__all__ = ("OnFailure",)


class OnFailure:
    """``on_failure=`` and ``max_failures=`` of one flow; one thread at a time asks it.

    *what* is ``"raise"``, ``"skip"`` or an observer.
    """

    __slots__ = ("_what", "tally")

    def __init__(self, what: Any, name: str, max_failures: float | None) -> None:
        self._what = what
        #: counts what is settled, if there is a bound on failures
        self.tally = None if max_failures is None else Tally(name, max_failures)

    def ends(self, error: Any, outcome: Callable[[], Any]) -> Any:
        """The error that ends the stream now; None: the item is left out.

        With nowhere to go failures are not left out: what the observer raises ends it too.
        """
        if self._what == "skip":
            return None
        if self._what == "raise":  # they are left out until there are too many
            return error if self.tally is None else None
        try:
            self._what.on_next(outcome())
        except BaseException as raised:
            return caused(raised, error)
        return None

    def too_many(self, error: BaseException | None) -> Exception | None:
        """One more is settled, with *error* if it failed: what ends the stream, or None."""
        if self.tally is None or isinstance(error, ItemDropped):
            return None
        return self.tally.settle(error is not None)
