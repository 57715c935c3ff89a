"""`Books`: the ledger of a pool under a lock, its flows, and who waits for what."""

import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeAlias

from rxpool._core.broadcast import Broadcast
from rxpool._log import log
from rxpool.backends import Backend
from rxpool.errors import PoolClosed
from rxpool.pool._binding import busy_here
from rxpool.pool._ledger import FlowLedger, Ledger, Task
from rxpool.pool._meter import Meter
from rxpool.pool._report import Counts
from rxpool.tasks import Progress

__all__ = ("Books", "Chores")

#: What is to be done once the lock is released: tasks to start, producers to wake.
Chores: TypeAlias = tuple[Sequence[Task], Sequence[Callable[[], object]]]


class Books:
    """Keeps the ledger.

    ``lock`` guards the ledger, the flows' ledgers and the bindings' own fields.  It is
    re-entrant for finalisers only.  It is not held while anything foreign runs: functions,
    subscribers, sources, schedulers; nor while the backend takes its own.  Whoever changed
    something under it asks for the `chores`, and carries them out when it is released.
    """

    def __init__(self, name: str, slots: int, backend: Backend) -> None:
        self.name = name
        self.backend = backend
        self.clock = backend.clock
        self.now = backend.clock.now
        self.lock = threading.RLock()
        self.changed = threading.Condition(self.lock)  # a flow ended
        self.ledger = Ledger(slots)
        self.flows: dict[Any, bool] = {}  # bindings, oldest first; opened by own tasks?
        self.past = Counts()  # of flows that ended
        self.standing: list[FlowLedger] = []  # of flows that come and go, with their counts
        self._ending: list[FlowLedger] = []
        self.faults: Broadcast[BaseException] = Broadcast("faults")
        self.progressed: Broadcast[Progress[Any]] = Broadcast("progress")
        lane = getattr(backend, "lane", None)
        self.meter = Meter(name, self.now, self.fault, self._listen, lane)
        self.when_changed: Callable[[], object] | None = None  # once, after a flow ended
        self.closing = False
        self.terminated = False
        self._acquire, self._release = self.lock.acquire, self.lock.release
        self._parked: dict[FlowLedger, list[Callable[[], object]]] = {}
        self._errands: list[Callable[[], object]] = []

    # -- flows ------------------------------------------------------------------------

    def check_open(self) -> None:
        """Refuse new work when the pool is closing, unless a task needs it to finish."""
        if self.closing and (self.terminated or not self.works_here()):
            raise PoolClosed(f"pool {self.name!r} is closed")

    def count_past(self) -> None:
        """Sum the flows that ended, once their last workers have counted.  Locked."""
        for flow in [flow for flow in self._ending if not flow.in_flight]:
            self._ending.remove(flow)
            self.past.add(flow)

    def sums(self) -> Counts:
        """What became of all items so far.  Locked."""
        ledgers = self.ledgers()
        sums = self.past.copy()
        for ledger in dict.fromkeys([*ledgers, *self.standing]):
            sums.add(ledger)
        return sums

    def ledgers(self) -> list[FlowLedger]:
        """Those of live flows, and of ended ones that are not in `past`.  Locked."""
        self.count_past()
        return [flow.ledger for flow in self.flows] + self._ending

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
        return any(busy.flow.ledger is self.ledger for busy in busy_here())

    # -- who waits for room -------------------------------------------------------------

    def on_room(self, flow: FlowLedger, resume: Callable[[], object]) -> bool:
        """Call *resume* once *flow* has room; False if it has."""
        with self.lock:
            # First in, then look: a worker makes room without the lock, then looks here.
            waiting = self._parked.setdefault(flow, [])
            waiting.append(resume)
            if not flow.has_room():
                return True
            waiting.remove(resume)
            if not waiting:
                del self._parked[flow]
            return False

    def _parked_to_errands(self, flow: FlowLedger) -> None:
        self._errands.extend(self._parked.pop(flow, ()))

    def tell_changed(self) -> None:
        """A flow ended: call `when_changed`, once the lock is released.  Locked."""
        if self.when_changed is not None:
            self._errands.append(self.when_changed)
            self.when_changed = None

    # -- metrics ------------------------------------------------------------------------

    def _listen(self, heard: bool) -> None:
        """Whether somebody wants to know what happens."""
        self.ledger.noting = heard

    def _note_down(self) -> None:
        """Have the meter tell what was noted, once the lock is released.  Locked."""
        ledger, meter = self.ledger, self.meter
        notes, ledger.notes = ledger.notes, []
        if notes:
            self._errands.append(partial(meter.tell, notes))
        now = self.now()
        if ledger.ring and not meter.due(now):
            return  # a look at levels now and then is enough while there is work
        flows = [binding.ledger for binding in self.flows] + self._ending
        active = ledger.slots - ledger.free  # also while a result is being delivered
        waiting = sum(len(flow.waiting) + len(flow.parked) + flow.allotted for flow in flows)
        if meter.note_levels(active, waiting, now):
            self._errands.append(meter.tell_levels)

    def pids(self) -> list[int]:
        """The processes that run tasks."""
        pids = getattr(self.backend, "pids", None)
        return [os.getpid()] if pids is None else pids()

    def replaced(self, reason: str) -> None:
        """See `Runner`."""
        self.meter.replaced(reason)

    # -- chores -------------------------------------------------------------------------

    def judge(self, task: Task, permit: int | None) -> None:
        """A parked task failed: find out what becomes of it."""
        raise NotImplementedError

    def see_to(self, flow: FlowLedger) -> None:
        """Something came out of *flow*: deliver it."""
        raise NotImplementedError

    def cut_off(self, tasks: Sequence[Task]) -> None:
        """The work of these is not wanted any more."""
        raise NotImplementedError

    def _collect(self) -> None:
        """What the ledger cannot do itself."""
        ledger = self.ledger
        failing, ledger.failing = ledger.failing, []
        resolved, ledger.resolved = ledger.resolved, []
        losers, ledger.losers = ledger.losers, []
        if losers:
            self._errands.append(partial(self.cut_off, losers))
        self._errands.extend(partial(self.see_to, flow) for flow in dict.fromkeys(resolved))
        self._errands.extend(dict.fromkeys(ledger.later))
        ledger.later.clear()
        self._errands.extend(partial(self.judge, task, permit) for task, permit in failing)

    def errand(self, call: Callable[[], object]) -> None:
        """Call *call* once the lock is released.  The lock is held."""
        self._errands.append(call)

    def chores(self) -> Chores | None:
        """What the change just made asks for, to be given to `carry_out`.  Locked."""
        ledger = self.ledger
        started = ledger.fill() if ledger.free > 0 and ledger.ring else ()
        if self._parked:
            for flow in [flow for flow in self._parked if flow.has_drained()]:
                self._parked_to_errands(flow)
        if ledger.noting or ledger.notes:
            self._note_down()
        if ledger.failing or ledger.later or ledger.resolved or ledger.losers:
            self._collect()
        if not started and not self._errands:
            return None
        errands, self._errands = self._errands, []
        return started, errands
