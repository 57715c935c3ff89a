"""What runs in a worker process."""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import logging
import os
import pickle
import signal
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any, Final

from reactivex import abc

from rxpool.backends._awaiting import run_here
from rxpool.backends.processes._journal import (
    FLOAT,
    INT,
    NOTHING,
    RECORD,
    SHORT_FLOAT,
    SHORT_INT,
)
from rxpool.backends.processes._logs import relay_logs
from rxpool.backends.processes._memory import (
    JOURNAL_FIRST,
    JOURNAL_USED,
    LIMIT,
    RESUME,
    RUNNING,
    STARTED,
    Block,
    Span,
)
from rxpool.backends.processes._messages import (
    BYE,
    EXIT,
    FAILED,
    PART,
    PROGRESS,
    READY,
    RESULTS,
    SEVERAL_PARTS,
    SKIPPED,
    Settings,
)
from rxpool.backends.processes._resident import resident_bytes
from rxpool.backends.processes._wire import FIXED, decode, encode, encode_error, spans_of
from rxpool.errors import NotPicklable
from rxpool.tasks import find_with

__all__ = ("main",)

_FLUSH: Final = 0.002  #: seconds that a result may wait for others


def main(conn: Connection, block: Block, settings: Settings) -> None:
    """Run items until told to end."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent to act on
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGINT])
    threading.Thread(target=_die_with_parent, name="rxpool-watch", daemon=True).start()
    worker = _Worker(conn, block, settings)
    relay_logs(worker.send, settings.log_levels)
    try:
        try:
            if settings.initializer is not None:
                settings.initializer(*settings.initargs)
        except BaseException as error:
            worker.send(FAILED, encode_error(error))
            return
        worker.send(READY)
        worker.serve()
    except (BrokenPipeError, ConnectionResetError):
        pass  # the parent is gone
    finally:
        conn.close()


def _die_with_parent() -> None:
    parent = parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _unreadable(what: str, reason: BaseException) -> NotPicklable:
    error = NotPicklable(f"{what} cannot be unpickled in the worker: {reason!r}")
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
    """Runs items, and has their results journalled before it goes on to the next.

    Several results go home in one message.  If the process dies before, the parent finds
    them in the journal: finished work is never done twice.
    """

    def __init__(self, conn: Connection, block: Block, settings: Settings) -> None:
        self._conn = conn
        self._block = block
        self._numbers = block.numbers
        self._max_tasks = settings.max_tasks
        self._max_memory = settings.max_memory
        self._lock = threading.RLock()  # one message at a time
        self._functions: dict[int, Callable[[Any], Any]] = {}
        self._journal = block.journal
        self._full = len(block.journal) - SHORT_INT.size  # no more records beyond
        self._busy = False
        self._ran = 0
        self._results: list[Any] = []  # not sent
        self._ends: list[float] = []
        self._begun = 0.0
        self._used = 0  # bytes of the journal
        self._flushed = 0.0
        #: buffers still in use: up to where in the lane, and what tells that
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

    def serve(self) -> None:
        """Run what comes."""
        while True:
            try:
                data = self._conn.recv_bytes()
            except (EOFError, OSError):
                return
            if data == EXIT:
                return
            (first,) = struct.unpack_from("<Q", data)
            if not self._run(first, data):
                return

    def _run(self, first: int, data: bytes) -> bool:
        """Run the items of a message; False if the worker has done enough."""
        numbers = self._numbers
        # From here on an end of the process is the fault of the first item.
        numbers[STARTED] = monotonic()
        numbers[RUNNING] = first
        known, function, forget, wires = pickle.loads(memoryview(data)[8:])
        if forget is not None:
            self._functions.pop(forget, None)
        fn = self._functions.get(known)
        if fn is None:
            try:
                fn = decode(function)
            except BaseException as reason:
                fn = partial(_raise, _unreadable("the function", reason))
            self._functions[known] = fn
        self._flushed = monotonic()
        self._busy = True
        try:
            return self._run_all(first, wires, fn)
        finally:
            self._busy = False

    def _run_all(self, first: int, wires: Sequence[Any], fn: Any) -> bool:
        numbers = self._numbers
        limited = self._max_tasks is not None or self._max_memory is not None
        begun = self._flushed
        for item, wire in enumerate(wires, first):
            # First the intent, then the look at the limit: the parent does it the other way
            # round, so never do both think that the item is theirs.
            numbers[STARTED] = begun
            numbers[RUNNING] = item
            if numbers[LIMIT] <= item < numbers[RESUME]:
                self._flush()
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
                    result = encode_error(error)
            ended = monotonic()
            self._keep(item, result, begun, ended)
            begun = ended
            if limited:
                self._ran += 1
                if self._enough():
                    self._flush()
                    self.send(BYE)
                    return False
        self._flush()
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
            return encode_error(error)
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
        return encode(value, self._block.results, "the result")

    def _follow(self, observable: "abc.ObservableBase[Any]") -> Any:
        """Send the results of an Observable home as they come."""
        ended = threading.Event()
        errors: list[BaseException] = []
        item = int(self._numbers[RUNNING])
        self._flush()

        def on_error(error: BaseException) -> None:
            errors.append(error)
            ended.set()

        def on_next(value: Any) -> None:
            try:
                self.send(PART, item, encode(value, None, "a result"))
            except Exception as error:
                on_error(error)

        subscription = observable.subscribe(on_next, on_error, ended.set)
        ended.wait()
        subscription.dispose()
        if errors:
            raise errors[0]
        return SEVERAL_PARTS

    def _keep(self, item: int, result: Any, begun: float, ended: float) -> None:
        """Note a result; send it with those before if that is time."""
        if not self._results:
            self._begun = begun
            self._numbers[JOURNAL_FIRST] = item
        used = self._used
        kind = type(result)
        if used > self._full:
            self._flush_before(item, begun)
            used = 0
        try:
            if kind is int:
                SHORT_INT.pack_into(self._journal, used, INT, begun, ended, result)
                used += SHORT_INT.size
            elif kind is float:
                SHORT_FLOAT.pack_into(self._journal, used, FLOAT, begun, ended, result)
                used += SHORT_INT.size
            elif result is None:
                SHORT_INT.pack_into(self._journal, used, NOTHING, begun, ended, 0)
                used += SHORT_INT.size
            else:
                used = self._write(used, result, item, begun, ended)
        except struct.error:  # a large number
            used = self._write(used, result, item, begun, ended)
        self._results.append(result)
        self._ends.append(ended)
        self._used = used
        if used < 0:
            self._flush()
            return
        self._numbers[JOURNAL_USED] = used
        if ended - self._flushed >= _FLUSH:
            self._flush()

    def _write(self, used: int, result: Any, item: int, begun: float, ended: float) -> int:
        """Write a pickled record; answers the bytes used, below 0 if it does not fit."""
        data = pickle.dumps(result, 5)
        behind = used + RECORD.size + len(data)
        if behind > len(self._journal):
            self._flush_before(item, begun)
            used, behind = 0, RECORD.size + len(data)
            if behind > len(self._journal):
                return -1  # it goes at once
        RECORD.pack_into(self._journal, used, len(data), begun, ended)
        self._journal[used + RECORD.size : behind] = data
        return behind

    def _flush_before(self, item: int, begun: float) -> None:
        """Make room in the journal for the result of *item*."""
        self._flush()
        self._begun = begun
        self._numbers[JOURNAL_FIRST] = item

    def _flush(self) -> None:
        """Send the results that were not sent."""
        if self._results:
            first = int(self._numbers[JOURNAL_FIRST])
            self.send(RESULTS, first, self._results, self._begun, self._ends)
            self._results, self._ends = [], []
            self._used = 0
            self._numbers[JOURNAL_USED] = 0.0
        self._flushed = monotonic()

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
        if self._max_memory is None or self._results:
            return False
        if resident_bytes() <= self._max_memory:
            return False
        logging.getLogger("rxpool").info("worker %s has grown too large", os.getpid())
        return True
