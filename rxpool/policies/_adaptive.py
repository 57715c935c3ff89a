"""`AdaptiveConcurrency`: a limit of calls at once that finds itself."""

from math import inf

from rxpool import _checks as checks
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.policies._limit import Limit
from rxpool.policies._limit_parts import CapacityPart
from rxpool.policies._predicates import matches

__all__ = ("AdaptiveConcurrency",)


class AdaptiveConcurrency(Limit):
    """As many calls at once as the other side bears, found out by trying.

    Additive increase, multiplicative decrease: after as many good calls as it is large the
    limit grows by one, but only while it is what limits; a bad call shrinks it by
    `decrease`, once for all calls that were under way then.

    Args:
        initial: Calls at once to begin with.
        least: Never fewer; 1 or more.
        most: Never more.
        decrease: What a bad call multiplies the limit by; above 0, below 1.
        slow: A call that took more seconds than this (or a timedelta) is a bad one.
        errors: The exceptions that make a call a bad one; others say nothing.
    """

    def __init__(
        self,
        *,
        initial: int = 4,
        least: int = 1,
        most: int = 1000,
        decrease: float = 0.7,
        slow: checks.Seconds | None = None,
        errors: type[BaseException] | tuple[type[BaseException], ...] = Exception,
    ) -> None:
        least = checks.count("least", least, least=1)
        most = checks.count("most", most, least=least)
        initial = checks.count("initial", initial, least=least)
        if initial > most:
            raise InvalidArgument(
                f"initial must be {most=} at most, got {checks.shown(initial)}"
            )
        factor = checks.number("decrease", decrease, above=True)
        if factor >= 1:
            raise InvalidArgument(f"decrease must be below 1, got {checks.shown(decrease)}")
        longest = inf if slow is None else checks.duration("slow", slow, above=True)
        kinds = errors if isinstance(errors, tuple) else (errors,)
        if not all(
            isinstance(kind, type) and issubclass(kind, BaseException) for kind in kinds
        ):  # pyright: ignore[reportUnnecessaryIsInstance]
            raise InvalidArgumentType(
                f"errors must be exception types, got {checks.shown(errors)}"
            )

        def is_bad(error: BaseException | None, took: float) -> bool:
            return took > longest if error is None else matches(kinds, error)

        self._capacity = CapacityPart(initial, least, most, factor, is_bad)
        self._be_made_of([self._capacity])

    @property
    def limit(self) -> int:
        """Calls at once, at present."""
        return int(self._capacity.limit)
