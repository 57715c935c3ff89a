"""What each thread of a pool calls before its first task."""

import threading
from collections.abc import Callable, Sequence
from time import monotonic, sleep
from typing import Any, Final

from rxpool._core.causes import ends_program
from rxpool._forks import heed
from rxpool.backends._runner import Reports
from rxpool.errors import WorkerStartError

__all__ = ("Initializer", "fail")

_TRIES: Final = 3  #: as for processes
_BACK_OFF: Final = 0.05  #: seconds before the second attempt; doubles with each
_REST: Final = 1.0  #: seconds before three attempts more


class Initializer:
    """Calls a function once on each thread that runs tasks.

    If it raises, that is tried again; after three attempts tasks that come to this thread
    within the next second fail with `WorkerStartError`; then it is tried afresh.
    """

    def __init__(
        self,
        function: Callable[..., object],
        args: Sequence[Any],
        now: Callable[[], float] = monotonic,
    ) -> None:
        self._function = function
        self._args = tuple(args)
        self._now = now
        self._mine = (
            threading.local()
        )  # `done`: this thread has called it; `why` not, `until` when
        heed(self)

    def forked(self) -> None:
        """What it has set up is the parent's."""
        self._mine = threading.local()

    def refused(self) -> WorkerStartError | None:
        """See that this thread is ready; what keeps it from that, if anything does."""
        if getattr(self._mine, "done", False):
            return None
        if self._now() < getattr(self._mine, "until", 0.0):
            why: WorkerStartError = self._mine.why
            return why
        failure = self._call()
        for tries in range(1, _TRIES):
            if failure is None or ends_program(failure):
                break
            sleep(_BACK_OFF * 2 ** (tries - 1))
            failure = self._call()
        if failure is None:
            self._mine.done = True
            return None
        name = getattr(self._function, "__name__", type(self._function).__name__)
        why = WorkerStartError(
            f"workers do not start: the initializer {name} raised "
            f"{type(failure).__name__}: {failure}"
        )
        why.__cause__ = failure
        self._mine.why, self._mine.until = why, self._now() + _REST
        return why

    def _call(self) -> BaseException | None:
        try:
            self._function(*self._args)
        except BaseException as error:
            return error
        return None


def fail(runner: Reports, job: Any, error: BaseException, now: float) -> Any:
    """End *job* with *error*; answers the next one for its slot, if any."""
    job.began(now)
    job.ended(None, None, 0.0)
    runner.failed(job, error)
    following: list[Any] = []
    runner.finish((job,), (), following.append)
    return following[0] if following else None
