"""What a `BatchProcessor` tells, and what it is told."""

from dataclasses import dataclass
from numbers import Integral
from typing import Any, Final, Protocol

from rxpool import _checks as checks
from rxpool.errors import InvalidArgumentType
from rxpool.policies._arguments import ends, for_errors_alone

__all__ = ("BatchMetrics", "BatchProgress", "RetryPolicy", "policy_of", "results_of")


class RetryPolicy(Protocol):
    """Decides whether a failed attempt is made again; `Retry` is one."""

    def wait_before_next(
        self, attempts: int, error: BaseException, elapsed: float, random: float
    ) -> float | None:
        """Seconds until the next attempt, or None to give up."""
        ...


#: can be iterated over, but their items are not results in the order of a batch
_NO_LISTS: Final = (str, bytes, bytearray, dict, set, frozenset)


@dataclass(frozen=True, slots=True)
class BatchProgress:
    """How far a `BatchProcessor` is; given to `on_progress` after each batch."""

    accepted: int  #: items so far
    succeeded: int
    failed: int
    cancelled: int

    @property
    def fraction(self) -> float:
        """Settled items per accepted item."""
        settled = self.succeeded + self.failed + self.cancelled
        return settled / self.accepted if self.accepted else 1.0


@dataclass(frozen=True, slots=True)
class BatchMetrics:
    """The figures of a `BatchProcessor`.

    At every instant accepted = succeeded + failed + cancelled + pending + running; items
    that wait to be tried again are running ones.
    """

    accepted: int  #: items
    succeeded: int
    failed: int
    cancelled: int
    pending: int  #: items that wait for their batch to begin
    running: int
    batches: int  #: that were begun; each is counted once, however often it is tried
    attempts: int  #: calls of the function
    failed_attempts: int  #: calls that raised, or returned no list of the right length
    attempt_seconds: float  #: all calls together
    retry_wait_seconds: float  #: all waits before another attempt together


def results_of(given: Any, size: int) -> list[Any]:
    """What a function of batches returned, as a list of *size*."""
    return checks.results_of_batch(given, size, _NO_LISTS)


class _Attempts:
    """So many attempts, one right after the other."""

    def __init__(self, most: int) -> None:
        self._most = most

    def wait_before_next(
        self, attempts: int, error: BaseException, elapsed: float, random: float
    ) -> float | None:
        """See `RetryPolicy`."""
        return 0.0 if attempts < self._most else None


def policy_of(retry: Any) -> RetryPolicy | None:
    """What decides about retries, from what the user writes as ``retry=``."""
    if retry is None:
        return None
    if callable(getattr(retry, "wait_before_next", None)):
        ends("retry", retry, "needs a deadline, which a BatchProcessor does not have")
        for_errors_alone("retry", retry, "batches")
        return retry  # type: ignore[no-any-return]
    if isinstance(retry, bool) or not isinstance(retry, Integral):
        raise InvalidArgumentType(
            f"retry must be a whole number or have wait_before_next, got {checks.shown(retry)}"
        )
    return _Attempts(checks.count("retry", retry, least=1))
