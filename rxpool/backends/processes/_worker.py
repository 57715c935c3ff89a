"""What runs in a worker process."""

import logging
import os
import pickle
import signal
import struct
import threading
from collections import deque
from collections.abc import Callable, Sequence
from multiprocessing import parent_process
from multiprocessing.connection import Connection, wait
from time import monotonic
from typing import Any, Final

from reactivex import abc

from rxpool.backends._awaiting import run_here
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
from rxpool.backends.processes._wire import ATOMS, decode, encode, encode_error, spans_of
from rxpool.tasks import find_with

__all__ = ("RECORD", "main")

_FLUSH: Final = 0.002  #: seconds that a result may wait for others

#: the head of a record in the journal: length of the pickle, when the item began and ended
RECORD: Final = struct.Struct("<Qdd")


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
        self._item = -1  # that runs
        self._ran = 0
        self._results: list[Any] = []  # not sent
        self._ends: list[float] = []
        self._begun = 0.0
        self._used = 0  # bytes of the journal
        self._flushed = 0.0
        self._borrowed: deque[tuple[int, list[memoryview]]] = deque()  # buffers still in use
        find_with(self._current)

    def _current(self) -> _Handle | None:
        if self._item < 0 or threading.current_thread() is not threading.main_thread():
            return None
        return _Handle(self, self._item)

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
        broken: BaseException | None = None
        if fn is None:
            try:
                fn = self._functions[known] = decode(function)
            except BaseException as error:
                broken = error
        begun = self._flushed = monotonic()
        try:
            for item, wire in enumerate(wires, first):
                # First the intent, then the look at the limit: the parent does it the other
                # way round, so never do both think that the item is theirs.
                numbers[STARTED] = begun
                numbers[RUNNING] = item
                if numbers[LIMIT] <= item < numbers[RESUME]:
                    self._flush()
                    self._free(wires[item - first :])
                    self.send(SKIPPED, item, first + len(wires) - item)
                    return True
                self._item = item
                if broken is None:
                    assert fn is not None
                    result = self._attempt(fn, wire)
                else:
                    result = encode_error(broken)
                ended = monotonic()
                self._keep(item, result, begun, ended)
                begun = ended
                self._ran += 1
                if self._enough():
                    self._flush()
                    self.send(BYE)
                    return False
            self._flush()
        finally:
            self._item = -1
        if self._enough():
            self.send(BYE)
            return False
        return True

    def _attempt(self, fn: Callable[[Any], Any], wire: Any) -> Any:
        """Run one item: what stands for its result."""
        if type(wire) is not tuple:
            try:
                value = fn(wire)
                if type(value) in ATOMS:
                    return encode(value, self._block.results, "the result")
                return self._encode(value)
            except BaseException as error:
                return encode_error(error)
        views: list[memoryview] = []
        item = value = None
        try:
            item = decode(wire, self._block.items, views)
            value = fn(item)
            return self._encode(value)
        except BaseException as error:
            return encode_error(error)
        finally:
            del item, value
            if spans := spans_of(wire):
                self._borrowed.append((spans[-1][2], views))
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
        item = self._item
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
        numbers, journal = self._numbers, self._block.journal
        data = pickle.dumps(result, 5)
        behind = self._used + RECORD.size + len(data)
        if behind > len(journal):
            self._flush()
            behind = RECORD.size + len(data)
        if not self._results:
            self._begun = begun
            numbers[JOURNAL_FIRST] = item
        self._results.append(result)
        self._ends.append(ended)
        if behind > len(journal):  # too large: it goes at once
            self._flush()
            return
        RECORD.pack_into(journal, self._used, len(data), begun, ended)
        journal[self._used + RECORD.size : behind] = data
        self._used = behind
        numbers[JOURNAL_USED] = behind
        if ended - self._flushed >= _FLUSH:
            self._flush()

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
            position, views = self._borrowed[0]
            try:
                while views:
                    views[-1].release()
                    views.pop()
            except BufferError:  # the user's code has kept the item, or a part of it
                return
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
