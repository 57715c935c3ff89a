"""`CircuitBreaker`: spares a service that fails, and those who call it."""

from collections.abc import Callable
from typing import Any, Literal

from reactivex import abc

from rxpool import _checks as checks
from rxpool._core.broadcast import Broadcast
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.policies._breaker_door import BreakerDoor
from rxpool.policies._breaker_publisher import BreakerEvent
from rxpool.policies._breaker_state import BreakerMetrics, BreakerRules, State
from rxpool.policies._predicates import Errors, chosen

__all__ = ("BreakerEvent", "CircuitBreaker", "breaker_door")


class CircuitBreaker:
    """Refuses calls while too many of them fail or are slow.

    The words and rules are those of resilience4j, with rates as fractions from 0 to 1:

    - **closed**: all calls pass.  When `minimum_number_of_calls` have ended in the window
      and the share of the failed or of the slow ones reaches its threshold, it opens; the
      call that completes the minimum may open it even if it was a good one.
    - **open**: all calls are refused with `CircuitOpen`, whose `retry_after` says for how
      long.  The first call after `wait_duration_in_open_state` finds it half-open.
    - **half_open**: `permitted_number_of_calls_in_half_open_state` calls pass as probes, the
      others are refused.  When all of these have ended, their rates close or open it.
    - **disabled**: all calls pass and none is counted.  **metrics_only**: all calls pass and
      are counted.  **forced_open**: all are refused.  These three are left only by hand.

    Unlike there, a result counts only in the state in which its call began, and a probe
    that hangs blocks nobody once `probe_timeout` is over.

    One breaker can guard several flows, on any threads.  Its own lock is never held while
    code of others runs.

    Args:
        name: How it is called in errors, events and metrics.
        failure_rate_threshold: Above 0, up to 1.
        slow_call_rate_threshold: Above 0, up to 1.
        slow_call_duration_threshold: A call that takes longer than that is slow; in seconds
            or as a timedelta, as all durations here.
        sliding_window_type: ``"count"``: the last `sliding_window_size` calls are looked at;
            ``"time"``: those of as many seconds, by the seconds of the clock, the present
            one included, so that a call leaves the window up to a second early.
        sliding_window_size: 1 or more.
        minimum_number_of_calls: Before as many have ended there is no rate; 1 or more.  No
            more than `sliding_window_size` are waited for with ``"count"``.
        permitted_number_of_calls_in_half_open_state: 1 or more.
        wait_duration_in_open_state: How long it stays open.  Or a function that returns
            that; it is given 1 when the breaker opens, 2 if the probes that follow open it
            again, and so on.  If it raises, that is logged and it is 60 seconds.
        max_wait_duration_in_half_open_state: After as long in half-open it opens again; 0
            stands for no limit.
        automatic_transition_from_open_to_half_open_enabled: Become half-open by a timer,
            not with the first call after the wait.
        record_exceptions: What counts as a failure: an exception type, a tuple of them, or
            a predicate.  Another `Exception` counts as a success; what is not even that,
            such as SystemExit, counts as neither.
        ignore_exceptions: The same, for what counts as neither, also if it is recorded.
        probe_timeout: A probe that has not ended after so many seconds is given up: its
            result is ignored, and another may start.  None waits for ever.
        scheduler: The clock of the breaker; by default that of the first pool it is used
            in, else the shared `TimerScheduler`.

    Raises:
        InvalidArgument: If an argument is out of range.

    Attributes:
        name: As given.
        events: An observable of `BreakerEvent`; subscribers are called with no lock held.
    """

    def __init__(
        self,
        *,
        name: str = "breaker",
        failure_rate_threshold: float = 0.5,
        slow_call_rate_threshold: float = 1.0,
        slow_call_duration_threshold: checks.Seconds = 60.0,
        sliding_window_type: Literal["count", "time"] = "count",
        sliding_window_size: int = 100,
        minimum_number_of_calls: int = 100,
        permitted_number_of_calls_in_half_open_state: int = 10,
        wait_duration_in_open_state: checks.Seconds | Callable[[int], checks.Seconds] = 60.0,
        max_wait_duration_in_half_open_state: checks.Seconds = 0.0,
        automatic_transition_from_open_to_half_open_enabled: bool = False,
        record_exceptions: Errors = Exception,
        ignore_exceptions: Errors = (),
        probe_timeout: checks.Seconds | None = None,
        scheduler: abc.SchedulerBase | None = None,
    ) -> None:
        if not isinstance(name, str):
            raise InvalidArgumentType(f"name must be a str, got {checks.shown(name)}")
        wait = wait_duration_in_open_state
        longest = checks.duration(
            "max_wait_duration_in_half_open_state", max_wait_duration_in_half_open_state
        )
        kind = checks.one_of("sliding_window_type", sliding_window_type, ("count", "time"))
        rules = BreakerRules(
            failure_rate=_share("failure_rate_threshold", failure_rate_threshold),
            slow_rate=_share("slow_call_rate_threshold", slow_call_rate_threshold),
            timed=kind == "time",
            size=checks.count("sliding_window_size", sliding_window_size, least=1),
            minimum=checks.count("minimum_number_of_calls", minimum_number_of_calls, least=1),
            probes=checks.count(
                "permitted_number_of_calls_in_half_open_state",
                permitted_number_of_calls_in_half_open_state,
                least=1,
            ),
            wait=None
            if callable(wait)
            else checks.duration("wait_duration_in_open_state", wait),
            longest_half_open=longest or None,
            automatic=checks.flag(
                "automatic_transition_from_open_to_half_open_enabled",
                automatic_transition_from_open_to_half_open_enabled,
            ),
            probe_timeout=None
            if probe_timeout is None
            else checks.duration("probe_timeout", probe_timeout, above=True),
        )
        chosen("record_exceptions", record_exceptions)
        chosen("ignore_exceptions", ignore_exceptions)
        checks.timing("scheduler", scheduler)
        slow_after = checks.duration(
            "slow_call_duration_threshold", slow_call_duration_threshold
        )
        self.name = name
        self._door = BreakerDoor(
            name, rules, wait, slow_after, record_exceptions, ignore_exceptions, scheduler
        )
        self.events: Broadcast[BreakerEvent] = self._door.events

    # -- for those who watch and operate it ------------------------------------------

    @property
    def state(self) -> State:
        """Where it is: ``"closed"``, ``"open"``, ``"half_open"`` or one set by hand."""
        return self._door.state

    def metrics(self) -> BreakerMetrics:
        """A snapshot of its numbers."""
        return self._door.metrics()

    def retry_after(self, now: float) -> float | None:
        """Seconds until a call may be let through, 0 if one may now; None if unknown."""
        return self._door.retry_after(now)

    def force_open(self) -> None:
        """Refuse all calls until it is told otherwise."""
        self._door.go("forced_open")

    def disable(self) -> None:
        """Let all calls pass and count none, until it is told otherwise."""
        self._door.go("disabled")

    def transition_to_metrics_only(self) -> None:
        """Let all calls pass, and count them, until it is told otherwise."""
        self._door.go("metrics_only")

    def close(self) -> None:
        """Close it with an empty window, whatever its state is."""
        self._door.go("closed")

    def reset(self) -> None:
        """The same as `close`."""
        self._door.go("closed")

    def __repr__(self) -> str:
        return f"<CircuitBreaker {self.name!r} {self.state}>"


def breaker_door(breaker: CircuitBreaker) -> BreakerDoor:
    """What the engine calls."""
    return breaker._door  # pyright: ignore[reportPrivateUsage]


def _share(name: str, value: Any) -> float:
    share = checks.number(name, value, above=True)
    if share > 1:
        raise InvalidArgument(
            f"{name} must be a fraction of up to 1, got {checks.shown(value)}"
        )
    return share
