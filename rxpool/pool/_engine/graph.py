"""What feeds what, as far as a closing pool has to know."""

import threading
from collections.abc import Callable, Collection, Iterable
from typing import Any, TypeGuard

from rxpool._core.inlet import Node, nodes_alive
from rxpool._core.reach import Way, is_node, left_behind, not_followed, way_from
from rxpool._core.stage import Stage
from rxpool._forks import afresh
from rxpool.pool._engine.dispatcher import Dispatcher
from rxpool.pool._engine.registry import Registry
from rxpool.pool._state.effects import Effects
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.producers import Producers
from rxpool.pool._state.slots import Slots
from rxpool.pool._state.task import Task

__all__ = ("Graph", "closure", "is_stage")


def closure(start: Iterable[Node], step: Callable[[Node], Iterable[Node]]) -> set[Node]:
    """All that *step* leads to from the nodes given, these included."""
    found = set(start)
    rest = list(found)
    while rest:
        for node in step(rest.pop()):
            if node not in found:
                found.add(node)
                rest.append(node)
    return found


def _is_pulled(node: Node) -> bool:
    """Whether *node* is a source that reads on demand, which a pool may always cut."""
    return hasattr(node, "has_an_end")


def is_stage(node: Node) -> TypeGuard[Stage[Any, Any]]:
    """Whether *node* is one that needs no pool to go on."""
    return isinstance(node, Stage)


not_followed(Dispatcher, Registry, Producers, Effects, FlowState, Slots, Task)


class Graph:
    """The nodes above and below the flows of a pool that is closing.

    Looking for those that subscribing did not show takes time, so it is done once for each
    node and looked up from then on, until nodes come that were not known.  ``_lock`` guards
    that memory; it is re-entrant for the handlers of signals only, and is not held while
    anything foreign runs.
    """

    def __init__(self) -> None:
        self._lock = afresh(threading.RLock())
        self._below: dict[Node, Way] = {}
        self._own: set[Node] = set()

    def fed(self, flows: Iterable[Any]) -> Collection[Any]:
        """Those of *flows* that others feed."""
        nodes = [flow for flow in flows if is_node(flow)]
        feeders, foreign = self.feeders(nodes, ())
        into = {fed for node in foreign for fed in self.below(node)}
        return {flow for flow in nodes if feeders.get(flow) or flow in into}

    def feeders(
        self, flows: Iterable[Node], others: Iterable[Node]
    ) -> tuple[dict[Node, list[Node]], list[Node]]:
        """What a pool may cut, and what it may not, though it feeds that.

        Returns:
            *flows*, *others* and what is upstream of them and nowhere else, each with those
            that feed it; entries first, the oldest first, and only what lives.  And others
            that lead there: of other pools, or known by their references alone.
        """
        own = {node for node in (*flows, *others) if not node.ended}
        if not own:
            return {}, []
        alive = [node for node in dict.fromkeys([*nodes_alive(), *own]) if not node.ended]
        own = own.intersection(alive)  # some may just have ended
        with self._lock:
            if not self._below.keys() >= own:
                self._below.clear()  # a new one may be fed by any
        into: dict[Node, list[Node]] = {node: [] for node in alive}
        out = {node: [fed for fed in self.below(node) if fed in into] for node in alive}
        for node in own:
            if self._below[node].everywhere:
                out[node] = list(dict.fromkeys([*out[node], *own]))
        for node in alive:
            for fed in out[node]:
                into[fed].append(node)
        known = {node: [each for each in node.sources if each in into] for node in alive}
        above = closure(own, lambda node: (*known[node], *into[node]))
        between = above & closure(own, out.__getitem__)
        mine = closure(own | between, known.__getitem__)
        mine |= between | {node for node in above if _is_pulled(node)}
        # Nor what others are fed by as well.
        while shared := {
            node for node in mine - own if not own.union(mine).issuperset(out[node])
        }:
            mine -= shared
        with self._lock:
            own |= mine
            own |= self._own.intersection(alive)  # what was between, and is the last now
            self._own |= own
        found: dict[Node, list[Node]] = {}
        for node in sorted(
            (node for node in alive if node in own), key=lambda node: bool(known[node])
        ):
            both = dict.fromkeys([*known[node], *into[node]])
            found[node] = [each for each in both if each in own and each is not node]
        foreign = [node for node in alive if node in above and node not in own]
        return found, foreign

    def below(self, node: Node) -> list[Node]:
        """The nodes that the results of *node* may go to."""
        with self._lock:
            way = self._below.get(node)
            if way is None:
                way = self._below[node] = way_from(node.feeds)
            return way.nodes

    def held_up(
        self, nodes: Collection[Node], foreign: Collection[Node], patient: bool
    ) -> Collection[Node]:
        """Those of *nodes* to which items are on their way that are not theirs to cut off.

        Operators in between hold them, or *foreign* nodes; these are waited for if they are
        ending, and while they hold something as long as one is *patient*.
        """
        with self._lock:
            ways = [*left_behind(), *(way for way in self._below.values() if way.holders)]
        fed = {node for way in ways if way.holds_still(patient) for node in way.nodes}
        for node in foreign:
            if node.ending or (patient and is_stage(node) and node.busy):
                fed.update(self.below(node))
        return closure(fed, self.below).intersection(nodes)

    def untold(self, nodes: Iterable[Node]) -> set[Node]:
        """Those whose feeders have all ended, while nobody told them an end.

        An operator in between that is not known here may hold items, as `flat_map` does with a
        future, or `buffer_with_time`.  It may also have another source, and hold none.
        """
        return {
            node
            for node in nodes
            if node.sources and not node.ending and all(each.ended for each in node.sources)
        }

    def inboxes(self, nodes: Iterable[Node]) -> list[Any]:
        """The nodes below from which somebody fetches at leisure, or never."""
        below = closure(nodes, self.below)
        return [node for node in below if hasattr(node, "uncork") and not node.ended]

    def tails(self, nodes: Iterable[Node]) -> list[Node]:
        """The stages that the results of *nodes* go through, as far as the next flows."""
        found: dict[Node, None] = {}
        rest: list[Node] = list(nodes)
        while rest:
            for below in self.below(rest.pop()):
                if is_stage(below) and below not in found and not below.ended:
                    found[below] = None
                    rest.append(below)
        return list(found)
