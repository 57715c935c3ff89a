"""What runs in a worker process."""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import logging
import os
import pickle
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing.connection import Connection
from time import monotonic
from typing import Any, NoReturn

from reactivex import abc

from rxpool.backends._awaiting import run_here
from rxpool.backends._remote import encode_error, shown
from rxpool.backends.processes._buffer_ring import Span
from rxpool.backends.processes._codec import FIXED, decode, encode, spans_of
from rxpool.backends.processes._logs import relay_logs
from rxpool.backends.processes._main_module import HINT
from rxpool.backends.processes._manners import (
    adopt_manners,
    die_with_parent,
    end_with_parent,
)
from rxpool.backends.processes._parting import flush, leave
from rxpool.backends.processes._protocol import (
    BYE,
    FAILED,
    HEADER,
    PART,
    PROGRESS,
    READY,
    SEVERAL_PARTS,
    SKIPPED,
    Settings,
)
from rxpool.backends.processes._result_writer import ResultWriter
from rxpool.backends.processes._rss import resident_bytes
from rxpool.backends.processes._shared_block import LIMIT, RESUME, RUNNING, STARTED, SharedBlock
from rxpool.errors import NotPicklable
from rxpool.tasks import find_with

__all__ = ("main",)


def main(conn: Connection, block: SharedBlock, settings: Settings) -> None:
    """Run items until told to end."""
    leads_group = settings.process_groups
    adopt_manners(conn, leads_group)
    block.close()
    threading.Thread(
        target=die_with_parent, args=(leads_group,), name="rxpool-watch", daemon=True
    ).start()
    worker = _Worker(conn, block, settings)
    relay = relay_logs(worker.send, settings.log_levels)
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=partial(logging.getLogger().removeHandler, relay))
        os.register_at_fork(after_in_child=worker.part)
    try:
        try:
            if settings.initializer is not None:
                settings.initializer(*settings.initargs)
        except BaseException as error:
            worker.send(FAILED, worker.failure(error))
            return
        worker.came_back()
        worker.send(READY)
        told = worker.serve()
    except (BrokenPipeError, ConnectionResetError):
        told = False
    finally:
        conn.close()
    if not told:  # the parent is gone
        flush()
        end_with_parent(leads_group)


def _unreadable(what: str, reason: BaseException) -> NotPicklable:
    hint = HINT if "__mp_main__" in str(reason) or "'__main__'" in str(reason) else ""
    error = NotPicklable(f"{what} cannot be unpickled in the worker: {shown(reason)}{hint}")
    error.__cause__ = reason
    return error


def _raise(error: BaseException, _: Any) -> Any:
    raise error.with_traceback(None)


class _Handle:
    """See `rxpool.tasks.Handle`."""

    def __init__(self, worker: "_Worker", item: int) -> None:
        self._worker = worker
        self._item = item

    def cancelled(self) -> bool:
        """A process is ended: it need not ask."""
        return False

    def progress(self, fraction: float) -> None:
        """Tell the parent."""
        self._worker.send(PROGRESS, self._item, fraction)


class _Worker:
    """Runs items, and has their results logged before it goes on to the next.

    ``_lock`` is held while a message is sent, as the threads of users may log; the rest is for
    the thread that runs items.
    """

    def __init__(self, conn: Connection, block: SharedBlock, settings: Settings) -> None:
        self._conn = conn
        self._block = block
        self._numbers = block.numbers
        self._parent = settings.parent
        self._max_tasks = settings.max_tasks
        self._max_memory = settings.max_memory
        self._lock = threading.RLock()  # one message at a time
        self._functions: dict[int, Callable[[Any], Any]] = {}
        self._busy = False
        self._ran = 0
        self._results = ResultWriter(block, self.send)
        #: buffers still in use: up to where in the ring, and what tells that
        self._borrowed: deque[tuple[int, list[Callable[[], Any]]]] = deque()
        find_with(self._current)

    def _current(self) -> _Handle | None:
        if not self._busy or threading.current_thread() is not threading.main_thread():
            return None
        return _Handle(self, int(self._numbers[RUNNING]))

    def send(self, *message: Any) -> None:
        """Say something to the parent."""
        data = pickle.dumps(message, 5)
        with self._lock:
            self._conn.send_bytes(data)

    def failure(self, error: BaseException) -> Any:
        """What stands for an exception of the user's code."""
        return encode_error(error)

    def came_back(self, error: BaseException | None = None) -> None:
        """The user's code has returned, where what it returned is not looked at next."""

    def part(self) -> None:
        """This is a process that a task has just forked: it is no worker any more."""
        self._busy = False
        self._conn.close()  # the end of the worker is to be the end of its connection
        self._results.part()
        _become_parted(self)

    def serve(self) -> bool:
        """Run what comes, until there is enough of it; False if nothing can come any more."""
        while True:
            try:
                data = self._conn.recv_bytes()
            except (EOFError, OSError):
                return False
            sender, first = HEADER.unpack_from(data)
            if sender != self._parent:
                continue
            if len(data) == HEADER.size or not self._run(first, data):  # EXIT is empty
                return True

    def _run(self, first: int, data: bytes) -> bool:
        """Run the items of a message; False if the worker has done enough."""
        numbers = self._numbers
        # From here on an end of the process is the fault of the first item.
        numbers[STARTED] = monotonic()
        numbers[RUNNING] = first
        known, function, forget, wires = pickle.loads(memoryview(data)[HEADER.size :])
        if forget is not None:
            self._functions.pop(forget, None)
        fn = self._functions.get(known)
        if fn is None:
            try:
                fn = decode(function)
            except BaseException as reason:
                fn = partial(_raise, _unreadable("the function", reason))
            self.came_back()
            self._functions[known] = fn
        begun = self._results.begin()
        self._busy = True
        try:
            return self._run_all(first, wires, fn, begun)
        finally:
            self._busy = False

    def _run_all(self, first: int, wires: Sequence[Any], fn: Any, begun: float) -> bool:
        numbers, results = self._numbers, self._results
        limited = self._max_tasks is not None or self._max_memory is not None
        for item, wire in enumerate(wires, first):
            # First the intent, then the look at the limit: the parent does it the other way
            # round, so never do both think that the item is theirs.
            numbers[STARTED] = begun
            numbers[RUNNING] = item
            if numbers[LIMIT] <= item < numbers[RESUME]:
                results.flush()
                self._free(wires[item - first :])
                self.send(SKIPPED, item, first + len(wires) - item)
                return True
            if type(wire) is tuple:
                result = self._attempt(fn, wire)
            else:
                try:
                    result = fn(wire)
                    if type(result) not in FIXED:
                        result = self._encode(result)
                except BaseException as error:
                    result = self.failure(error)
            ended = monotonic()
            results.keep(item, result, begun, ended)
            begun = ended
            if limited:
                self._ran += 1
                if self._enough():
                    results.flush()
                    self.send(BYE)
                    return False
        results.flush()
        if limited and self._enough():
            self.send(BYE)
            return False
        return True

    def _attempt(self, fn: Any, wire: Any) -> Any:
        """Run an item that was pickled: what stands for its result."""
        loans: list[Callable[[], Any]] = []
        item = value = None
        try:
            try:
                item = decode(wire, self._block.items, loans)
            except BaseException as reason:
                raise _unreadable("the item", reason) from reason
            value = fn(item)
            return self._encode(value)
        except BaseException as error:
            return self.failure(error)
        finally:
            del item, value
            if spans := spans_of(wire):
                self._borrowed.append((spans[-1][2], loans))
                self._give_back()

    def _encode(self, value: Any) -> Any:
        if isinstance(value, abc.ObservableBase):
            return self._follow(value)
        if hasattr(type(value), "__await__"):
            value = run_here(value)
            self.came_back()
        return encode(value, self._block.results, "the result")

    def _follow(self, observable: "abc.ObservableBase[Any]") -> Any:
        """Send the results of an Observable home as they come."""
        ended = threading.Event()
        errors: list[BaseException] = []
        item = int(self._numbers[RUNNING])
        self._results.flush()

        def on_error(error: BaseException) -> None:
            self.came_back(error)
            errors.append(error)
            ended.set()

        def on_completed() -> None:
            self.came_back()
            ended.set()

        def on_next(value: Any) -> None:
            self.came_back()
            try:
                self.send(PART, item, encode(value, None, "a result"))
            except BaseException as error:
                on_error(error)

        subscription = observable.subscribe(on_next, on_error, on_completed)
        self.came_back()
        ended.wait()
        subscription.dispose()
        if errors:
            raise errors[0]
        return SEVERAL_PARTS

    def _free(self, wires: Sequence[Any]) -> None:
        """These items are not going to be run: their buffers are free."""
        spans: list[Span] = [span for wire in wires for span in spans_of(wire)]
        if spans:
            self._borrowed.append((spans[-1][2], []))
            self._give_back()

    def _give_back(self) -> None:
        """Let the parent use the memory of items again that nothing here refers to."""
        while self._borrowed:
            position, loans = self._borrowed[0]
            if any(loan() is not None for loan in loans):
                return  # the user's code has kept the item, or a part of it
            self._block.items.free(position)
            self._borrowed.popleft()

    def _enough(self) -> bool:
        if self._max_tasks is not None and self._ran >= self._max_tasks:
            return True
        if self._max_memory is None or not self._results.are_sent:
            return False
        if resident_bytes() <= self._max_memory:
            return False
        logging.getLogger("rxpool").info("worker %s has grown too large", os.getpid())
        return True


class _Parted(_Worker):
    """What a worker is in a process that a task has forked.

    Connection and memory are the worker's.  Nothing is sent or written here, and the process
    ends where the user's code comes back, be it with a result or an error.
    """

    def send(self, *message: Any) -> None:
        """Nobody is told."""

    def failure(self, error: BaseException) -> NoReturn:
        """It raised."""
        leave(error)

    def came_back(self, error: BaseException | None = None) -> NoReturn:
        """It returned, or its Observable failed with *error*."""
        leave(error)

    def _encode(self, value: Any) -> NoReturn:
        leave()


def _become_parted(worker: _Worker) -> None:
    worker.__class__ = _Parted  # so that the worker itself need not ask, at each item
