"""What a pool asks of the place where its work runs."""

# ruff: noqa: B027 - what most backends do not do has an empty default

import os
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextvars import Context
from dataclasses import dataclass
from typing import Any, TypeAlias

from reactivex import abc

from rxpool.backends._awaiting import run_here
from rxpool.backends._runner import Runner
from rxpool.errors import InvalidArgument
from rxpool.timing import Clock

__all__ = ("Backend", "Done", "LocalBackend", "Ticket", "Traits", "cpus")


#: Takes the value or the error of work that did not end at once.
Done: TypeAlias = Callable[[Any, BaseException | None], None]


@dataclass(frozen=True, kw_only=True)
class Traits:
    """What kind of place a backend is.

    ======================  =====================================
    with                    goes
    ======================  =====================================
    ``runs_here``           `in_this_process`
    ``helps``               jobs run elsewhere (not `runs_here`)
    ``ends_itself``         jobs run elsewhere
    ``waits_out``           `runs_here`
    ``begins_together``     jobs run elsewhere (not `runs_here`)
    ======================  =====================================

    Raises:
        InvalidArgument: If they do not go together.
    """

    #: whether jobs run where they are called from: on the thread that calls `ThreadRunner`
    runs_here: bool = False
    #: whether the CPU time of this process is that of the jobs
    in_this_process: bool = False
    #: whether a job that returned an Observable keeps its slot until that ends
    keeps_slot: bool = False
    #: whether a job may be run beyond the slots, for another that waits for it: `Backend.help`
    helps: bool = False
    #: whether `Backend.end` is to be called for a job that takes too long; the backend then
    #: says when it has ended.  Else the pool counts the job as ended, and calls `abandon`.
    ends_itself: bool = False
    #: whether the time of a job is judged when its function has returned, as nothing ends it
    waits_out: bool = False
    #: whether all jobs of a chunk count as begun when it is handed over: where their time is
    #: limited they go one by one then
    begins_together: bool = False

    def __post_init__(self) -> None:
        for given, flag, needed, other in (
            (self.runs_here, "runs_here", self.in_this_process, "in_this_process"),
            (self.helps, "helps", not self.runs_here, "runs_here=False"),
            (self.ends_itself, "ends_itself", not self.runs_here, "runs_here=False"),
            (self.waits_out, "waits_out", self.runs_here, "runs_here"),
            (self.begins_together, "begins_together", not self.runs_here, "runs_here=False"),
        ):
            if given and not needed:
                raise InvalidArgument(f"{flag} of a backend needs {other}")


def _without_workers(then: Callable[[], object]) -> None:
    """Nobody has to be sent home, so nobody is left who could call *then*."""


class Backend(ABC):
    """Runs jobs in slots.  The pool never gives it more jobs than it has slots.

    What is abstract each backend does, the rest as far as its `traits` say, or if it can.
    """

    traits: Traits
    #: the clock of waits and durations
    clock: Clock
    #: what an Observable that a job returned is subscribed with
    scheduler: abc.SchedulerBase | None = None
    #: of the items of one flow and of their results, where these are pickled
    max_bytes: int | None = None
    #: No job will come any more: end, and have the last worker call what is given.  For
    #: finalisers: it takes no lock, waits for nothing, and does not keep the runner.
    dismiss: Callable[[Callable[[], object]], None] = staticmethod(_without_workers)

    def __init_subclass__(cls, **options: Any) -> None:
        super().__init_subclass__(**options)
        traits: Traits | None = getattr(cls, "traits", None)
        if traits is None:
            return  # one that others are derived from
        for flag, method in (("helps", "help"), ("ends_itself", "end")):
            does = getattr(cls, method) is not getattr(Backend, method)
            if does is not getattr(traits, flag):
                raise InvalidArgument(
                    f"{cls.__name__}.traits.{flag} is {not does}, but it has "
                    f"{'a' if does else 'no'} method {method}()"
                )

    @property
    def default_slots(self) -> int:
        """How many slots there are if the user does not say: as many as there are CPUs."""
        return cpus()

    @property
    def abandoned(self) -> int:
        """How many workers still run what nobody waits for."""
        return 0

    @abstractmethod
    def bind(self, runner: Runner, slots: int) -> None:
        """Called once, before anything else."""

    @abstractmethod
    def start(self, jobs: Sequence[Any]) -> None:
        """Run each of *jobs* as soon as possible in a free slot; does not wait."""

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> Callable[[], object] | None:
        """Run what an ``async def`` returned, with the variables of *context*.

        Either call *done* before returning None, or answer how to cancel it and call
        *done* later.  Here: on an event loop of this thread, which is busy meanwhile.
        """
        try:
            value = run_here(awaitable, context)
        except BaseException as error:
            done(None, error)
        else:
            done(value, None)
        return None

    @abstractmethod
    def abandon(self, jobs: Sequence[Any]) -> int | None:
        """*jobs* are not wanted any more, and their slots are free: end them if possible.

        Answers how many workers are given up with them, if any.
        """

    def lend(self, jobs: Sequence[Any]) -> None:
        """*jobs* go on, but wait for others: their slots are free meanwhile.

        Here: nothing, as jobs that run elsewhere cannot use the pool.
        """

    def help(self, job: Any) -> None:
        """A job waits for *job*, which holds no slot: start it; only with `Traits.helps`."""

    def waits(self) -> None:
        """This thread, which called the runner, is going to wait for other jobs.

        Raises `WouldBlock` if that cannot come to an end.  Here: the thread is its own.
        """

    def look_at(self, jobs: Collection[Any]) -> None:
        """Set ``started`` of those of *jobs* that run and of which that is unknown.

        Here: none, the pool has been told.
        """

    def end(self, job: Any, error: BaseException) -> None:
        """End *job* with *error*; only with `Traits.ends_itself`."""

    def lane(self, job: Any) -> str | None:
        """What is called the worker that runs *job*, or ran it; None: it has no name."""
        return None

    def pids(self) -> list[int]:
        """The processes that run jobs."""
        return [os.getpid()]

    @abstractmethod
    def resize(self, slots: int) -> None:
        """Have another number of slots from now on."""

    @abstractmethod
    def stop(self, wait: float | None) -> None:
        """No job will come any more: end, and wait that many seconds (None: no limit)."""

    async def ended(self, wait: float) -> None:
        """After `stop`, on an event loop: let what was cancelled there clean up."""


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


class LocalBackend(Backend):
    """What backends have in common whose jobs run on threads of this process."""

    traits = Traits(runs_here=True, in_this_process=True)


def cpus() -> int:
    """How many CPUs this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this system
        return os.cpu_count() or 1
