"""`WorkerChannel`: the parent's side of one worker process."""

import pickle
import threading
from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, Final, Protocol

from rxpool.backends._remote import decode_error
from rxpool.backends._runner import Chunk, ChunkRunner
from rxpool.backends.processes._chunk import CachedFunction, PackedChunk, pass_on_interrupt
from rxpool.backends.processes._codec import decode
from rxpool.backends.processes._in_flight import InFlight, not_begun
from rxpool.backends.processes._inbox import Inbox
from rxpool.backends.processes._logs import take_in
from rxpool.backends.processes._outbox import Outbox
from rxpool.backends.processes._protocol import (
    BYE,
    FAILED,
    LOG,
    PART,
    PROGRESS,
    READY,
    RESULTS,
    SKIPPED,
)
from rxpool.backends.processes._results import GoOn, Results
from rxpool.backends.processes._shared_block import SharedBlock

__all__ = ("ChannelClosed", "Served", "WorkerChannel")

_PIPE: Final = 32 * 1024  #: bytes that a busy worker's connection surely takes
_LEAVING: Final = 5.0  #: seconds for a worker that is about to end by itself


class ChannelClosed(Exception):
    """The worker that was to be given a task has ended."""


class Served(Protocol):
    """A worker, which one thread serves at a time."""

    owner: threading.Thread | None


class WorkerChannel:
    """Sends items to one process and takes in what comes back, until it ends.

    What it is `in_flight` there and the connection's two ends have locks of their own.  The
    rest is changed by the thread that serves the channel, and by whoever gives an idle worker
    a task: never by both at once.
    """

    def __init__(
        self,
        runner: ChunkRunner,
        conn: Connection,
        block: SharedBlock,
        sentinel: int | None = None,
        goes_on: Callable[[], bool] = lambda: False,
        lane: str | None = None,
    ) -> None:
        self.in_flight = InFlight(block.numbers)
        self.lane = lane  #: what the process is called
        self.leaving = False  #: the worker is about to end by itself
        self._runner = runner
        self.block: SharedBlock | None = block  #: None: it is given up
        self._function: CachedFunction | None = None  # that items were sent for last
        self._functions: OrderedDict[int, None] = OrderedDict()  # that the worker has
        self._seen = -1.0  # what ran at the last look
        self._server = -1  # the thread that serves
        self._inbox = Inbox(conn, sentinel, goes_on)
        self._outbox = Outbox(conn)
        self._results = Results(runner, self.in_flight, block)

    # -- to the worker ------------------------------------------------------------------

    def send(self, task: Any) -> tuple[list[Any], list[Any]]:
        """Have an idle worker run *task*, and others of its flow behind it.

        Answers those that were sent, and those that cannot be; a cancelled *task* is neither.

        Raises:
            ChannelClosed: If the worker has ended; *task* is still the caller's.
        """
        runner = self._runner
        part: Chunk | None = None
        try:
            cached: CachedFunction | None = task.flow.note
            most = 1
            # Only the thread that serves the channel sees to what is behind a slow item.
            serves = self._server == threading.get_ident()
            if serves and cached is not None and not task.settled:
                most = cached.chunk_size.chunk()
            part = runner.next_chunk(task, most)
            if part is None:
                return [], []
            if cached is None or cached.function is not part.function:
                cached = CachedFunction(part.function)
                task.flow.remember(cached)
            if cached.wire is None:
                cached.pickled()
        except BaseException as error:
            if part is not None:
                runner.give_back(part.jobs[1:])
            pass_on_interrupt(error)
            runner.failed(task, error)
            return [], [task]
        block = self.block
        if block is None:
            runner.give_back(part.jobs[1:])
            raise ChannelClosed
        _, jobs, items, weighs_from = part
        chunk = PackedChunk(cached, block.items, self._functions, jobs, items, runner.failed)
        tasks = chunk.tasks
        if not tasks:
            return [], chunk.refused
        self._function = cached
        if chunk.size >= weighs_from * len(tasks):
            runner.weighed(task, len(tasks), chunk.size)
        first = self.in_flight.add(tasks, self, idle=True)
        if first is None:
            runner.give_back(jobs[1:])
            raise ChannelClosed
        # If it has died, whoever serves the channel finds the tasks in flight.
        self._outbox.send(first, chunk.body)
        return tasks, chunk.refused

    def _refill(self, items: int, seconds: float, left: int) -> list[Any]:
        """So many items took so long: the worker, which has *left* to do, may be given more.

        Answers those for it that cannot be sent.
        """
        cached = self._function
        if cached is None:
            return []
        cached.chunk_size.ran(items, seconds)
        if not left or self.leaving or (last := self.in_flight.sent[-1]) is None:
            return []
        more = cached.chunk_size.more(left)
        tasks = self._runner.more(last, more) if more else None
        return self._send_more(cached, tasks) if tasks else []

    def _send_more(self, cached: CachedFunction, tasks: list[Any]) -> list[Any]:
        """Have a busy worker run *tasks* too; answers those that cannot be sent."""
        assert self.block is not None
        chunk = PackedChunk(
            cached,
            self.block.items,
            self._functions,
            tasks,
            [task.item for task in tasks],
            self._runner.failed,
        )
        if not chunk.tasks:
            return chunk.refused
        if len(chunk.body) > _PIPE:
            # A busy worker does not read: what its connection does not take would block.
            chunk.open_again()
            self._runner.give_back(chunk.tasks)
            return chunk.refused
        self._runner.weighed(tasks[0], len(chunk.tasks), chunk.size)
        first = self.in_flight.add(chunk.tasks, self)
        assert first is not None  # only this thread, which serves the channel, closes it
        self._outbox.send(first, chunk.body)
        return chunk.refused

    def shut_down(self) -> None:
        """Tell an idle worker to end; one that reads nothing is not waited for.

        Whoever stops the pool kills what has not ended in time.
        """
        self.leaving = True
        self._outbox.send_exit()

    # -- from the worker ----------------------------------------------------------------

    def await_ready(self, seconds: float) -> BaseException | None:
        """Wait until the worker has started; the error of its initializer, if that raised.

        Raises:
            TimeoutError: If that takes longer than *seconds*.
            EOFError: If the process has ended, or its connection.
        """
        until = monotonic() + seconds
        while True:
            data = self._inbox.take(max(0.0, until - monotonic()))
            if data is None:
                raise TimeoutError
            message = pickle.loads(data)
            if message[0] == READY:
                return None
            if message[0] == FAILED:
                return decode_error(message[1])
            self._take_in(message, lambda _: None)

    def serve(self, go_on: GoOn, served: Served) -> bool:
        """Take in what comes, until the worker ends; False if another thread serves now."""
        me, sent = threading.current_thread(), self.in_flight.sent
        while served.owner is me:
            self._server = threading.get_ident()
            seconds = None
            if len(sent) > 1 or self.leaving:
                seconds = self._patience()
            else:
                self._seen = -1.0
            try:
                data = self._inbox.take(seconds)
            except (EOFError, OSError):
                return True
            if data is not None:
                self._take_in(pickle.loads(data), go_on)
            elif self.leaving:
                return True  # it does not come to that
            else:
                self._look(go_on)
        return False

    def _patience(self) -> float | None:
        """Seconds until the worker is to be looked at; None: not before it says something."""
        if self.leaving:
            return _LEAVING
        if self._function is None:
            return None
        return self._function.chunk_size.slow_after

    def _look(self, go_on: GoOn) -> None:
        """The worker has been busy for a while: let no other item wait for that one.

        Results from before it come from the result log, items behind it are given back.
        """
        in_flight = self.in_flight
        running = in_flight.number()
        if running != self._seen:
            self._seen = running
            return
        if running > in_flight.first:
            self._results.recover(go_on, self._refill)
        if taken := in_flight.take_back():
            self._runner.give_back(taken)

    def _take_in(self, message: tuple[Any, ...], go_on: GoOn) -> None:
        kind = message[0]
        if kind == RESULTS:
            _, first, wires, begun, ends = message
            self._results.take(int(first), wires, begun, ends, go_on, self._refill)
        elif kind == SKIPPED:
            unwanted, left = self.in_flight.skipped(message[2])
            if unwanted:
                self._runner.give_back(not_begun(unwanted))
            if not left:
                go_on(None)
        elif kind == PART:
            self._part(self.in_flight.task(message[1]), message[2])
        elif kind == PROGRESS:
            task = self.in_flight.task(message[1])
            if task is not None:
                self._runner.progress(task, message[2])
        elif kind == LOG:
            try:
                take_in(message[1])
            except Exception as error:
                self._runner.fault("a log record of a worker", error)
        elif kind == BYE:
            self.leaving = True

    def _part(self, task: Any, wire: Any) -> None:
        """One of several results of *task* has come."""
        if task is None:
            return
        try:
            value = decode(wire)
        except BaseException as error:
            self._runner.fault("a result of an Observable", error)
        else:
            self._runner.part(task, value)

    # -- what it knows of the worker ----------------------------------------------------

    @property
    def short(self) -> bool:
        """Whether the items at the worker are known to be short."""
        return self._function is not None and self._function.chunk_size.short

    def shrink(self) -> None:
        """Give the shared memory back, as the worker has nothing to do."""
        block = self.block
        if block is not None:
            with suppress(OSError, ValueError):  # it ends
                block.shrink()

    # -- the worker has ended -----------------------------------------------------------

    def close(self) -> None:
        """Nothing comes any more."""
        self._outbox.close()

    def recover_results(self, go_on: GoOn) -> None:
        """Take results from the log that the worker could not send."""
        self._results.recover(go_on, self._refill)

    def give_up(self) -> list[Any]:
        """All items that are at the worker, for which nothing can be done any more."""
        tasks = self.in_flight.give_up()
        self.retire()
        return tasks

    def retire(self) -> None:
        """All that is left of the items of a dead worker is known: give its memory up.

        Tasks that ran there may refer to this for long.
        """
        self.in_flight.detach()
        self._results.detach()
        self.block = None
