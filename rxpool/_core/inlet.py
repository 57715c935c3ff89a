"""What feeds what, found while a chain is being subscribed.

Subscribing runs upstream: whatever is subscribed while a node subscribes to its source, on
the same thread, feeds that node.  So a source that reads on demand, or a flow further up,
learns which bounded inbox it feeds, whatever operators are in between; and a pool that
closes knows where its chains begin.
"""

import threading
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import Protocol

__all__ = ("Inlet", "Node", "current_inlet", "feeding", "feeding_again")


class Node(Protocol):
    """A flow of a pool, or a stage that holds items."""

    sources: "list[Node]"  #: the nodes that feed this one

    @property
    def ended(self) -> bool:
        """Whether the end was delivered, or the subscriber left."""
        ...

    def cut(self) -> None:
        """Take nothing more from the source; what is held comes out, then the completion."""


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


class _Subscribing(threading.local):
    def __init__(self) -> None:
        self.nodes: list[tuple[Node, Inlet | None]] = []


_subscribing = _Subscribing()


def current_inlet() -> Inlet | None:
    """The nearest inlet downstream of what is being subscribed on this thread."""
    nodes = _subscribing.nodes
    return nodes[-1][1] if nodes else None


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
