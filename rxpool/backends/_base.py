"""What a pool asks of the place where its work runs."""

import os
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context
from typing import Any, Final, Protocol, TypeAlias

from reactivex import abc

from rxpool.tasks import Handle
from rxpool.timing import Clock

__all__ = ("SEVERAL", "Backend", "Done", "Job", "LocalBackend", "Runner", "Ticket", "cpus")


#: the value of a job whose results were given one by one to `Runner.part`
SEVERAL: Final[Any] = object()


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

    # Backends that run jobs elsewhere use these instead.

    def begin(self, task: Any) -> tuple[Callable[[Any], Any], Any] | None:
        """The function and the argument of a job; None if it is not wanted any more."""

    def started(self, task: Any, at: float | None) -> None:
        """A job runs since *at*; None: it is going to run, `Backend.look_at` tells."""

    def failed(self, task: Any, error: BaseException) -> None:
        """A job has failed; `finish` is called then."""

    def allot(self, task: Any, most: int, fairly: bool = True) -> list[Any]:
        """More jobs with the same function, to be run in the same slot after *task*.

        Their arguments are their ``item``.  *fairly*: the other slots get as many.
        """
        ...

    def weighed(self, task: Any, items: int, size: int, results: bool = False) -> None:
        """So many items of the flow of *task*, or their results, had *size* bytes, pickled."""

    def give_back(self, lot: Sequence[Any]) -> None:
        """Jobs that `allot` gave and that were not run."""

    def finish(
        self, tasks: Sequence[Any], rest: Sequence[Any], go_on: Callable[[Any], object]
    ) -> None:
        """Jobs of a slot ended; *rest* run there next.

        Each has its ``value``, if it has not `failed`, and if it ran when it ``started`` and
        how many seconds it ``took``.  *go_on* is given another one for the slot, or None.  Then
        results are delivered, which takes as long as subscribers like.
        """

    def part(self, task: Any, value: Any) -> None:
        """A job that gives several results gave one."""

    def progress(self, task: Any, fraction: float) -> None:
        """A job told how far it is."""

    def fault(self, where: str, error: BaseException) -> None:
        """Publish an error that belongs to no job."""

    def function(self, task: Any) -> Callable[..., Any]:
        """The user's function that a job calls, be it through others."""
        ...

    def stack(self) -> list[Any]:
        """The jobs that this thread is busy with, innermost last.

        A backend puts a job there while a piece of it runs on this thread.
        """
        ...

    def handle(self, task: Any) -> Handle:
        """What `current_task` needs of a job."""
        ...

    def lend(self, task: Any) -> None:
        """Give up the slot of a job that waits for others; calls `Backend.lend`."""

    def replaced(self, reason: str) -> None:
        """A worker is gone, and another takes its place."""

    def lost(self, reason: str) -> None:
        """No job will ever run any more: everything is cancelled, the pool is closed."""


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
    #: whether jobs run where they are called from: on the thread that calls `Runner.perform`
    runs_here: bool
    #: else: whether a job may be run beyond the slots, for another that waits for it
    helps: bool
    #: whether `end` is to be called for a job that takes too long; the backend then says
    #: when it has ended.  Else the pool counts the job as ended, and calls `abandon`.
    ends_itself: bool

    @property
    def default_slots(self) -> int:
        """How many slots there are if the user does not say."""
        ...

    def bind(self, runner: Runner, slots: int) -> None:
        """Called once, before anything else."""

    def start(self, jobs: Sequence[Any]) -> None:
        """Run each of *jobs* as soon as possible in a free slot; does not wait."""

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """Run what an ``async def`` returned, with the variables of *context*.

        Either call *done* before returning None, or answer how to cancel it and call
        *done* later.
        """

    def abandon(self, jobs: Sequence[Any]) -> int | None:
        """*jobs* are not wanted any more, and their slots are free: end them if possible.

        Answers how many workers are given up with them, if any.
        """

    def lend(self, jobs: Sequence[Any]) -> None:
        """*jobs* go on, but wait for others: their slots are free meanwhile."""

    def help(self, job: Any) -> None:
        """A job waits for *job*, which holds no slot: start it; only with `helps`."""

    def waits(self) -> None:
        """This thread, which called the `Runner`, is going to wait for other jobs.

        Raises `WouldBlock` if that cannot come to an end.
        """

    def look_at(self, jobs: Collection[Any]) -> None:
        """Call `Runner.started` for those of *jobs* that run and of which that is unknown."""

    def end(self, job: Any, error: BaseException) -> None:
        """End *job* with *error*; only with `ends_itself`."""

    def resize(self, slots: int) -> None:
        """Have another number of slots from now on."""

    def stop(self, wait: float | None) -> None:
        """No job will come any more: end, and wait that many seconds (None: no limit)."""


class Ticket:
    """A job that was handed to several, and is run by who takes it first."""

    __slots__ = ("_jobs",)

    def __init__(self, job: Any) -> None:
        self._jobs = [job]

    def take(self) -> Any:
        """The job; None if it was taken already."""
        try:
            return self._jobs.pop()
        except IndexError:
            return None


class LocalBackend:
    """What backends have in common whose jobs run on threads of their own."""

    scheduler: abc.SchedulerBase | None = None
    keeps_slot = False
    runs_here = True
    in_this_process = True
    helps = False
    ends_itself = False

    @property
    def default_slots(self) -> int:
        """As many as there are CPUs."""
        return cpus()

    def help(self, job: Any) -> None:
        """Never called: the thread that waits for *job* runs it."""
        raise AssertionError(job)

    def waits(self) -> None:
        """The thread is one of the job's own."""

    def look_at(self, jobs: Collection[Any]) -> None:
        """The pool knows: it runs them."""

    def end(self, job: Any, error: BaseException) -> None:
        """Never called: threads cannot be ended."""
        raise AssertionError(job)


def cpus() -> int:
    """How many CPUs this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
