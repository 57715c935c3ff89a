"""`Registry`: the flows of a pool, those that have ended, and whether it takes new work."""

import os
import threading
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from rxpool._core.inlet import Node, giving
from rxpool._forks import afresh, bury
from rxpool.errors import PoolClosed
from rxpool.pool._engine.binding import busy_here, here
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.lifecycle import Lifecycle, State
from rxpool.pool._state.report import Counts
from rxpool.pool._state.slots import Slots

__all__ = ("Registry",)


def _nobody_asks() -> None:
    """In place of what would like to know."""


class Registry:
    """Knows what is open; the engine's *lock* guards it."""

    def __init__(self, name: str, slots: Slots, lock: Any) -> None:
        self.name = name
        self._slots = slots
        self._lock = lock
        self.changed = afresh(threading.Condition(lock))  # a flow ended
        self.flows: dict[Any, bool] = {}  # bindings, oldest first; opened by own tasks?
        self.past = Counts()  # of flows that ended
        self.standing: list[FlowState] = []  # of flows that come and go, with their counts
        self._ending: list[FlowState] = []
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

    # -- whether work is taken ----------------------------------------------------------

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
        with self._lock:
            return self.lifecycle.enter(state)

    def check_open(self, admitted: bool = False) -> None:
        """Refuse new work when the pool is closing, unless what it accepted needs that."""
        if self.closing and (self.terminated or not (admitted or self.brings_here())):
            raise PoolClosed(self.foreign or f"pool {self.name!r} is closed{self.why_closed}")

    def works_here(self) -> bool:
        """Whether the caller works for a task of this pool."""
        if self.foreign is not None:
            return False
        return any(busy.flow.slots is self._slots for busy in busy_here())

    def brings_here(self) -> bool:
        """Whether the caller has something in hand that this pool accepted."""
        if self.works_here() or self.delivers_here():
            return True
        return any(stage in self.tails for stage in giving.stages)

    def delivers_here(self) -> bool:
        """Whether the caller is given something by a flow of this pool."""
        return any(flow.slots is self._slots for flow in here.flows)

    # -- flows ------------------------------------------------------------------------

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

    def end(self, binding: Any) -> None:
        """A flow ended; its counts are kept.  Locked."""
        if self.remove(binding):
            self._ending.append(binding.state)
        self.count_past()

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

    def tell_changed(self) -> None:
        """Something ended: tell who waits for that, once the lock is released.  Locked."""
        self.changes += 1
        self.changed.notify_all()
        self._slots.effects.calls += self.when_changed
        self.when_changed.clear()

    def forked(self) -> list[Any]:
        """This is a child: the pool is the parent's.  What it had open; nothing is any more.

        It is taken out where it is, as the thread that forked may be on its way through it.
        """
        self.foreign = self.foreign or (
            f"pool {self.name!r} belongs to process {self._process} and was inherited through "
            "a fork: open another one in this process"
        )
        self.lifecycle.enter("terminated")
        bury(self.flows, self.tails, self.when_changed)
        states = dict.fromkeys([*self.standing, *self._ending])
        bindings = list(dict.fromkeys([*self.flows, *(state.binding for state in states)]))
        for each in (self.when_changed, self.tails, self.guests, self.flows, self._ending):
            each.clear()
        self.busy = self.quiet = _nobody_asks
        return bindings
