"""`Runner`: what a backend calls, in one object."""

from collections.abc import Callable

from rxpool.pool._engine.chunk_runner import ChunkRunner
from rxpool.pool._engine.telemetry import Telemetry
from rxpool.pool._engine.thread_runner import ThreadRunner
from rxpool.pool._state.task import Task

__all__ = ("Runner",)


class Runner:
    """Tasks for threads of this process, and for what runs elsewhere; see `backends.Runner`."""

    def __init__(
        self,
        telemetry: Telemetry,
        threads: ThreadRunner,
        chunks: ChunkRunner,
        lend: Callable[[Task], None],
        lost: Callable[[str], None],
    ) -> None:
        self._lend, self._lost = lend, lost
        self.progress = telemetry.progress
        self.fault = telemetry.fault
        self.replaced = telemetry.replaced
        self.perform = threads.perform
        self.work = threads.work
        self.handle = chunks.handle
        self.begin = chunks.begin
        self.started = chunks.started
        self.function = chunks.function
        self.stack = chunks.stack
        self.failed = chunks.failed
        self.weighed = chunks.weighed
        self.next_chunk = chunks.next_chunk
        self.more = chunks.more
        self.give_back = chunks.give_back
        self.ran = chunks.ran
        self.finish = chunks.finish
        self.part = chunks.part

    def lend(self, task: Task) -> None:
        """Give up the slot of a task that waits for others."""
        self._lend(task)

    def lost(self, reason: str) -> None:
        """No task will ever run any more."""
        self._lost(reason)
