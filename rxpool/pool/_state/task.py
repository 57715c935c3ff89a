"""`Task`: one attempt at an item on its way through a flow."""

from collections import deque
from typing import Any, Final

from rxpool.errors import TaskCancelled

__all__ = (
    "BEHIND",
    "LEADS",
    "NOT_YET",
    "NO_EXTRA",
    "PLACED",
    "READY",
    "Extra",
    "Part",
    "Task",
    "Withdrawn",
    "again",
    "again_in_part",
    "done_in_part",
    "start_of",
)

# Of a task's place in the order of results, as bits.
PLACED: Final = 1  #: it has one
BEHIND: Final = 2  #: the same; it came with one before it, and counts together with that
LEADS: Final = 8  #: others came with it, so it counts for them
READY: Final = 4  #: it is done, and can be fetched when its turn comes

NOT_YET: Final[Any] = None  #: in the place of a time or a result that is still to come


class Withdrawn(TaskCancelled):
    """The user took the item back at the moment when a worker took it."""


class Extra:
    """What only some tasks have: those that a policy, a limit in time or a log looks at."""

    __slots__ = (
        "asked",
        "collected",
        "crashes",
        "ending",
        "hedged",
        "held",
        "inner",
        "journalled",
        "number",
        "parts",
        "refused",
        "rival",
        "spent",
        "ticket",
        "unclaimed",
    )

    def __init__(self) -> None:
        self.ticket: Any = None  #: its place in the line of a limit, or why it can have none
        #: its id in the journal and, if it was finished, its result in a tuple; or what failed
        self.journalled: tuple[Any, Any] = (None, None)
        self.asked: float | None = None  #: when it first asked a limit that made it wait
        self.held: float | None = None  #: seconds that it waited for a limit
        self.refused = 0  #: how often a breaker let it not start
        self.spent: float | None = None  #: seconds of the attempts before this one
        self.crashes = 0  #: how many workers it has killed
        self.hedged = False  #: there is, or was to be, a second run
        self.rival: Any = None  #: the other run of the same item, until that is over
        self.unclaimed = False  #: its key was let go already
        self.ending = False  #: the backend was told to end it, and has not yet
        self.number: int | None = None  #: in the log
        self.inner: Any = None  #: cancels what the function left running
        self.parts: deque[Any] | None = None  #: ordered: results so far of an Observable
        self.collected: list[Any] | None = None  #: results of an Observable, kept together

    @property
    def has_more(self) -> bool:
        """Whether there is more to tell of its task than when it started and ended."""
        return self.spent is not None or self.held is not None


class _NoExtra(Extra):
    """What all tasks share that have none of that: it is not written."""

    __slots__ = ()

    def __setattr__(self, name: str, value: Any) -> None:
        if hasattr(self, name):
            raise AttributeError(f"{name} is of a task's own extra only, see Task.own")
        super().__setattr__(name, value)


NO_EXTRA: Final[Extra] = _NoExtra()


class Task:
    """One attempt at an item on its way through a flow.

    What becomes of it is written by `FlowState`, by `Slots` (whether it has a slot) and by the
    runners, which write it out where every call counts; all others call the methods here.
    """

    __slots__ = (
        "accepted",
        "attempts",
        "cancelled",
        "context",
        "error",
        "extra",
        "flow",
        "future",
        "item",
        "key",
        "note",
        "permit",
        "placed",
        "rank",
        "running",
        "settled",
        "slot",
        "started",
        "took",
        "value",
    )

    def __init__(self, flow: Any, item: Any, now: float, context: Any = None) -> None:
        self.flow = flow
        self.item = item
        self.accepted = now
        self.attempts = 0
        #: None: done, but counted as running until its worker stops (`ThreadRunner`)
        self.running: bool | None = False
        self.slot = False  # holds a slot of the pool
        self.placed = 0  # in the order of results: the bits above
        self.settled = False
        self.cancelled = False
        self.started: float = NOT_YET
        self.took: float = NOT_YET
        self.value: Any = NOT_YET
        self.error: BaseException | None = None
        self.context = context  # of variables, to be run in; None: there are none
        self.note: Any = None  # what the backend remembers of it
        self.permit: int | None = None  # of a breaker, for the attempt that runs
        self.key: Any = None  # in order of keys
        self.rank: tuple[float, ...] = NOT_YET  # what comes first when tasks are sorted
        self.future: Any = None  # of one result
        self.extra = NO_EXTRA

    def own(self) -> Extra:
        """Its own extra, to be written to; what a gate has seen has one."""
        extra = self.extra
        if extra is NO_EXTRA:
            extra = self.extra = Extra()
        return extra

    # -- before it starts -----------------------------------------------------------------

    def answer_to(self, future: Any) -> None:
        """Its outcome is that of *future*."""
        self.future = future

    def accepted_at(self, now: float) -> None:
        """It had to wait for room: what is told of it counts from *now* on."""
        self.accepted = now

    def stand_at(self, key: Any, rank: tuple[float, ...]) -> None:
        """Where it stands among others that wait: one of its *key* at a time, by *rank*."""
        self.key, self.rank = key, rank

    def take_place(self, place: int = PLACED) -> None:
        """It has a place in the order of results; *place* says which, PLACED or BEHIND."""
        self.placed = place

    @property
    def may_lead(self) -> bool:
        """Whether it counts among those that are not done, and so far for itself alone."""
        return self.placed == PLACED

    def lead(self) -> None:
        """Others that come with it have their places, and count together with it."""
        self.placed |= LEADS

    def be_ready(self) -> None:
        """All that becomes of it is written: it can be fetched when its turn comes."""
        self.placed |= READY

    def leave_place(self) -> None:
        """It runs beside the task that has the place of its item."""
        self.placed = 0

    def admit(self, permit: int) -> None:
        """A gate lets it start, with this *permit*."""
        self.permit = permit

    def take_permit(self) -> int | None:
        """The permit of the attempt, if it has one, to be given back or used up: once."""
        permit, self.permit = self.permit, None
        return permit

    # -- what the backend reports: see `rxpool.backends.Job` -----------------------------------

    def handed(self, note: Any, at: float | None = None) -> None:
        """The backend has it, with this *note*; it runs there since *at*, if that is known."""
        self.note = note
        if at is not None:
            self.started = at

    def began(self, at: float | None) -> None:
        """Its function runs since *at*; None: it does not after all."""
        self.started = at  # type: ignore[assignment]

    def ended(self, value: Any, error: BaseException | None, took: float) -> None:
        """How its function ended, and after how many seconds; a runner settles it."""
        self.value, self.error, self.took = value, error, took

    def killed_worker(self) -> int:
        """It has taken a worker with it: how many by now, earlier attempts included."""
        extra = self.own()
        extra.crashes += 1
        return extra.crashes

    # -- while it runs, and how it ends ----------------------------------------------------

    def go_on(self, cancel: Any) -> None:
        """Its function has returned and left something running, which *cancel* ends."""
        self.own().inner = cancel

    def take_inner(self) -> Any:
        """What ends that; None: there is nothing, or it was taken."""
        extra = self.extra
        inner = extra.inner
        if inner is not None:
            extra.inner = None
        return inner

    def joined_by(self, other: "Task") -> None:
        """A second run of the item begins: both are attempts at it."""
        self.attempts = other.attempts

    def ran_behind(self) -> None:
        """It ran behind another in the same chunk, and nobody saw it begin."""
        self.attempts += 1

    def did_not_begin(self) -> None:
        """Its attempt is taken back."""
        self.attempts -= 1

    def await_commit(self, value: Any, now: float) -> None:
        """It ran until *now*, and this result is to be written before it is settled."""
        self.running = None
        self.value, self.error = value, None
        self.took = max(0.0, now - start_of(self, now))

    def committed(self) -> None:
        """Its result is written."""
        self.settled = True

    def not_attempted(self) -> None:
        """Its function was not called, though a worker had it, or was going to."""
        self.attempts = 0

    def give_up(self) -> None:
        """It is over, and another run of the item gives the outcome."""
        self.settled = True

    def succeed(self, value: Any) -> None:
        """It has this result, without an attempt or in the place of one that failed."""
        self.settled = True
        self.value, self.error = value, None
        self.took_no_time()

    def fail(self, error: BaseException, now: float | None = None) -> int | None:
        """Its attempt failed, or there will be none; answers the permit, as `take_permit`.

        It ran until *now*; None: it did not run, or that is noted already.
        """
        self.settled = True
        self.error = error
        if now is not None:
            self.took = max(0.0, now - start_of(self, now))
        permit, self.permit = self.permit, None
        return permit

    def took_no_time(self) -> None:
        """It did not run, unless the time that it took is known."""
        if self.took is NOT_YET:
            self.took = 0.0

    def cancel(self, error: BaseException, now: float | None) -> None:
        """It is given up; it ran until *now*, None: it did not run."""
        self.settled = self.cancelled = True
        self.error = error
        if now is not None:
            self.took = max(0.0, now - start_of(self, now))
        else:
            self.took_no_time()


def start_of(task: Task, now: float) -> float:
    """When it started, or would if it did now."""
    return now if task.started is NOT_YET else task.started


def again(task: Task, beside: bool = False) -> Task:
    """The same item for another attempt: what is still to come of the one before is not it.

    With *beside* that one goes on, and so does its time.
    """
    context = None if task.context is None else task.context.copy()
    other = Task(task.flow, task.item, task.accepted, context)
    other.attempts = task.attempts
    other.placed = task.placed & ~READY
    other.key, other.rank, other.future = task.key, task.rank, task.future
    before, extra = task.extra, other.own()
    extra.spent = before.spent or 0.0
    if not beside:
        extra.spent += task.took or 0.0
    extra.ticket, extra.journalled = before.ticket, before.journalled
    extra.refused, extra.crashes = before.refused, before.crashes
    extra.number = before.number
    return other


def again_in_part(task: Task, item: Any, number: int) -> Task:
    """Some of the items of a batch that ran, to be tried again: *number* is among others."""
    part = again(task)
    part.item = item
    if task.rank is not NOT_YET:
        part.rank = *task.rank, number
    return part


def done_in_part(task: Task, item: Any, number: int) -> Task:
    """The others, which are done: this tells of the attempt that was made."""
    part = again_in_part(task, item, number)
    part.extra.spent = task.extra.spent
    part.took, part.started = task.took, task.started
    return part


class Part:
    """One result of a task that gives several, on its way out."""

    __slots__ = ("value",)

    def __init__(self, value: Any) -> None:
        self.value = value
