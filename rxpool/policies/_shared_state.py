"""A token bucket that several processes take leases from.  No clock, no file, no thread."""

from dataclasses import dataclass, replace
from typing import Final

__all__ = ("Bucket", "Figures", "Lease", "Request")

_LEASE: Final = 0.05  #: seconds; a lease is what they bring
_SHARE: Final = 0.05  #: of the burst; a lease is at most this
_IDLE: Final = 1.0  #: seconds; what nobody used for so long is given back
_ROUNDING: Final = 1e-9  #: tokens; as little as that is rounding of the arithmetic


@dataclass(frozen=True, slots=True)
class Figures:
    """What all who share a limit have to agree on."""

    rate: float
    per: float
    burst: float

    @property
    def interval(self) -> float:
        """Seconds for a token."""
        return self.per / self.rate

    @property
    def chunk(self) -> float:
        """Tokens of a lease, unless somebody needs more."""
        return max(1.0, min(_LEASE / self.interval, _SHARE * self.burst))

    def __str__(self) -> str:
        return f"rate={self.rate:g}, per={self.per:g}, burst={self.burst:g}"


@dataclass(frozen=True, slots=True)
class Request:
    """What a process asks for at once."""

    need: float | None = None  #: tokens that a lease must have at least; None: no lease
    back: float = 0.0  #: tokens of its last lease that it did not use
    epoch: int = 0  #: of that lease
    pause: float | None = None  #: seconds


@dataclass(slots=True)
class Lease:
    """Tokens that are one process's alone, and when each of them comes, on its own clock."""

    size: float
    empty: float  #: the first token comes `interval` after this
    interval: float
    paused: float  #: nothing before this
    epoch: int
    used: float = 0.0

    @property
    def left(self) -> float:
        """What was not used."""
        return max(0.0, self.size - self.used)

    def has(self, cost: float) -> bool:
        """Whether *cost* is in it, be it later."""
        return cost <= self.size - self.used + _ROUNDING

    def due(self, cost: float) -> float:
        """When *cost* will have come."""
        return max(self.empty + (self.used + cost) * self.interval, self.paused)

    def idle(self, now: float) -> bool:
        """Whether it is all there, and was for long."""
        return now > max(self.empty + self.size * self.interval, self.paused) + _IDLE


@dataclass(frozen=True, slots=True)
class Bucket:
    """What is common to all: leases are taken off at once, those that wait are a debt.

    Whoever finds too few tokens is given those that come next, so nobody has to ask twice
    and nobody is passed for ever.  Times count from `at`, so that a clock that is put back
    neither makes anybody wait nor gives tokens; one that is put forward gives at most the
    burst.
    """

    at: float  #: when this was written, on the wall clock
    empty: float  #: seconds from then to when it is empty; below 0 there are tokens
    pause: float = 0.0  #: seconds from then to the end of a pause
    epoch: int = 0  #: number of pauses; leases from before one are not taken back

    @classmethod
    def fresh(cls, figures: Figures, tokens: float, wall: float) -> "Bucket":
        """With so many tokens."""
        return cls(wall, -tokens * figures.interval)

    def seen(self, figures: Figures, wall: float) -> "Bucket":
        """The same at another time."""
        gone = max(0.0, wall - self.at)
        empty = max(self.empty - gone, -figures.burst * figures.interval)
        return replace(self, at=wall, empty=empty, pause=max(0.0, self.pause - gone))

    def answer(
        self, figures: Figures, request: Request, wall: float, now: float
    ) -> "tuple[Bucket, Lease | None]":
        """What is left after *request*, and the lease; it is *now* on the asker's clock."""
        bucket, interval = self.seen(figures, wall), figures.interval
        empty, pause, epoch = bucket.empty, bucket.pause, bucket.epoch
        if request.epoch == epoch:
            empty = max(empty - request.back * interval, -figures.burst * interval)
        if request.pause is not None:  # no more than one token comes in while it lasts
            pause, epoch = max(pause, request.pause), epoch + 1
            empty = max(empty, 0.0, request.pause - interval)
        lease = None
        if request.need is not None:
            size = max(request.need, figures.chunk)
            lease = Lease(size, now + empty, interval, now + pause, epoch)
            empty += size * interval
        return Bucket(wall, empty, pause, epoch), lease
