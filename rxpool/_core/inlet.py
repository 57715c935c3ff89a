"""What feeds what, found while a chain is being subscribed.

Subscribing runs upstream: whatever is subscribed while a node subscribes to its source, on
the same thread, feeds that node.  So a source that reads on demand, or a flow further up,
learns which bounded inbox it feeds, whatever operators are in between; and a pool that
closes knows where its chains begin.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Any, Final, Protocol
from weakref import WeakKeyDictionary

from rxpool._forks import bury, heed

__all__ = (
    "Inlet",
    "Node",
    "current_inlet",
    "feeding",
    "feeding_again",
    "flows",
    "giving",
    "nodes_alive",
    "nodes_below",
    "stages",
    "tell_watchers",
    "watch",
)


class Node(Protocol):
    """A flow of a pool, a stage that holds items, or a source that reads on demand.

    A class says ``rxpool_node = True``, which tells its objects from others; see `reach`.
    """

    sources: "list[Node]"  #: the nodes that are known to feed this one
    watchers: list[Callable[[], object]]  #: see `watch`

    @property
    def ended(self) -> bool:
        """Whether the end was delivered, or the subscriber left."""
        ...

    @property
    def ending(self) -> bool:
        """Whether nothing more is taken: it ends by itself once what it holds is out."""
        ...

    @property
    def busy(self) -> bool:
        """Whether it holds something, or is giving it."""
        ...

    @property
    def feeds(self) -> Any:
        """What is given the results: where to look for the nodes that this one feeds."""
        ...

    def cut(self) -> None:
        """Take nothing more from the source; what is held comes out, then the completion."""

    def stands_still(self, loop: Any) -> bool:
        """Whether it cannot go on while this thread, and the event loop *loop* on it, wait."""
        ...

    def abort(self, error: Exception) -> None:
        """End now, with *error*; what is held is dropped."""


def watch(node: Node, call: Callable[[], object]) -> bool:
    """Have *call* called when *node* has ended, on any thread; False, and no call, if it has.

    First the call is left, then the node looked at; a node does it the other way round.
    """
    node.watchers.append(call)
    if not node.ended:
        return True
    try:
        node.watchers.remove(call)
    except ValueError:  # it is being told
        return True
    return False


def tell_watchers(node: Node) -> None:
    """*node* has ended: tell who wants to know.  No lock is held."""
    stages.pop(node, None)
    flows.pop(node, None)
    watchers = node.watchers
    while watchers:
        try:
            call = watchers.pop()
        except IndexError:  # another thread tells them
            return
        call()


class Inlet(Node, Protocol):
    """A node with a bounded inbox."""

    @property
    def holds_back(self) -> bool:
        """Whether its producers wait when it is full, instead of items being dropped."""
        ...

    @property
    def closed(self) -> bool:
        """Whether items are not taken any more, and whoever brings them may stop."""
        ...

    def is_pulled(self) -> None:
        """A source says that it looks for `room` before each item."""

    def room(self) -> bool:
        """Whether an item would be taken now; a hint, without a lock."""
        ...

    def on_room(self, resume: Callable[[], object]) -> bool:
        """Call *resume* once when there is room; False, and no call, if there is already."""
        ...


# All nodes of this process that have not ended, the oldest first; see `nodes_alive`.
stages: Final["WeakKeyDictionary[Node, None]"] = WeakKeyDictionary()
flows: Final["WeakKeyDictionary[Node, None]"] = WeakKeyDictionary()  #: and sources


class _Alive:
    """What a forked child lets go of."""

    def forked(self) -> None:
        """Nodes that live at the fork are the parent's."""
        bury(*stages, *flows)
        stages.clear()
        flows.clear()


_heedful: Final = _Alive()
heed(_heedful)


def nodes_alive() -> list[Node]:
    """All nodes of this process that have not ended, the oldest first."""
    while True:
        try:
            return [*stages, *flows]
        except RuntimeError:  # one came meanwhile
            continue


class _Giving(threading.local):
    """The stages that give their subscribers something on this thread."""

    def __init__(self) -> None:
        self.stages: list[Node] = []


giving: Final = _Giving()


class _Subscribing(threading.local):
    def __init__(self) -> None:
        self.nodes: list[tuple[Node, Inlet | None]] = []


_subscribing = _Subscribing()


def current_inlet() -> Inlet | None:
    """The nearest inlet downstream of what is being subscribed on this thread."""
    nodes = _subscribing.nodes
    return nodes[-1][1] if nodes else None


def nodes_below() -> list[Node]:
    """The nodes downstream of what is being subscribed on this thread, the nearest last."""
    return [node for node, _ in _subscribing.nodes]


@contextmanager
def feeding(node: Node, inlet: Inlet | None = None) -> Generator[None, None, None]:
    """What is subscribed inside feeds *node*, and *inlet* or the inlet *node* feeds itself."""
    nodes = _subscribing.nodes
    if nodes:
        nodes[-1][0].sources.append(node)
    nodes.append((node, current_inlet() if inlet is None else inlet))
    try:
        yield
    finally:
        nodes.pop()


@contextmanager
def feeding_again(node: Node, inlet: Inlet | None) -> Generator[None, None, None]:
    """The same when *node* subscribes once more; what it feeds itself knows it already."""
    nodes = _subscribing.nodes
    nodes.append((node, inlet))
    try:
        yield
    finally:
        nodes.pop()
