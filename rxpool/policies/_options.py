"""`AttemptOptions`: the policies around an attempt, as they were given."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from rxpool.policies._breaker import CircuitBreaker
    from rxpool.policies._limit import Limit
    from rxpool.policies._retry import Retry

__all__ = ("MISSING", "AttemptOptions")

MISSING: Final[Any] = object()  #: no fallback was given; None is one


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptOptions:
    """The policies around an attempt, outermost first."""

    fallback: Any = MISSING
    retry: "Retry | None" = None
    breaker: "CircuitBreaker | None" = None
    limit: "Limit | None" = None
