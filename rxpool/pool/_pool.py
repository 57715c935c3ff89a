"""`WorkerPool`: the public face."""

from collections.abc import Callable
from concurrent.futures import Executor
from itertools import count
from os import PathLike
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, NoReturn, Self, TypeAlias, Unpack

from reactivex import Observable, abc

from rxpool import _checks as checks
from rxpool._core.inlet import Node
from rxpool.backends import Backend, ProcessKeywords, backend_for
from rxpool.errors import InvalidArgumentType, NotPicklable
from rxpool.events import MetricEvent, Monitor
from rxpool.pool._direct import Direct
from rxpool.pool._engine.engine import Engine
from rxpool.pool._flows.calls import SubmitFlow
from rxpool.pool._flows.future import PoolFuture
from rxpool.pool._lifetime import Lifetime
from rxpool.pool._profile import Profile
from rxpool.pool._shutdown import Shutdown, left_by
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.report import FlowReport, PoolReport, counts_of
from rxpool.pool._stop_on import await_stop
from rxpool.tasks import Progress

if TYPE_CHECKING:
    from rxpool.metrics import AttemptRecord, Resources

__all__ = ("On", "WorkerPool", "host")

_numbers = count(1)


On: TypeAlias = (
    Literal["threads", "processes", "asyncio", "inline"]
    | Executor
    | abc.SchedulerBase
    | Backend
)


def host(pool: "WorkerPool", guest: Node) -> Callable[..., PoolFuture[Any]]:
    """Have *pool* cut *guest* and wait for it when it closes, abort it when it is terminated.

    What is answered submits the guest's calls, also while the pool is closing.

    Raises:
        PoolClosed: If the pool is closed.
    """
    engine, calls = pool._engine, pool._calls  # pyright: ignore[reportPrivateUsage]
    with engine.lock:
        engine.registry.check_open()
        engine.registry.guests.add(guest)

    def submit(fn: Callable[..., Any]) -> PoolFuture[Any]:
        return calls.submit(fn, (), {}, True)

    return submit


class WorkerPool(Direct):
    """Runs work in parallel, with bounds, and gives the results to streams.

    ::

        with WorkerPool(8) as pool:
            rx.from_iterable(urls).pipe(pool.map(fetch)).subscribe(save)

    A pool is a context manager, sync and async: leaving the block closes it, leaving it by
    an exception terminates it.  A pool that is open when the interpreter exits is closed, or
    terminated if Ctrl-C ended the program.

    It need not be kept.  As long as a call of it is not done, or a flow is open, it works on
    whether anybody refers to it or not.  An operator or a `MapWorker` made from it keeps it
    usable.  When there is none of these, and nothing refers to it, its workers end.

    With ``on="asyncio"`` in a running loop the block has to be an ``async with``: a ``with``
    that would have to wait for work at its end raises `WouldBlock` instead.

    Args:
        workers: How many tasks run at once; 1 or more.  By default the number of CPUs that
            the process may use and, for threads and asyncio, some more.
        on: Where tasks run: ``"threads"``, ``"processes"``, ``"asyncio"``, a
            `concurrent.futures.Executor`, a reactivex scheduler (virtual time included), or
            a backend object.  ``"inline"`` is one worker without a thread: each task runs at
            once, on the thread that brings it, where breakpoints and stacks are real ones.
            It cannot be interrupted there: a task that overran its time has failed with
            `TaskTimeout` when it returns.
        max_pending: How many items of a flow may wait, unless the flow says otherwise.
        name: For threads, processes, messages and logs.
        monitor: What gets all metric events, as a subscriber of `metrics` from the start:
            anything with ``on_next``, or a function.
        options: For processes, threads and inline: `initializer` and `initargs`, called in
            each process when it starts, or on each thread before its first task.  If it
            raises three times, what waits fails with `WorkerStartError`.  For processes
            only: `max_tasks_per_worker` and `max_memory_per_worker` (bytes), after which a
            process is replaced by a new one; `max_bytes` (48 MiB): as many items of a flow,
            and results, are held as have so many bytes by their pickled sizes, if that is less
            than `max_pending`, and at least one (None: no such bound; with
            ``overflow="block"``); `poison_after` (2): how many processes an item
            may kill before it fails with `PoisonItem` instead of being tried again;
            `process_groups` (True): each process leads a process group, and when it is
            killed or dies, so does all that its tasks have started and that is still in it.

    Raises:
        InvalidArgument: If an argument is out of range.
    """

    def __init__(
        self,
        workers: int | None = None,
        *,
        on: On = "threads",
        max_pending: int = 1024,
        name: str | None = None,
        monitor: Monitor | None = None,
        **options: Unpack[ProcessKeywords],
    ) -> None:
        if isinstance(workers, str):
            raise InvalidArgumentType(
                f"workers must be a whole number, got {workers!r}; did you mean on={workers!r}?"
            )
        if workers is not None:
            workers = checks.count("workers", workers, least=1)
        self._max_pending = checks.count("max_pending", max_pending)
        if name is not None and not isinstance(name, str):
            raise InvalidArgumentType(f"name must be a str, got {checks.shown(name)}")
        checks.sink("monitor", monitor)
        self.name = name or f"rxpool-{next(_numbers)}"
        backend = backend_for(on, self.name, options)
        self._engine = Engine(self.name, workers or backend.default_slots, backend)
        if monitor is not None:
            self._engine.telemetry.add(monitor)
        self._calls = SubmitFlow(
            self._engine, FlowState(self._engine.slots, max_pending=max_pending)
        )
        self._shutdown = Shutdown(self._engine)
        Lifetime(self._engine, self._shutdown).follow(self)

    def __repr__(self) -> str:
        state = "closed" if self._engine.registry.closing else "open"
        state = "of another process" if self._engine.registry.foreign else state
        return f"<WorkerPool {self.name!r} of {self.workers}, {state}>"

    @property
    def workers(self) -> int:
        """How many tasks run at once."""
        return self._engine.slots.total

    def resize(self, workers: int) -> None:
        """Run so many tasks at once from now on; what runs is not interrupted."""
        self._engine.resize(checks.count("workers", workers, least=1))

    @property
    def progress(self) -> Observable[Progress[Any]]:
        """What tasks tell with ``current_task().progress(fraction)``."""
        return self._engine.telemetry.progressed

    @property
    def faults(self) -> Observable[BaseException]:
        """Errors that belong to no item: those of subscribers, above all.

        They are logged too, whether anybody subscribes or not.
        """
        return self._engine.telemetry.faults

    @property
    def metrics(self) -> Observable[MetricEvent]:
        """What the pool measures, as it happens; hot, and completes when the pool is closed.

        `rxpool.metrics.METRICS` lists names and units.  Events come on the threads where they
        arise, so a subscriber should be quick, or hand over.  One that raises gets no more;
        its exception is on `faults`.  With nobody subscribed nothing is measured.

        ``rxpool.task.active`` tells changes: subscribe before there is work to know levels.
        """
        return self._engine.telemetry.metrics

    @property
    def attempts(self) -> "Observable[AttemptRecord]":
        """Every attempt when it has ended, with the worker it ran on: for `TraceWriter`."""
        return self._engine.telemetry.attempts

    # -- the state ----------------------------------------------------------------------

    def report(self) -> PoolReport:
        """What became of all items so far, summed and for each live flow."""
        engine = self._engine
        with engine.lock:
            sums = engine.registry.sums()
            flows = tuple(
                FlowReport(flow.name, **counts_of(flow.state)) for flow in engine.registry.flows
            )
        return PoolReport(
            self.name, **sums.sums, flows=flows, abandoned=engine.backend.abandoned
        )

    def profile(
        self, *, trace: str | PathLike[str] | None = None, every: checks.Seconds = 0.01
    ) -> Profile:
        """Find out what limits the pool: source, bounds, workers, a limit or the subscriber.

        The answer of this call is a context manager that looks at the pool every *every*
        seconds, which costs its tasks nothing, until its block ends; ask `Profile.bottleneck`.

        Args:
            trace: A file for `TraceWriter`: a lane for each worker, a slice for each attempt,
                to be opened with Perfetto or ``chrome://tracing``.
            every: Seconds or a timedelta, above 0.  In virtual time it looks only while there
                are flows, so open those first.

        Raises:
            InvalidArgument: If `every` is not above 0.
            OSError: If the file cannot be opened.
        """
        seconds = checks.duration("every", every, above=True)
        writer = None
        if trace is not None:
            from rxpool.metrics import TraceWriter  # which few programs ask for

            writer = TraceWriter(trace, name=self.name)
        return Profile(self._engine, writer, seconds)

    def resources(self) -> "dict[int, Resources]":
        """CPU time and memory of the pool's processes by pid; of this one if it has none.

        Subscribers of `metrics` are told as well.
        """
        return self._engine.telemetry.resources(self._engine.backend.pids())

    # -- the end ------------------------------------------------------------------------

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Finish what was accepted, then end.

        Sources are cut; what was accepted is finished; what batches, throttles and debounces
        between flows hold comes out in order; every stream completes; the workers end.
        Chains drain from the top.

        Args:
            timeout: Seconds (or a timedelta) after which the rest is terminated.

        Returns:
            Whether everything finished.  In virtual time, on a worker of the pool itself,
            and on the event loop that runs its work, nobody can wait: there it answers how
            things stand, and the pool ends when its work does.
        """
        return self._shutdown.close(checks.patience("timeout", timeout))

    def terminate(self) -> None:
        """End now: what waits is cancelled, what runs is cut off as far as possible.

        Every accepted item still gets its outcome, `TaskCancelled` for those.  A thread
        cannot be killed; its work runs on, and its result is dropped.
        """
        self._shutdown.terminate()

    def __reduce__(self) -> NoReturn:
        raise NotPicklable(
            f"pool {self.name!r} cannot be sent to another process; open one there"
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._shutdown.terminate(left_by(error))
        else:
            self._shutdown.leave_block()
        await_stop()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._shutdown.leave(error)
