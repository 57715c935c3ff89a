"""`Guest`: a face as the pool sees it on which it runs its calls."""

from collections.abc import Callable
from typing import Any, Final
from weakref import WeakMethod

from rxpool._core.inlet import Node, tell_watchers

__all__ = ("Guest",)


class Guest:
    """A `Node`: a closing pool has what waits here made, and waits for that.

    It does not keep the face that it is given methods of; that is kept while it has work.
    """

    rxpool_node: Final = True

    def __init__(
        self,
        over: Callable[[], bool],
        close: Callable[[], None],
        terminate: Callable[[Exception], None],
    ) -> None:
        self._over = WeakMethod(over)
        self._close = WeakMethod(close)
        self._terminate = WeakMethod(terminate)
        self.sources: list[Node] = []
        self.watchers: list[Callable[[], object]] = []

    @property
    def ended(self) -> bool:
        """Whether all calls that were taken have ended, and no more are taken."""
        over = self._over()
        return over is None or over()

    @property
    def ending(self) -> bool:
        """See `Node`."""
        return not self.ended

    @property
    def busy(self) -> bool:
        """See `Node`: what it does feeds nothing that is known."""
        return False

    @property
    def feeds(self) -> Any:
        """Results go to futures, and these nowhere that can be seen."""
        return None

    def cut(self) -> None:
        """Take no more calls, and make those that wait."""
        close = self._close()
        if close is not None:
            close()
        else:
            self.tell()

    def stands_still(self, loop: Any) -> bool:
        """See `Node`: the pool goes on."""
        return False

    def abort(self, error: Exception) -> None:
        """The pool ended at once: so do all futures."""
        terminate = self._terminate()
        if terminate is not None:
            terminate(error)
        else:
            self.tell()

    def tell(self) -> None:
        """It has ended: see `watch`."""
        tell_watchers(self)
