"""`Cutting`: how the sources of a closing pool are cut, the topmost first."""

from collections.abc import Collection

from reactivex.disposable import SerialDisposable

from rxpool._core.inlet import Node, watch
from rxpool._core.reach import is_node
from rxpool.errors import PoolClosed, WouldBlock
from rxpool.pool._engine.engine import Engine
from rxpool.pool._engine.graph import is_stage

__all__ = ("Cutting",)

#: seconds between looks at operators that hold items; many of them before patience ends, so
#: that it lasts longer on a machine on which threads wait long for their turn
_OFTEN, _STILL, _SELDOM = 0.005, 0.02, 0.2
_UNTOLD = 0.5  #: seconds for the end of what fed a flow to come to it, items in front
_SOON = 2.0  #: seconds for what feeds one another, or belongs to others, to come to rest
_PATIENCE = 600.0  #: seconds for one of them to hand something on
_FOR_EVER = 1e9  #: the same in virtual time, where nobody waits


class Cutting:
    """Cuts what feeds one engine, step by step.

    The engine's `Lifecycle` decides what is to be cut when, by what the `Graph` shows; the
    engine's lock guards it, and the fields here.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._watched: set[Node] = set()
        self._looking = False  # an alarm is set for a look at what holds items
        self._wait, self._waited = _OFTEN, 0.0
        self._timer = SerialDisposable()

    def stop(self) -> None:
        """Look no more."""
        self._timer.dispose()

    def cut_next(self) -> None:  # noqa: C901 - one branch for each kind of what feeds what
        """Cut all that nothing live feeds any more.

        What an accepted item does with the pool belongs to it, and is not cut short.
        """
        engine = self._engine
        while True:
            with engine.lock:
                top = [flow for flow, nested in engine.registry.flows.items() if not nested]
                flows = [flow for flow in top if is_node(flow)]
                guests = list(engine.registry.guests)
                done = engine.registry.lifecycle.has_cut((*top, *guests))
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
                chosen = engine.registry.lifecycle.to_cut(feeders, held_up, busy, patient)
                fresh = {*feeders, *foreign} - self._watched
                self._watched |= fresh
            for node in fresh:
                watch(node, engine.note_change)
            for flow in top:
                if not is_node(flow):
                    flow.cut()
            if not chosen:
                if not engine.registry.lifecycle.has_cut(feeders):
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
        loop = engine.registry.blocked
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
            tails = [
                tail for tail in self._engine.registry.tails if getattr(tail, "unsettled", None)
            ]
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
