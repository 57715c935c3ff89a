"""How a pool ends: graceful or at once."""

import asyncio
from collections.abc import Collection
from functools import partial
from time import monotonic
from typing import Any

from reactivex.disposable import SerialDisposable

from rxpool._core.aside import aside
from rxpool._core.inlet import Node, watch
from rxpool._core.reach import is_node
from rxpool._core.sleeper import Sleeper
from rxpool._core.waits import at_most
from rxpool.errors import PoolClosed, WouldBlock
from rxpool.pool._engine.engine import Engine
from rxpool.pool._engine.graph import is_stage

__all__ = ("Shutdown", "left_by")

#: seconds between looks at operators that hold items; many of them before patience ends, so
#: that it lasts longer on a machine on which threads wait long for their turn
_OFTEN, _STILL, _SELDOM = 0.005, 0.02, 0.2
_UNTOLD = 0.5  #: seconds for the end of what fed a flow to come to it, items in front
_SOON = 2.0  #: seconds for what feeds one another, or belongs to others, to come to rest
_PATIENCE = 600.0  #: seconds for one of them to hand something on
_FOR_EVER = 1e9  #: the same in virtual time, where nobody waits
_GRACE = 1.0  #: seconds that `terminate` waits for subscribers and idle threads


class Shutdown:
    """Closes and terminates one engine.

    The engine's `Lifecycle` decides what is to be cut when, by what the `Graph` shows; the
    engine's lock guards it, and the fields here.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watched: set[Node] = set()
        self._looking = False  # an alarm is set for a look at what holds items
        self._wait, self._waited = _OFTEN, 0.0
        self._timer = SerialDisposable()
        self._ended = False
        self._over = False  # that has been done, whoever did it

    # -- graceful -------------------------------------------------------------------------

    def close(self, timeout: float | None) -> bool:
        """See `WorkerPool.close`."""
        engine = self._engine
        if engine.foreign is not None:
            return True  # a forked child, which has nothing to wait for
        deadline = None if timeout is None else monotonic() + timeout
        engine.advance("draining")
        if not self._may_wait():
            return self._close_without_waiting()
        try:
            finished = self._drain(deadline)
        except BaseException as error:  # Ctrl-C, or what the handler of a signal raises
            self.terminate(f"was interrupted by {type(error).__name__} while it was closing")
            raise
        if not finished:
            self.terminate(f"did not finish within close(timeout={timeout:g})")
        self._end(None if deadline is None else max(0.0, deadline - monotonic()))
        return finished

    def leave_block(self) -> None:
        """Close at the end of a ``with``; where that would have to wait and must not, raise.

        Streams end with that error too, as whoever listens to them may take what came for
        all; calls that are not done are cancelled, so that nothing goes on after the block.

        Raises:
            WouldBlock: If work was left that only this thread's event loop could finish.
        """
        engine = self._engine
        if engine.foreign is not None:
            return
        if self.close(None) or engine.works_here() or engine.clock.virtual:
            return
        try:
            engine.backend.waits()
        except WouldBlock as error:
            with engine.lock:
                flows = list(engine.flows)
            engine.cancel(flows, error)
            raise

    @property
    def ended(self) -> bool:
        """Whether the workers were told to end."""
        return self._ended

    def finish(self) -> None:
        """End what has no work, and that nobody can give any."""
        if self._engine.foreign is None:
            self._end(_GRACE)

    async def leave(self, by: BaseException | None) -> None:
        """Close or terminate from a coroutine, without blocking its loop."""
        if self._engine.foreign is not None:
            return
        if self._may_wait():
            await self._leave_by_thread(by)
            return
        if by is not None:
            self.terminate(left_by(by))
            await self._see_tails_off(left_by(by))
        elif self._engine.works_here() or self._engine.clock.virtual:
            self._engine.advance("draining")
            self._close_without_waiting()
            return
        else:
            try:
                await self._drain_here()
            except BaseException as error:
                self.terminate(left_by(error))
                await self._see_tails_off(left_by(error))
                raise
            self._end(0.0)
        await self._engine.backend.ended(_GRACE)

    async def _leave_by_thread(self, by: BaseException | None) -> None:
        """Subscribers are called, and may wait, on another thread than that of the loop."""
        if by is not None:
            await aside(partial(self.terminate, left_by(by)))
            return
        closing = asyncio.ensure_future(aside(partial(self.close, None)))
        try:
            await asyncio.shield(closing)
        except asyncio.CancelledError as error:
            # With nothing left to wait for the thread comes to its end.
            await asyncio.shield(aside(partial(self.terminate, left_by(error))))
            raise

    # -- at once --------------------------------------------------------------------------

    def terminate(self, reason: str = "was terminated") -> None:
        """See `WorkerPool.terminate`."""
        engine = self._engine
        if engine.foreign is not None:
            return
        may_wait = self._may_wait()
        engine.lost(f"pool {engine.name!r} {reason}")
        if may_wait:
            self._drain(monotonic() + _GRACE)
            self._abort_tails(reason)
            self._end(_GRACE)
        else:
            if not engine.clock.virtual:  # somebody has to, where this thread cannot wait
                due = engine.now() + _GRACE
                engine.clock.alarm(due, lambda _: self._abort_tails(reason))
            self._end(0.0)

    def _abort_tails(self, reason: str) -> None:
        """Stages that go on giving what they hold have had time enough."""
        engine = self._engine
        with engine.lock:
            tails = [tail for tail in engine.tails if tail.ending]
        for tail in tails:
            tail.abort(PoolClosed(f"pool {engine.name!r} {reason}"))

    async def _see_tails_off(self, reason: str) -> None:
        """The same from a coroutine, which can wait where `terminate` could not."""
        engine = self._engine
        sleeper = Sleeper()
        until = monotonic() + _GRACE
        try:
            while (left := until - monotonic()) > 0:
                with engine.lock:
                    if not any(tail.ending for tail in engine.tails):
                        return
                    engine.when_changed.append(sleeper.wake)
                await sleeper.sleep(left)
        finally:
            self._abort_tails(reason)

    # -- waiting ----------------------------------------------------------------------------

    def _may_wait(self) -> bool:
        engine = self._engine
        if engine.works_here() or engine.delivers_here() or engine.clock.virtual:
            return False
        try:
            engine.backend.waits()
        except WouldBlock:
            return False
        return True

    def _drain(self, deadline: float | None) -> bool:
        """Wait until everything has ended; whether that came before *deadline*."""
        engine = self._engine
        engine.blocked = loop = asyncio._get_running_loop()
        try:
            while True:
                seen = engine.changes
                self._cut_what_is_next()
                with engine.lock:
                    if engine.changes != seen:
                        continue
                    if self._is_drained(loop, True):
                        return True
                    left = None if deadline is None else deadline - monotonic()
                    if left is not None and left <= 0:
                        return False
                    engine.changed.wait(at_most(left))
        finally:
            engine.blocked = None

    async def _drain_here(self) -> None:
        """Wait on this thread's loop until everything has ended."""
        engine = self._engine
        sleeper = Sleeper()
        engine.advance("draining")
        while True:
            seen = engine.changes
            self._cut_what_is_next()
            with engine.lock:
                if engine.changes != seen:
                    continue
                if self._is_drained(None, False):
                    return
                engine.when_changed.append(sleeper.wake)
            await sleeper.sleep()

    def _close_without_waiting(self) -> bool:
        engine = self._engine

        def go_on() -> bool:
            while True:
                seen = engine.changes
                self._cut_what_is_next()
                with engine.lock:
                    if engine.changes != seen:
                        continue
                    if self._is_drained(None, False):
                        break
                    engine.when_changed.append(go_on)
                    return False
            self._end(0.0)
            return True

        return go_on()

    def _is_drained(self, loop: Any, waits: bool) -> bool:
        """Whether there is nothing more to wait for.  The engine's lock is held."""
        engine = self._engine
        if engine.flows or any(not guest.ended for guest in engine.guests):
            return False
        tails = [tail for tail in engine.tails if tail.ending]
        return not any(not (waits and tail.stands_still(loop)) for tail in tails)

    # -- cutting ------------------------------------------------------------------------------

    def _cut_what_is_next(self) -> None:  # noqa: C901 - one branch for each kind of what feeds what
        """Cut all that nothing live feeds any more.

        What an accepted item does with the pool belongs to it, and is not cut short.
        """
        engine = self._engine
        while True:
            with engine.lock:
                top = [flow for flow, nested in engine.flows.items() if not nested]
                flows = [flow for flow in top if is_node(flow)]
                guests = list(engine.guests)
                done = engine.lifecycle.has_cut((*top, *guests))
            if done:  # they end by themselves, and what is above has
                self._settle_tails()
                return
            feeders, foreign = engine.graph.feeders(flows, guests)
            for tail in engine.graph.tails(feeders):
                engine.wait_for(tail)
            self._settle_tails()
            for node in engine.graph.inboxes(feeders):
                node.uncork()
            for node in foreign:
                if is_stage(node) and node.busy:
                    node.flush()
            soon = _FOR_EVER if engine.clock.virtual else _SOON
            patient = self._waited < soon
            held_up = set(engine.graph.held_up(feeders, foreign, patient))
            busy = [node for node in feeders if node.busy]
            if patient and not engine.clock.virtual:
                untold = engine.graph.untold(feeders)
                held_up.update(untold if self._waited < _UNTOLD else untold.intersection(busy))
            with engine.lock:
                chosen = engine.lifecycle.to_cut(feeders, held_up, busy, patient)
                fresh = {*feeders, *foreign} - self._watched
                self._watched |= fresh
            for node in fresh:
                watch(node, engine.note_change)
            for flow in top:
                if not is_node(flow):
                    flow.cut()
            if not chosen:
                if not engine.lifecycle.has_cut(feeders):
                    self._look_again(held_up)
                return
            self._wait, self._waited = _OFTEN, 0.0
            for node in chosen:
                self._cut(node)

    def _cut(self, node: Node) -> None:
        engine = self._engine
        if node.ended:
            return
        node.cut()
        loop = engine.blocked
        if loop is not None and node.ending and node.stands_still(loop):
            node.abort(
                WouldBlock(
                    f"pool {engine.name!r} is closed by a thread that a stage above it "
                    "needs to go on: use 'async with'"
                )
            )

    def _settle_tails(self) -> None:
        """Those that are going to try again would find the pool closed: that is their end."""
        with self._engine.lock:
            tails = [tail for tail in self._engine.tails if getattr(tail, "unsettled", None)]
        for tail in tails:
            tail.cut()

    def _look_again(self, held_up: Collection[Node]) -> None:
        """See before long whether items that were on their way have arrived.

        Looks become rarer, and come to an end: whoever holds the items may never give them.
        """
        engine = self._engine
        with engine.lock:
            if self._looking:
                return
            self._looking = True
            wait = self._wait
        patience = _FOR_EVER
        if not engine.clock.virtual:
            most = _STILL if self._waited < _SOON else _SELDOM
            wait, patience = min(wait, most), _PATIENCE

        def ring(_: float) -> None:
            with engine.lock:
                self._looking = False
                self._waited += wait
                self._wait *= 2
            if self._waited > patience:
                for node in held_up:
                    node.abort(
                        PoolClosed(
                            f"pool {engine.name!r} was closed, and for {patience:g} s an "
                            "operator did not hand on what a flow gave it"
                        )
                    )
            engine.note_change()

        self._timer.disposable = engine.clock.alarm(engine.now() + wait, ring)

    def _end(self, wait: float | None) -> None:
        with self._engine.lock:
            first, self._ended = not self._ended, True
        if not first:  # nobody says that it is over before it is
            self._await_the_end(_GRACE if wait is None else wait)
            return
        try:
            self._end_now(wait)
        finally:
            with self._engine.lock:
                self._over = True
                self._engine.changed.notify_all()

    def _await_the_end(self, wait: float) -> None:
        with self._engine.lock:
            self._engine.changed.wait_for(lambda: self._over, wait)

    def _end_now(self, wait: float | None) -> None:
        self._timer.dispose()
        self._engine.backend.stop(wait)
        self._engine.advance("closed")
        with self._engine.lock:
            sums = self._engine.sums().sums
        self._engine.meter.chronicle.closed(sums)
        self._engine.meter.complete()
        self._engine.faults.complete()
        self._engine.progressed.complete()


def left_by(error: BaseException) -> str:
    """How a pool ended whose block was left by *error*."""
    return f"was left by {type(error).__name__}"
