"""What a pool asks of the place where its work runs."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, TypeAlias

from reactivex import abc

from rxpool.timing import Clock

__all__ = ("Backend", "Done", "Job", "Runner")


class Job(Protocol):
    """A task as a backend sees it: opaque, with a note of the backend's own."""

    note: Any


class Runner(Protocol):
    """What a backend calls to run jobs.  The errors of users never come out of it."""

    def perform(self, task: Any, note: Any = None) -> Any:
        """Run a job on this thread; answers the next one for the same slot, if any."""

    def work(self, task: Any, note: Any) -> None:
        """Run a job on this thread, and others while there are any for the same slot.

        Each has *note* set while it runs.
        """


#: Takes the value or the error of work that did not end at once.
Done: TypeAlias = Callable[[Any, BaseException | None], None]


class Backend(Protocol):
    """Runs jobs in slots.  The pool never gives it more jobs than it has slots."""

    #: the clock of waits and durations
    clock: Clock
    #: what an Observable that a job returned is subscribed with
    scheduler: abc.SchedulerBase | None
    #: whether such a job keeps its slot until the Observable ends
    keeps_slot: bool

    def bind(self, runner: Runner, slots: int) -> None:
        """Called once, before anything else."""

    def start(self, jobs: Sequence[Any]) -> None:
        """Run each of *jobs* as soon as possible in a free slot; does not wait."""

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done
    ) -> Callable[[], object] | None:
        """Run what an ``async def`` returned.

        Either call *done* before returning None, or answer how to cancel it and call
        *done* later.
        """

    def abandon(self, jobs: Sequence[Any]) -> None:
        """Count on the slots of *jobs* no more: they are not wanted, or wait for other jobs."""

    def resize(self, slots: int) -> None:
        """Have another number of slots from now on."""

    def stop(self, wait: float | None) -> None:
        """No job will come any more: end, and wait that many seconds (None: no limit)."""
