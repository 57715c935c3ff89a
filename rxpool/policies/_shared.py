"""`SharedRate`: the part of a `Limit` that has its tokens from a `Store`."""

import random
from collections.abc import Callable, Hashable
from math import inf
from typing import Any, Final

from rxpool.errors import RxPoolError
from rxpool.policies._limit_parts import LimitPart, spent
from rxpool.policies._shared_state import Lease, Request
from rxpool.policies._store import Store

__all__ = ("SharedRate",)

_INSTANT: Final = 1e-6  #: seconds; less is rounding
_TROUBLE: Final = 1.0  #: seconds until a store that failed is asked again


class SharedRate(LimitPart):
    """See `LimitPart`.  Grants from its lease; what it has to ask the store for is a `Request`.

    Whoever holds the limits' lock asks for the request, then, without any lock, the store,
    and brings the answer.
    """

    stored = True
    shares = False

    def __init__(
        self, store: Store, cost: Callable[[Any], float] | float, jitter: float
    ) -> None:
        super().__init__()
        self.store = store
        self.cost = cost
        self.jitter = jitter
        self.random: Callable[[], float] = random.random
        self._paused = -inf
        self._start()

    def _start(self) -> None:
        self._lease: Lease | None = None
        self._need: float | None = None  # somebody waits for a lease with so much
        self._pausing: float | None = None  # the end of a pause that the others do not know
        self._asking = False
        self._trouble: tuple[float, Exception] | None = None

    def forked(self) -> None:
        """See `LimitPart`; the lease is the parent's too."""
        super().forked()
        self._start()

    def ask(self, item: Any) -> tuple[Hashable, float]:
        """See `LimitPart`."""
        return None, spent(self.cost, item)

    def due(self, key: Hashable, cost: float, now: float, fresh: bool = False) -> float:
        """See `LimitPart`; infinity: when the store has answered."""
        if self._trouble is not None:
            if now < self._trouble[0]:
                return now  # to be told so
            self._trouble = None
        lease = self._lease
        unused = fresh and not self.waits and lease is not None and lease.idle(now)
        if lease is None or unused or not lease.has(cost):
            self._need = cost if self._need is None else max(cost, self._need)
            return inf
        due = max(lease.due(cost), self._paused)
        return now if due <= now + _INSTANT else due

    def check(self) -> None:
        """See `LimitPart`."""
        if self._trouble is not None:
            error = self._trouble[1]
            raise type(error)(*error.args) from error.__cause__

    def take(self, key: Hashable, cost: float, now: float, waited: bool) -> None:
        """See `LimitPart`."""
        assert self._lease is not None
        self._lease.used += cost

    def done(self, error: BaseException | None, took: float, now: float) -> bool:
        """See `LimitPart`."""
        return False

    def pause(self, seconds: float, now: float) -> None:
        """See `LimitPart`."""
        end = now + seconds * (1 + self.jitter * self.random())
        self._paused = max(self._paused, end)
        self._pausing = end if self._pausing is None else max(end, self._pausing)
        self._lease = None

    # -- what the store is asked ------------------------------------------------------------

    def request(self, now: float) -> Request | None:
        """What the store is to be asked now; `answer` or `fail` is to follow."""
        if self._asking or (self._need is None and self._pausing is None):
            return None
        if self._trouble is not None and now < self._trouble[0]:
            return None
        need, self._need = self._need, None
        end, self._pausing = self._pausing, None
        lease, self._lease = self._lease, None if need is not None else self._lease
        back, epoch = (lease.left, lease.epoch) if lease and need is not None else (0.0, 0)
        self._asking = True
        return Request(need, back, epoch, None if end is None else max(0.0, end - now))

    def answer(self, lease: Lease | None) -> None:
        """It answered."""
        self._asking = False
        self._trouble = None
        if lease is not None and self._pausing is None:  # else that is from before the pause
            self._lease = lease

    def fail(self, error: BaseException, request: Request, asked: float, now: float) -> None:
        """It did not, which may have taken it long: who waits, or comes soon, is told."""
        self._asking = False
        if request.pause:
            end = asked + request.pause
            self._pausing = end if self._pausing is None else max(end, self._pausing)
        if isinstance(error, RxPoolError):
            self._trouble = (now + _TROUBLE, error)
