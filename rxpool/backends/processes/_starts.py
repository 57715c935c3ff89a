"""`Starts`: what becomes of those who wait when worker processes do not start."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, auto
from typing import Final

from rxpool.errors import WorkerStartError

__all__ = ("NO_GUARD", "SYSTEM", "Fails", "Failure", "Starts", "Step")

_BACK_OFF: Final = 0.05  #: seconds before the second attempt; doubles with each
_LONGEST: Final = 5.0  #: seconds between two attempts, where others do the work
_REST: Final = 1.6  #: seconds before the attempts for the next item
_PATIENCE: Final = 30.0  #: seconds of nothing but failures after which no more is hoped for

#: the exit code of a worker whose main module has no guard
NO_GUARD: Final = 94

#: what is raised if the system refuses something, or the fork server has ended
SYSTEM: Final = (OSError, EOFError, MemoryError)


_UNGUARDED: Final = (
    "the main module starts worker processes when it is imported, and workers import it; put "
    "what it does under: if __name__ == '__main__':"
)


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a process did not start."""

    error: BaseException
    tries: int  #: attempts before an item fails
    lasting: bool  #: the next start will fail for the same reason, as far as can be told

    @classmethod
    def told(cls, error: BaseException) -> "Failure":
        """By the worker itself: its initializer raised, or what it is told is no good."""
        return cls(error, 3, True)

    @classmethod
    def raised(cls, error: BaseException) -> "Failure":
        """On this side, by the system or as something is wrong with what the worker is told."""
        return cls.refused(error) if isinstance(error, SYSTEM) else cls.told(error)

    @classmethod
    def refused(cls, error: BaseException) -> "Failure":
        """By the system, which may have room again."""
        return cls(error, 6, False)

    @classmethod
    def died(cls, exitcode: int | None, ending: str) -> "Failure":
        """Before it was ready: by itself, or by a signal, which is chance."""
        if exitcode == NO_GUARD:
            return cls(WorkerStartError(_UNGUARDED), 1, True)
        # 255 stands for what nobody knows, as after the end of the fork server.
        itself = exitcode is not None and 0 <= exitcode != 255
        return cls(WorkerStartError(f"the process ended ({ending})"), 6, itself)

    @classmethod
    def hung(cls, seconds: float) -> "Failure":
        """It did not become ready in time, and was killed."""
        return cls(WorkerStartError(f"the process was not ready in {seconds:g} s"), 2, False)


class Fails(Enum):
    """Which of those who wait for a worker fail now."""

    NONE = auto()
    ONE = auto()  #: the one that was tried for
    ALL = auto()  #: also those that wait behind it


@dataclass(frozen=True, slots=True)
class Step:
    """What comes after a failed start."""

    fails: Fails
    pause: float  #: seconds before the next attempt


class Starts:
    """Decides how often starts are tried, and who fails then.

    An item that waits for a worker has several attempts.  If all of them fail it fails, alone
    if the reason may pass: a process that was killed, a system without descriptors.  The next
    item has attempts of its own.  If the reason will not pass, as with an initializer that
    raises, or has not for half a minute, everything that waits fails: however much that is, it
    ends.  Nothing fails as long as another worker is there; then attempts go on, ever slower.

    A pure state of the pool; its owner's lock guards it.
    """

    def __init__(self, now: Callable[[], float]) -> None:
        self._now = now
        self._since: float | None = None  # nothing but failures since then

    def begins(self) -> None:
        """A process is going to be started."""
        if self._since is None:
            self._since = self._now()

    def settled(self) -> None:
        """A worker is ready, or nobody waits for one any more."""
        self._since = None

    def failed(self, failure: Failure, tries: int, others: bool) -> Step:
        """Attempt number *tries* for an item failed; *others*: workers that are ready."""
        if others or tries < failure.tries:
            return Step(Fails.NONE, min(_BACK_OFF * 2.0 ** min(tries - 1, 20), _LONGEST))
        since = self._now() if self._since is None else self._since
        if failure.lasting or self._now() - since > _PATIENCE:
            return Step(Fails.ALL, 0.0)
        return Step(Fails.ONE, _REST)
