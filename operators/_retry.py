"""``retry``: subscribes to its source again after an error."""

from collections.abc import Callable
from contextlib import nullcontext
from threading import Lock
from typing import Any, TypeVar

from reactivex import Observable, abc
from reactivex.scheduler import CurrentThreadScheduler

from rxpool import _checks as checks
from rxpool._core.causes import caused
from rxpool._core.relay import Relay
from rxpool._forks import afresh
from rxpool.policies import Retry
from rxpool.policies._arguments import for_errors_alone, retry_given
from rxpool.policies._attempts import AttemptPolicies
from rxpool.policies._options import AttemptOptions
from rxpool.timing import Clock

__all__ = ("retry",)

_T = TypeVar("_T")


class _Attempts:
    """One subscriber's subscriptions to the source, one after the other.

    An attempt that is wanted while another is being subscribed waits for that: a source
    that fails at once is subscribed to in a loop, not ever deeper.
    """

    __slots__ = ("_began", "_busy", "_lock", "_made", "_policies", "_relay", "_source")

    def __init__(self, source: Observable[Any], rule: Retry, relay: Relay[Any]) -> None:
        self._source = source
        self._relay = relay
        self._made = 0
        self._began = relay.clock.now()
        # There is one attempt at a time, so their budget needs no lock.
        self._policies = AttemptPolicies(
            AttemptOptions(retry=rule), nullcontext(), refusals_count=True
        )
        self._policies.deposit(self._began)
        self._lock = afresh(Lock())  # of the next one
        self._busy = 0  # 1: somebody subscribes, 2: and is to do so again

    def start(self) -> None:
        """Make the first attempt."""
        self._busy = 1
        self._attempt()
        # The others come after the subscriber has got its subscription, so that it can end
        # it: `CurrentThreadScheduler` calls this when what is being subscribed now is.
        if self._goes_on():
            CurrentThreadScheduler.singleton().schedule(self._go_on)

    def again(self, *_: float) -> None:
        """Make another attempt."""
        with self._lock:
            self._busy += 1
            if self._busy > 1:
                return
        self._run()

    def _go_on(self, _: abc.SchedulerBase, __: Any = None) -> None:
        self._run()

    def _run(self) -> None:
        self._attempt()
        while self._goes_on():
            self._attempt()

    def _goes_on(self) -> bool:
        """Whether the one who subscribes has another attempt to make."""
        with self._lock:
            self._busy -= 1
            return self._busy > 0

    def _attempt(self) -> None:
        self._made += 1
        self._relay.follow(self._source, self._failed)

    def _failed(self, error: Exception) -> None:
        relay = self._relay
        try:
            now = relay.clock.now()
            wait = self._policies.wait(error, self._made, now - self._began, now)
            if wait:
                relay.stage.unsettled = error
                place = relay.hold()
                place.disposable = relay.clock.alarm(now + wait, self.again)
        except Exception as raised:
            relay.stage.fail(caused(raised, error))
            return
        if wait is None:
            relay.stage.fail(error)
        elif not wait:
            self.again()


def retry(
    policy: Retry | int, *, scheduler: abc.SchedulerBase | None = None
) -> Callable[[Observable[_T]], Observable[_T]]:
    """Subscribe to the source again when it fails.

    - **Emits** the items of all attempts as they come; those of an attempt that fails
      later have been emitted.
    - **Completes** when an attempt does.
    - **Fails** with the error of the last attempt, or with what a function of `policy`
      raises; that carries the error as its cause.
    - **Holds back** nothing, unless over a thousand items wait for a busy subscriber.

    ::

        --1-2-x            a source that fails twice
              [ retry(3) ]
        --1-2---1-2---1-2-x

    Every subscriber has attempts, waits and a budget of its own.  As the budget of a
    subscription counts one first attempt, it grants the floor of `RetryBudget`: three
    retries a minute.  Unlike the retry of a pool, which runs one item again, this runs the
    whole source again; so put it next to what fails.

    Args:
        policy: When to try again, and after which wait; a number is that of attempts, the
            first one included.  ``Retry(max_attempts=None)`` ends when the subscriber leaves.
        scheduler: The clock; by default the subscriber's, else the shared `TimerScheduler`.

    Raises:
        InvalidArgument: At once, if an argument is out of range or of the wrong type.

    The source is let go before the wait.  Without a wait the next attempt starts at once,
    in a loop: however often a source fails, nothing gets deeper.
    """
    rule = for_errors_alone("policy", retry_given("policy", policy), "streams")
    checks.timing("scheduler", scheduler)

    def bind(source: Observable[_T]) -> Observable[_T]:
        def subscribe(
            observer: abc.ObserverBase[_T], default: abc.SchedulerBase | None = None
        ) -> abc.DisposableBase:
            relay: Relay[_T] = Relay("retry", observer, Clock.of(scheduler, default), default)
            _Attempts(source, rule, relay).start()
            return relay.subscription()

        return Observable(subscribe)

    return bind
