"""`Lifetime`: how long the workers of a pool are kept."""

import os
import weakref
from collections.abc import Callable

from rxpool import _exit
from rxpool.pool._engine.engine import Engine
from rxpool.pool._shutdown import Shutdown

__all__ = ("Lifetime",)


class Lifetime:
    """Keeps an engine while it has work, and ends its workers when nobody can bring any.

    Who can bring work keeps the pool itself alive: operators and handles that were made
    from it do.  What has work is an open flow, or a call whose future is not done.  So when
    the pool is gone and the last flow has ended there is no way back, and the workers end.

    That may be found out by a finaliser, on any thread and with any lock held, so the
    ``dismiss`` of backends takes no lock and waits for nothing.  The rest of the end, which
    tells subscribers of metrics and the like, is left to the last worker.
    """

    rank = 1  #: see `Ending`: after the faces

    def __init__(self, engine: Engine, shutdown: Shutdown) -> None:
        self._engine = engine
        self._shutdown = shutdown
        self._dismisses = engine.backend.dismiss  # this does not keep the engine
        self._unkept = False
        self._dismissed = False
        engine.registry.busy, engine.registry.quiet = self._busy, self._quiet
        _exit.watch(self)

    def follow(self, pool: object) -> None:
        """*pool* is what can bring work."""
        known: weakref.ref[Lifetime] = weakref.ref(self)
        finalizer = weakref.finalize(pool, _left, known, self._dismisses, os.getpid())
        finalizer.atexit = False

    def _busy(self) -> None:
        """There is a flow.  The engine's lock is held."""
        _exit.hold(self)

    def _quiet(self) -> None:
        """There is no flow any more.  The engine's lock is held."""
        _exit.let_go(self)
        if self._unkept:
            self._dismiss()

    def leave(self) -> None:
        """The pool is gone; for finalisers."""
        self._unkept = True
        # First that, then the look; who ends the last flow does it the other way round.
        if not self._engine.registry.flows:
            self._dismiss()

    def _dismiss(self) -> None:
        foreign = self._engine.registry.foreign is not None
        if not (self._dismissed or self._shutdown.ended or foreign):
            self._dismissed = True
            self._engine.registry.lifecycle.enter("draining")  # no lock: it is a single step
            self._dismisses(self._shutdown.finish)

    def end_at_exit(self, hard: bool) -> None:
        """See `Ending`."""
        engine, shutdown = self._engine, self._shutdown
        if not engine.registry.closing:
            engine.registry.why_closed = _exit.EXITING
        if self._unkept and not engine.registry.flows:
            shutdown.finish()  # its workers were told to end; those that do not are killed
        elif hard:
            shutdown.terminate()
        elif not shutdown.close(None):
            shutdown.terminate()  # it could not wait, and nobody is left to finish it


def _left(
    lifetime: "weakref.ref[Lifetime]",
    dismiss: Callable[[Callable[[], object]], None],
    process: int,
) -> None:
    """A pool was dropped."""
    if os.getpid() != process:
        return  # a child lets go of a pool of its parent
    left = lifetime()
    if left is None:  # collected with it
        dismiss(lambda: None)
    else:
        left.leave()
