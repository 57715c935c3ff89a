"""How a pool ends: graceful or at once."""

import asyncio
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any

from rxpool._core.aside import aside
from rxpool._core.sleeper import Sleeper
from rxpool._core.waits import at_most
from rxpool.errors import PoolClosed, WouldBlock
from rxpool.pool._cutting import Cutting
from rxpool.pool._engine.engine import Engine

__all__ = ("Shutdown", "left_by")

_GRACE = 1.0  #: seconds that `terminate` waits for subscribers and idle threads


class Shutdown:
    """Closes and terminates one engine, whose lock guards the fields here."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._cutting = Cutting(engine)
        self._ended = False
        self._over = False  # that has been done, whoever did it

    # -- graceful -------------------------------------------------------------------------

    def close(self, timeout: float | None) -> bool:
        """See `WorkerPool.close`."""
        engine = self._engine
        if engine.registry.foreign is not None:
            return True  # a forked child, which has nothing to wait for
        deadline = None if timeout is None else monotonic() + timeout
        engine.registry.advance("draining")
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
        if engine.registry.foreign is not None:
            return
        if self.close(None) or engine.registry.works_here() or engine.clock.virtual:
            return
        try:
            engine.backend.waits()
        except WouldBlock as error:
            with engine.lock:
                flows = list(engine.registry.flows)
            engine.cancel(flows, error)
            raise

    @property
    def ended(self) -> bool:
        """Whether the workers were told to end."""
        return self._ended

    def finish(self) -> None:
        """End what has no work, and that nobody can give any."""
        if self._engine.registry.foreign is None:
            self._end(_GRACE)

    async def leave(self, by: BaseException | None) -> None:
        """Close or terminate from a coroutine, without blocking its loop."""
        if self._engine.registry.foreign is not None:
            return
        if self._may_wait():
            await self._leave_by_thread(by)
            return
        if by is not None:
            self.terminate(left_by(by))
            await self._see_tails_off(left_by(by))
        elif self._engine.registry.works_here() or self._engine.clock.virtual:
            self._engine.registry.advance("draining")
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
        if engine.registry.foreign is not None:
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
            tails = [tail for tail in engine.registry.tails if tail.ending]
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
                    if not any(tail.ending for tail in engine.registry.tails):
                        return
                    engine.registry.when_changed.append(sleeper.wake)
                await sleeper.sleep(left)
        finally:
            self._abort_tails(reason)

    # -- waiting ----------------------------------------------------------------------------

    def _may_wait(self) -> bool:
        engine = self._engine
        if (
            engine.registry.works_here()
            or engine.registry.delivers_here()
            or engine.clock.virtual
        ):
            return False
        try:
            engine.backend.waits()
        except WouldBlock:
            return False
        return True

    def _drain(self, deadline: float | None) -> bool:
        """Wait until everything has ended; whether that came before *deadline*."""
        engine = self._engine
        engine.registry.blocked = loop = asyncio._get_running_loop()
        try:
            left = None

            def wait() -> None:
                nonlocal left
                left = None if deadline is None else deadline - monotonic()
                if left is None or left > 0:
                    engine.registry.changed.wait(at_most(left))

            while not self._go_on(wait, loop, True):
                if left is not None and left <= 0:
                    return False
            return True
        finally:
            engine.registry.blocked = None

    async def _drain_here(self) -> None:
        """Wait on this thread's loop until everything has ended."""
        engine = self._engine
        sleeper = Sleeper()
        engine.registry.advance("draining")
        while not self._go_on(lambda: engine.registry.when_changed.append(sleeper.wake)):
            await sleeper.sleep()

    def _close_without_waiting(self) -> bool:
        engine = self._engine

        def go_on() -> bool:
            if not self._go_on(lambda: engine.registry.when_changed.append(go_on)):
                return False
            self._end(0.0)
            return True

        return go_on()

    def _go_on(self, wait: Callable[[], object], loop: Any = None, waits: bool = False) -> bool:
        """Cut what is next; whether that was all.

        If not, *wait* is called while the engine's lock is held, so that no change is missed.
        """
        engine = self._engine
        while True:
            seen = engine.registry.changes
            self._cutting.cut_next()
            with engine.lock:
                if engine.registry.changes != seen:
                    continue
                if self._is_drained(loop, waits):
                    return True
                wait()
                return False

    def _is_drained(self, loop: Any, waits: bool) -> bool:
        """Whether there is nothing more to wait for.  The engine's lock is held."""
        engine = self._engine
        if engine.registry.flows or any(not guest.ended for guest in engine.registry.guests):
            return False
        tails = [tail for tail in engine.registry.tails if tail.ending]
        return not any(not (waits and tail.stands_still(loop)) for tail in tails)

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
                self._engine.registry.changed.notify_all()

    def _await_the_end(self, wait: float) -> None:
        with self._engine.lock:
            self._engine.registry.changed.wait_for(lambda: self._over, wait)

    def _end_now(self, wait: float | None) -> None:
        self._cutting.stop()
        self._engine.backend.stop(wait)
        self._engine.registry.advance("closed")
        with self._engine.lock:
            sums = self._engine.registry.sums().sums
        self._engine.telemetry.task_log.closed(sums)
        self._engine.telemetry.complete()
        self._engine.telemetry.faults.complete()
        self._engine.telemetry.progressed.complete()


def left_by(error: BaseException) -> str:
    """How a pool ended whose block was left by *error*."""
    return f"was left by {type(error).__name__}"
