"""What a backend knows of jobs, and what it calls to have them run and settled."""

from collections.abc import Callable, Sequence
from contextvars import Context
from typing import Any, Final, NamedTuple, Protocol

from rxpool.tasks import Handle

__all__ = (
    "SEVERAL",
    "Chunk",
    "ChunkRunner",
    "FlowNotes",
    "Job",
    "Reports",
    "Runner",
    "ThreadRunner",
)

#: the value of a job whose results were given one by one to `ChunkRunner.part`
SEVERAL: Final[Any] = object()


class FlowNotes(Protocol):
    """The flow of a job: of no interest, but for a note of the backend's own."""

    @property
    def note(self) -> Any:
        """The note; None: there is none yet."""

    def remember(self, note: Any) -> None:
        """Keep a note."""


class Job(Protocol):
    """One attempt at an item, as a backend sees it.

    A backend reads the fields, and reports by the methods what became of the job.  What runs
    on threads of this process is reported by `ThreadRunner` itself.
    """

    item: Any  #: the argument of all but the first job of a chunk
    context: Context | None  #: the variables to run in
    flow: FlowNotes
    settled: bool  #: it is over: it was cancelled, or its result was taken
    note: Any  #: what the backend remembers of it
    started: Any  #: since when it runs; None: it does not
    took: Any  #: seconds
    value: Any  #: the result, or `SEVERAL`
    error: BaseException | None

    def handed(self, note: Any, at: float | None = None) -> None:
        """The backend has it, with this *note*; it runs there since *at*, if that is known."""

    def began(self, at: float | None) -> None:
        """It runs since *at*; None: it does not after all."""

    def ended(self, value: Any, error: BaseException | None, took: float) -> None:
        """How it ended, and after how many seconds; then `Reports.finish` is called."""

    def killed_worker(self) -> int:
        """It has taken a worker with it: how many by now, earlier attempts included."""
        ...


class Reports(Protocol):
    """What every backend may tell.  The errors of users never come out of a runner."""

    def fault(self, where: str, error: BaseException) -> None:
        """Publish an error that belongs to no job."""

    def replaced(self, reason: str) -> None:
        """A worker is gone, and another takes its place."""

    def lost(self, reason: str) -> None:
        """No job will ever run any more: everything is cancelled, the pool is closed."""

    def failed(self, task: Any, error: BaseException) -> None:
        """A job has failed; `finish` is called then."""

    def finish(
        self, tasks: Sequence[Any], rest: Sequence[Any], go_on: Callable[[Any], object]
    ) -> None:
        """Jobs of a slot ended; *rest* run there next.

        Of each is known how it ended (`Job.ended`, `failed` or `ChunkRunner.ran`) and, if it
        ran, since when and how long.  *go_on* is given another one for the slot, or None.  Then
        results are delivered, which takes as long as subscribers like.
        """


class ThreadRunner(Reports, Protocol):
    """What backends call whose jobs run on the thread that calls this."""

    def perform(self, task: Any, note: Any = None) -> Any:
        """Run a job on this thread; answers the next one for the same slot, if any."""

    def work(self, task: Any, note: Any) -> None:
        """Run a job on this thread, and others while there are any for the same slot.

        Each has *note* set while it runs.
        """


class Chunk(NamedTuple):
    """Jobs that run one after another in one slot: a function, and an argument for each."""

    function: Callable[[Any], Any]
    jobs: list[Any]
    items: list[Any]
    #: `ChunkRunner.weighed` is to be called if an item has so many bytes, pickled
    weighs_from: float


class ChunkRunner(Reports, Protocol):
    """What backends call that run jobs elsewhere: one by one, or in chunks."""

    def begin(self, task: Any) -> tuple[Callable[[Any], Any], Any] | None:
        """The function and the argument of a job; None if it is not wanted any more."""

    def started(self, task: Any, at: float) -> None:
        """A job that was begun runs since *at*."""

    def next_chunk(self, task: Any, most: int) -> Chunk | None:
        """A slot is going to run *task*, and up to *most* - 1 others of its flow after it.

        None if it is not wanted any more.  `Backend.look_at` tells when they run.
        """

    def more(self, task: Any, most: int, fairly: bool = True) -> list[Any]:
        """Up to *most* others of the flow of *task*, to be run in the same slot after it.

        Their arguments are their ``item``.  *fairly*: the other slots get as many.
        """
        ...

    def give_back(self, chunk: Sequence[Any]) -> None:
        """Jobs of `next_chunk` or `more` that were not run."""

    def ran(
        self, tasks: Sequence[Any], values: Sequence[Any], begun: float, ends: Sequence[float]
    ) -> list[Any]:
        """Jobs ran one after another since *begun*, and had ended with *values* by *ends*.

        It stands for a `Job.began` and a `Job.ended` of each.  Those that are None are left
        out, all others answered.  The value of one that has `failed` is of no interest.
        """
        ...

    def weighed(self, task: Any, items: int, size: int, results: bool = False) -> None:
        """So many items of the flow of *task*, or their results, had *size* bytes, pickled."""

    def part(self, task: Any, value: Any) -> None:
        """A job that gives several results gave one."""

    def progress(self, task: Any, fraction: float) -> None:
        """A job told how far it is."""

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


class Runner(ThreadRunner, ChunkRunner, Protocol):
    """What a pool gives to `Backend.bind`, which takes the half that it calls."""
