"""What stands in the place of a backend in a forked child."""

from collections.abc import Awaitable, Sequence
from contextvars import Context
from typing import Any, NoReturn

from rxpool.backends._base import Backend, Done, Traits
from rxpool.errors import PoolClosed
from rxpool.timing import Clock

__all__ = ("ForeignBackend",)


class ForeignBackend(Backend):
    """Runs nothing and touches nothing: the workers are those of another process."""

    traits = Traits(in_this_process=True)

    def __init__(self, clock: Clock, why: str) -> None:
        self.clock = clock
        self._why = why

    def bind(self, runner: Any, slots: int) -> None:
        """Nothing is run."""

    def start(self, jobs: Sequence[Any]) -> None:
        """Nothing is run."""

    def run_awaitable(
        self, awaitable: Awaitable[Any], done: Done, context: Context | None = None
    ) -> NoReturn:
        """Nothing is run."""
        raise PoolClosed(self._why)

    def abandon(self, jobs: Sequence[Any]) -> None:
        """What runs is not this process's to end."""

    def waits(self) -> NoReturn:
        """What is waited for would never come."""
        raise PoolClosed(self._why)

    def resize(self, slots: int) -> None:
        """There are no workers."""

    def stop(self, wait: float | None) -> None:
        """There are no workers."""
