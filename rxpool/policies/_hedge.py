"""`Hedge`: a second run of a call that takes long, for the sake of the slowest few."""

from dataclasses import dataclass

from rxpool import _checks as checks
from rxpool.policies._budget import RetryBudget

__all__ = ("Hedge",)


@dataclass(frozen=True, slots=True)
class Hedge:
    """Runs an item a second time if the first run has not ended after a while.

    The first of the two that ends well gives the result; the other is cancelled, as far as
    the backend can.  One that fails leaves the other to it.  Only for work that may be done
    twice.  A second run needs a free worker, and what the flow's breaker and limit need; if
    there is none at that moment the item is not hedged.

    Args:
        after: Seconds (or a timedelta) from the start of the first run; above 0.
        budget: The most second runs per item over a sliding minute, with a floor of 3; so
            that when all are slow they are not made twice as many.  None: no such bound.

    Raises:
        InvalidArgument: If an argument is out of range.

    The idea and its name are those of "The Tail at Scale"; Polly and gRPC hedge alike.
    """

    after: checks.Seconds
    budget: float | None = 0.1

    def __post_init__(self) -> None:
        object.__setattr__(self, "after", checks.duration("after", self.after, above=True))
        if self.budget is not None:
            checks.number("budget", self.budget)

    def open_budget(self) -> RetryBudget | None:
        """A new account of `budget`, if there is one."""
        return None if self.budget is None else RetryBudget(self.budget)
