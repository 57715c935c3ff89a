"""`Books`: the state of a pool under a lock, its flows, and who waits for what."""

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias
from weakref import WeakSet

from rxpool._core.broadcast import Broadcast
from rxpool._core.inlet import Node, giving
from rxpool._forks import afresh, bury
from rxpool._log import log
from rxpool.backends import Backend
from rxpool.errors import PoolClosed
from rxpool.pool._engine.binding import busy_here, here
from rxpool.pool._engine.foreign import ForeignBackend
from rxpool.pool._engine.telemetry import Meter
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.lifecycle import Lifecycle, State
from rxpool.pool._state.report import Counts
from rxpool.pool._state.slots import Slots
from rxpool.pool._state.task import Task
from rxpool.tasks import Progress

__all__ = ("Books", "Chores")

#: What is to be done once the lock is released: tasks to start, producers to wake.
Chores: TypeAlias = tuple[Sequence[Task], Sequence[Callable[[], object]]]


def _nobody_asks() -> None:
    """In place of what would like to know."""


class Books:
    """Keeps the state.

    ``lock`` guards the state, the flows' states and the bindings' own fields.  It is
    re-entrant for finalisers only.  It is not held while anything foreign runs: functions,
    subscribers, sources, schedulers; nor while the backend takes its own.  Whoever changed
    something under it asks for the `chores`, and carries them out when it is released.
    """

    def __init__(self, name: str, slots: int, backend: Backend) -> None:
        self.name = name
        self.backend = backend
        #: whether limits in time wait until a function has returned
        self.waits_out: bool = backend.traits.waits_out
        self.clock = backend.clock
        self.now = backend.clock.now
        self.lock = threading.RLock()
        self.changed = afresh(threading.Condition(self.lock))  # a flow ended
        self.slots = Slots(slots)
        self.effects = self.slots.effects
        self.slots.max_bytes = backend.max_bytes
        self.flows: dict[Any, bool] = {}  # bindings, oldest first; opened by own tasks?
        self.past = Counts()  # of flows that ended
        self.standing: list[FlowState] = []  # of flows that come and go, with their counts
        self._ending: list[FlowState] = []
        self.faults: Broadcast[BaseException] = Broadcast("faults")
        self.progressed: Broadcast[Progress[Any]] = Broadcast("progress")
        self.meter = Meter(name, self.now, self.fault, self._listen, backend.lane)
        self.lifecycle: Lifecycle[Any] = Lifecycle()
        self.changes = 0  # counts what `changed` tells of
        self.when_changed: list[Callable[[], object]] = []  # each is called once
        self.tails: dict[Node, None] = {}  # stages below flows, for a closing pool
        self.guests: WeakSet[Node] = WeakSet()  # what runs its calls on this pool
        self.blocked: Any = None  # the event loop of a thread that waits for the pool's end
        # Called when the first flow comes, and when none is left.  Locked.
        self.busy: Callable[[], object] = _nobody_asks
        self.quiet: Callable[[], object] = _nobody_asks
        self.why_closed = ""  # for messages, with a colon in front
        #: in a forked child: why the pool is of no use there
        self.foreign: str | None = None
        self._process = os.getpid()
        self._acquire, self._release = self.lock.acquire, self.lock.release
        self.waiting_producers: dict[FlowState, list[Callable[[], object]]] = {}
        self._errands: list[Callable[[], object]] = []

    def forked(self) -> None:
        """This is a child: the pool is the parent's, and nothing here works any more.

        Nobody is told of that who does not ask.  What the books hold is taken out of them
        where it is, as the thread that forked may be a worker on its way through them.
        """
        why = (
            f"pool {self.name!r} belongs to process {self._process} and was inherited through "
            "a fork: open another one in this process"
        )
        self.foreign = self.foreign or why
        self.lifecycle.enter("terminated")
        bury(self.backend, self.flows, self.tails, self.waiting_producers, self._errands)
        bury(self.when_changed)
        self.backend = ForeignBackend(self.clock, self.foreign)
        self.when_changed.clear()
        self.tails.clear()
        self.guests.clear()
        self.busy = self.quiet = _nobody_asks
        states = dict.fromkeys([*self.standing, *self._ending])
        bindings = dict.fromkeys([*self.flows, *(state.binding for state in states)])
        self.flows.clear()
        self._ending.clear()
        self.waiting_producers.clear()
        self._errands.clear()
        for binding in bindings:
            binding.forked(self.foreign)
            binding.state.forsake()
        self.slots.forsake()
        for stream in (self.faults, self.progressed):
            stream.forked()
        self.meter.forked()

    # -- the end ----------------------------------------------------------------------

    @property
    def closing(self) -> bool:
        """Whether no new work is taken."""
        return self.lifecycle.state != "open"

    @property
    def terminated(self) -> bool:
        """Whether what was accepted was cancelled."""
        return self.lifecycle.hard

    def advance(self, state: State) -> bool:
        """The pool is in *state* from now on; False if it is there or further already."""
        with self.lock:
            return self.lifecycle.enter(state)

    # -- flows ------------------------------------------------------------------------

    def check_open(self, admitted: bool = False) -> None:
        """Refuse new work when the pool is closing, unless what it accepted needs that."""
        if self.closing and (self.terminated or not (admitted or self.brings_here())):
            raise PoolClosed(self.foreign or f"pool {self.name!r} is closed{self.why_closed}")

    def enter(self, binding: Any, nested: bool) -> None:
        """There is a flow more.  Locked."""
        if not self.flows:
            self.busy()
        self.flows[binding] = nested

    def remove(self, binding: Any) -> bool:
        """A flow ended; False if it is unknown.  Locked."""
        if self.flows.pop(binding, None) is None:
            return False
        if not self.flows:
            self.quiet()
        return True

    def count_past(self) -> None:
        """Sum the flows that ended, once their last workers have counted.  Locked."""
        for flow in [flow for flow in self._ending if not flow.counts.in_flight]:
            self._ending.remove(flow)
            self.past.add(flow)

    def retire(self, flow: FlowState) -> None:
        """A standing flow ended: no more of it is kept than its counts.  Locked."""
        if flow in self.standing:
            self.standing.remove(flow)
            self.past.add(flow)

    def sums(self) -> Counts:
        """What became of all items so far.  Locked."""
        states = self.states()
        sums = self.past.copy()
        for state in dict.fromkeys([*states, *self.standing]):
            sums.add(state)
        return sums

    def states(self) -> list[FlowState]:
        """Those of live flows, and of ended ones that are not in `past`.  Locked."""
        self.count_past()
        return [flow.state for flow in self.flows] + self._ending

    def fault(self, where: str, error: BaseException) -> None:
        """Publish an error that belongs to no item."""
        log.error("uncaught exception", pool=self.name, where=where, exc_info=error)
        self.faults.send(error)

    def progress(self, task: Task, fraction: float) -> None:
        """A task told how far it is."""
        if not task.settled:
            self.progressed.send(Progress(task.flow.binding.subject(task), fraction))

    def works_here(self) -> bool:
        """Whether the caller works for a task of this pool."""
        if self.foreign is not None:
            return False
        return any(busy.flow.slots is self.slots for busy in busy_here())

    def brings_here(self) -> bool:
        """Whether the caller has something in hand that this pool accepted."""
        if self.works_here() or self.delivers_here():
            return True
        return any(stage in self.tails for stage in giving.stages)

    def delivers_here(self) -> bool:
        """Whether the caller is given something by a flow of this pool."""
        return any(flow.slots is self.slots for flow in here.flows)

    # -- who waits for room -------------------------------------------------------------

    def on_room(self, flow: FlowState, resume: Callable[[], object]) -> bool:
        """Call *resume* once *flow* has room; False if it has."""
        with self.lock:
            # First in, then look: a worker makes room without the lock, then looks here.
            waiting = self.waiting_producers.setdefault(flow, [])
            waiting.append(resume)
            if not flow.capacity.has_room():
                return True
            waiting.remove(resume)
            if not waiting:
                del self.waiting_producers[flow]
            return False

    def release_producers(self, flow: FlowState) -> None:
        self._errands.extend(self.waiting_producers.pop(flow, ()))

    def tell_changed(self) -> None:
        """Something ended: tell who waits for that, once the lock is released.  Locked."""
        self.changes += 1
        self.changed.notify_all()
        self._errands += self.when_changed
        self.when_changed.clear()

    # -- metrics ------------------------------------------------------------------------

    def _listen(self, heard: bool) -> None:
        """Whether somebody wants to know what happens."""
        self.effects.recording = heard

    def _note_down(self) -> None:
        """Have the meter tell what was noted, once the lock is released.  Locked."""
        slots, meter, effects = self.slots, self.meter, self.effects
        notes, effects.notes = effects.notes, []
        if notes:
            self._errands.append(partial(meter.tell, notes))
        now = self.now()
        if slots.ring and not meter.due(now):
            return  # a look at levels now and then is enough while there is work
        flows = [binding.state for binding in self.flows] + self._ending
        active = slots.total - slots.free  # also while a result is being delivered
        waiting = sum(len(flow.waiting) + len(flow.parked) + flow.reserved for flow in flows)
        if meter.note_levels(active, waiting, now):
            self._errands.append(meter.tell_levels)

    def pids(self) -> list[int]:
        """The processes that run tasks."""
        return self.backend.pids()

    def replaced(self, reason: str) -> None:
        """See `Runner`."""
        self.meter.replaced(reason)

    # -- chores -------------------------------------------------------------------------

    def errand(self, call: Callable[[], object]) -> None:
        """Call *call* once the lock is released.  The lock is held."""
        self._errands.append(call)
