"""What a `BatchProcessor` tells, and what it is told."""

from dataclasses import dataclass
from typing import Any, Protocol

from rxpool import _checks as checks
from rxpool.errors import BatchSizeError, InvalidArgumentType

__all__ = ("BatchMetrics", "BatchProgress", "RetryPolicy", "policy_of", "results_of")


class RetryPolicy(Protocol):
    """Decides whether a failed attempt is made again; `Retry` is one."""

    def wait_before_next(
        self, attempts: int, error: BaseException, elapsed: float, random: float
    ) -> float | None:
        """Seconds until the next attempt, or None to give up."""
        ...


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
    if isinstance(given, (str, bytes, bytearray, dict, set, frozenset)):
        raise BatchSizeError(f"a function of batches must return a list, got {given!r}")
    try:
        results = list(given)
    except TypeError:
        raise BatchSizeError(
            f"a function of batches must return a list, got {given!r}"
        ) from None
    if len(results) != size:
        raise BatchSizeError(f"got {len(results)} results for a batch of {size}")
    return results


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
        return retry  # type: ignore[no-any-return]
    if isinstance(retry, bool) or not isinstance(retry, int):
        raise InvalidArgumentType(
            f"retry must be a whole number or have wait_before_next, got {retry!r}"
        )
    return _Attempts(checks.count("retry", retry, least=1))
