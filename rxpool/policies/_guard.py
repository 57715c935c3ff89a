"""`Call`: the attempts at one call that nobody schedules.

It knows no way to wait: `_guarded_calls` waits, on a thread or on an event loop.
"""

from collections.abc import Callable
from time import monotonic
from typing import Any

from rxpool._core.causes import caused
from rxpool.policies._attempts import NO_BREAKER, REFUSED, AttemptPolicies, Verdict
from rxpool.policies._limit_door import Ticket
from rxpool.timing import Clock

__all__ = ("Call", "replaced")


class Call:
    """One call of a function, with all of its attempts.

    Args:
        policies: Of the function.
        clock: For alarms of the limit.
        item: What functions of the limit see.
        began: When the call did.
        permit: Of the attempt that began then, if one did.
    """

    __slots__ = (
        "_began",
        "_clock",
        "_item",
        "_made",
        "_permit",
        "_policies",
        "_refused",
        "_started",
        "_ticket",
        "_wake",
    )

    def __init__(
        self,
        policies: AttemptPolicies,
        clock: Clock,
        item: Any,
        began: float,
        permit: int | None = None,
    ) -> None:
        self._policies = policies
        self._clock = clock
        self._item = item
        self._made = self._refused = 0  # attempts
        self._began = self._started = began
        self._permit = permit  # of the attempt that runs
        self._ticket: Ticket | None = None
        self._wake: Callable[[], object] = _nobody

    def may_start(self, wake: Callable[[], object]) -> bool:
        """Whether an attempt may start now; if not, ask again after *wake* was called.

        Raises:
            CircuitOpen: If the breaker refuses.
        """
        policies = self._policies
        now = monotonic()
        if not policies.asks:
            self._permit, self._started = NO_BREAKER, now
            return True
        if policies.lock_free and self._ticket is None:
            permit = policies.ask_now(now)
            if permit >= 0:
                self._permit, self._started = permit, now
                policies.carry_out()
                return True
            if permit == REFUSED:
                policies.carry_out()
                raise policies.refusal(now)
        self._wake = wake
        try:
            found = policies.ask(self._ticket or self._stand_in_line, now)
            if isinstance(found, int):
                self._permit, self._started = found, now
        finally:
            policies.carry_out()
        if found is Verdict.REFUSED:
            raise policies.refusal(now)
        if isinstance(found, BaseException):
            try:
                raise found
            finally:
                del found  # or this frame and the error keep each other alive
        return found is not Verdict.WAIT

    def _stand_in_line(self) -> Ticket:
        """Ask the functions of the limit, once for all attempts."""
        limit = self._policies.limit
        assert limit is not None
        self._ticket = limit.ticket(self._item, self._wake, self._clock)
        return self._ticket

    def succeeded(self) -> None:
        """The attempt ended well."""
        permit, self._permit = self._permit, None
        if self._policies.asks:
            now = monotonic()
            self._policies.succeeded(permit, now, now - self._started)
            self._policies.carry_out()

    def cancelled(self) -> None:
        """The attempt is not wanted any more: it counts as nothing."""
        permit, self._permit = self._permit, None
        self._policies.cancelled(permit, self._ticket)
        self._policies.carry_out()

    def failed(self, error: Exception) -> tuple[float | None, Exception]:
        """The attempt ended badly, or was refused: the wait before the next one, or None.

        And what it is that failed: a function of the user may raise when it is asked.
        """
        policies = self._policies
        permit, self._permit = self._permit, None
        if permit is None:
            self._refused += 1
        else:
            self._made += 1
        now = monotonic()
        try:
            if policies.asks:
                self._report(permit, error, now)
            elapsed = now - self._began
            wait = policies.wait(error, self._made, elapsed, now, refused=self._refused)
        except Exception as raised:
            return None, caused(raised, error)
        return wait, error

    def _report(self, permit: int | None, error: Exception, now: float) -> None:
        took = now - self._started
        try:
            self._policies.failed(permit, error, (error,), now, took, self._ticket)
        finally:
            self._policies.carry_out()


def replaced(policies: AttemptPolicies, error: Exception) -> Any:
    """What stands in for *error*, which else is raised."""
    if not policies.replaces(error):
        try:
            raise error
        finally:
            del error  # or this frame and the error keep each other alive
    try:
        return policies.replacement(error)
    except BaseException as raised:
        caused(raised, error)
        raise


def _nobody() -> None:
    """Nobody waits yet."""
