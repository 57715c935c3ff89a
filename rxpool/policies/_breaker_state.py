"""`BreakerState`: when a circuit breaker lets calls through.  No clock, no lock, no events."""

from collections import deque
from dataclasses import dataclass
from math import inf
from sys import maxsize
from typing import Literal, NamedTuple, TypeAlias

from rxpool._core.rate_limiters import TIE
from rxpool.policies._breaker_windows import CountWindow, TimeWindow, Window

__all__ = ("DEFAULT_WAIT", "BreakerMetrics", "BreakerRules", "BreakerState", "Change", "State")

State: TypeAlias = Literal[
    "closed", "open", "half_open", "forced_open", "disabled", "metrics_only"
]

DEFAULT_WAIT = 60.0  #: seconds in the open state, also until the user's function has said
_NONE = -2  #: nobody's permit, and not the answer to those who are refused either
_KEPT = 256  #: changes that wait to be fetched; beyond that the oldest are lost


class Change(NamedTuple):
    """The breaker went from one state to another."""

    before: State
    after: State
    at: float


@dataclass(frozen=True, slots=True)
class BreakerRules:
    """The options of a breaker that the state needs; see `CircuitBreaker`."""

    failure_rate: float = 0.5
    slow_rate: float = 1.0
    timed: bool = False  #: the window is of seconds, not of calls
    size: int = 100
    minimum: int = 100
    probes: int = 10
    wait: float | None = DEFAULT_WAIT  #: None: somebody says it each time, by `set_wait`
    longest_half_open: float | None = None
    automatic: bool = False
    probe_timeout: float | None = None


@dataclass(frozen=True, slots=True)
class BreakerMetrics:
    """What a breaker knows at one instant; in the open state, the numbers that opened it."""

    state: State
    failure_rate: float | None  #: from 0 to 1; None until enough calls have ended
    slow_call_rate: float | None  #: from 0 to 1; None until enough calls have ended
    calls: int  #: that ended in the window
    failed: int  #: of these
    slow: int  #: of these, whether they failed or not
    not_permitted: int  #: refused since the breaker was last closed, half-open or set by hand


class BreakerState:
    """Counts results, and decides who may call.

    A permit is a number that is never used twice.  Where everybody may call, all calls of
    one stay in a state have the same; in the half-open state each probe has its own, kept
    until it reports.  So a result with any other permit is one of an earlier state, of a
    probe that was given up, or a second report, and is ignored.

    Attributes:
        state: Where it is.
        free: The permit that everybody gets, or -1 if a call has to be looked at.
        clean: A permit with which a good call changes nothing, since the window is full of
            good ones; or -1.
        attempt: How often it opened since it was last closed.
        wants_wait: It opened, and `set_wait` must say for how long.
        serial: Changes with every change of the state.
        changes: What happened, for whoever fetches it.
    """

    __slots__ = (
        "_counting",
        "_ends",
        "_minimum",
        "_opened",
        "_probes",
        "_refused",
        "_rules",
        "_threshold",
        "_window",
        "attempt",
        "changes",
        "clean",
        "free",
        "serial",
        "state",
        "wants_wait",
    )

    def __init__(self, rules: BreakerRules) -> None:
        self._rules = rules
        self.state: State = "closed"
        self.attempt = 0
        self.wants_wait = False
        self.changes: deque[Change] = deque(maxlen=_KEPT)
        self.serial = -1
        self.free = self.clean = -1
        self._counting = _NONE  # the permit whose results go into the window
        self._probes: dict[int, float] = {}  # permits of probes, and when they are given up
        self._ends = inf  # when the open or half-open state may end by itself
        self._opened = 0.0
        self._refused = 0
        self._window: Window = CountWindow(1)
        self._minimum = 1  # calls that make a rate
        self._threshold = maxsize  # calls that can open the breaker
        self._enter("closed", 0.0)

    def admit(self, now: float) -> int:
        """A permit, or -1."""
        if self.free >= 0:
            return self.free
        if now >= self._ends - TIE:
            self._enter("half_open" if self.state == "open" else "open", now)
        if self.state == "half_open":
            self._give_up(now)
            if self._room():
                self.serial += 1
                timeout = self._rules.probe_timeout
                self._probes[self.serial] = inf if timeout is None else now + timeout
                return self.serial
        self._refused += 1
        return -1

    def retry_after(self, now: float) -> float | None:
        """Seconds until `admit` gives a permit; None if time alone does not bring it."""
        if self.free >= 0:
            return 0.0
        if self.state == "open" and not self.wants_wait:
            return max(0.0, self._ends - now)
        if self.state != "half_open" or now >= self._ends - TIE:
            return None
        self._give_up(now)
        if self._room():
            return 0.0
        soonest = min(self._probes.values())
        return None if soonest == inf else soonest - now

    def record(self, permit: int, now: float, how: int) -> None:
        """A call ended; *how* is the sum of `FAILED` and `SLOW`, where they are true."""
        if permit != self._counting:
            self._record_probe(permit, now, how)
            return
        window = self._window
        if how:
            self.clean = -1
        window.add(now, how)
        if window.failed or window.slow:
            if window.calls >= self._threshold and self._bad():
                self._enter("open", now)
        elif window.full:
            self.clean = permit

    def release(self, permit: int) -> None:
        """A call ended that says nothing: what a probe had goes to another."""
        self._probes.pop(permit, None)

    def forsake(self) -> None:
        """In a forked child: the probes under way report to the parent."""
        self._probes.clear()

    @property
    def due(self) -> float | None:
        """When the state ends by itself, without a call."""
        itself = self._rules.automatic if self.state == "open" else self._ends < inf
        return self._ends if itself else None

    def expire(self, now: float) -> None:
        """Time has passed: leave a state that has ended."""
        due = self.due
        if due is not None and now >= due - TIE:
            self._enter("half_open" if self.state == "open" else "open", now)

    def set_wait(self, serial: int, wait: float) -> None:
        """How long the open state that began with *serial* lasts."""
        if self.serial == serial:
            self.wants_wait = False
            self._ends = self._opened + wait

    def go(self, state: State, now: float) -> None:
        """Somebody wants it so.  To be closed again means to start afresh."""
        if state != self.state or state == "closed":
            self._enter(state, now)

    def metrics(self, now: float) -> BreakerMetrics:
        """The numbers at *now*."""
        window = self._window
        if self.state != "open":
            window.forget(now)
        enough = window.calls >= self._minimum
        return BreakerMetrics(
            self.state,
            window.failed / window.calls if enough else None,
            window.slow / window.calls if enough else None,
            window.calls,
            window.failed,
            window.slow,
            self._refused,
        )

    def _record_probe(self, permit: int, now: float, how: int) -> None:
        given_up = self._probes.pop(permit, None)
        if given_up is None or now >= given_up - TIE:
            return
        if now >= self._ends - TIE:
            self._enter("open", now)
            return
        self._window.add(now, how)
        if self._window.calls == self._rules.probes:
            self._enter("open" if self._bad() else "closed", now)

    def _bad(self) -> bool:
        """Whether a rate has reached its threshold."""
        window, rules = self._window, self._rules
        return (
            window.failed / window.calls >= rules.failure_rate
            or window.slow / window.calls >= rules.slow_rate
        )

    def _room(self) -> bool:
        """Whether another probe may start."""
        return self._window.calls + len(self._probes) < self._rules.probes

    def _give_up(self, now: float) -> None:
        """Forget the probes that did not report in time."""
        if self._rules.probe_timeout is not None:
            late = [permit for permit, end in self._probes.items() if now >= end - TIE]
            for permit in late:
                del self._probes[permit]

    def _enter(self, state: State, now: float) -> None:
        before, self.state = self.state, state
        if before != state:
            self.changes.append(Change(before, state, now))
        self.serial += 1
        self.wants_wait = False
        self._probes.clear()
        self._ends = inf
        passes = state in ("closed", "metrics_only", "disabled")
        counts = passes and state != "disabled"
        self._counting = self.serial if counts else _NONE
        if state == "open":
            wait = self._rules.wait
            self.attempt += 1
            self.wants_wait = wait is None
            self._opened = now
            self._ends = now + (DEFAULT_WAIT if wait is None else wait)
        else:
            self._open_window(state)
            if state == "half_open":
                longest = self._rules.longest_half_open
                self._ends = inf if longest is None else now + longest
            else:
                self.attempt = 0
        # Last: it is read without a lock.
        self.free = self.serial if passes else -1

    def _open_window(self, state: State) -> None:
        """Start to count anew."""
        rules = self._rules
        self._refused = 0
        if state == "half_open":
            self._window = CountWindow(rules.probes)
            self._minimum = rules.probes
        else:
            self._window = (TimeWindow if rules.timed else CountWindow)(rules.size)
            self._minimum = rules.minimum if rules.timed else min(rules.minimum, rules.size)
        self._threshold = self._minimum if state == "closed" else maxsize
