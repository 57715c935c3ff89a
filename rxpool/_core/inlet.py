"""The demand of what lies downstream, found while a chain is being subscribed.

Subscribing runs upstream: a flow that subscribes to its source is an inlet for whatever is
subscribed inside that call, on the same thread.  So a source that reads on demand, or a flow
further up, learns which bounded inbox it feeds, whatever operators are in between.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol

__all__ = ("Inlet", "current_inlet", "feeding")


class Inlet(Protocol):
    """A bounded inbox."""

    @property
    def holds_back(self) -> bool:
        """Whether its producers wait when it is full, instead of items being dropped."""

    def room(self) -> bool:
        """Whether an item would be taken now; a hint, without a lock."""

    def on_room(self, resume: Callable[[], object]) -> bool:
        """Call *resume* once when there is room; False, and no call, if there is already."""

    def fed_by(self, source: Any) -> None:
        """*source*, a flow or an operator, was subscribed upstream."""


class _Subscribing(threading.local):
    def __init__(self) -> None:
        self.inlets: list[Inlet] = []


_subscribing = _Subscribing()


def current_inlet() -> Inlet | None:
    """The nearest inlet downstream of what is being subscribed on this thread."""
    inlets = _subscribing.inlets
    return inlets[-1] if inlets else None


@contextmanager
def feeding(inlet: Inlet) -> Iterator[None]:
    """What is subscribed inside feeds *inlet*."""
    _subscribing.inlets.append(inlet)
    try:
        yield
    finally:
        _subscribing.inlets.pop()
