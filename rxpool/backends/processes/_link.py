"""`Link`: the parent's side of one worker process."""

import pickle
import select
import struct
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from contextlib import suppress
from multiprocessing.connection import Connection
from typing import Any, Final

from rxpool.backends._base import SEVERAL, Runner
from rxpool.backends.processes._journal import records
from rxpool.backends.processes._logs import take_in
from rxpool.backends.processes._memory import (
    FREED_OUT,
    JOURNAL_FIRST,
    JOURNAL_USED,
    LIMIT,
    RESUME,
    RUNNING,
    Block,
)
from rxpool.backends.processes._messages import (
    BYE,
    EXIT,
    FAILED,
    LOG,
    PART,
    PROGRESS,
    READY,
    RESULTS,
    SEVERAL_PARTS,
    SKIPPED,
)
from rxpool.backends.processes._parcel import Note, Parcel
from rxpool.backends.processes._tracked import Tracked, afresh
from rxpool.backends.processes._wire import decode, decode_error, spans_of
from rxpool.errors import NotPicklable

__all__ = ("Link", "LinkDead")

_PIPE: Final = 32 * 1024  #: bytes that a busy worker's connection surely takes


class LinkDead(Exception):
    """The worker that was to be given a task has ended."""


class Link(Tracked):
    """Sends items to one process and takes in what comes back, until it ends.

    What is `Tracked` is changed by the thread that serves the link, and by whoever gives an
    idle worker a task.
    """

    def __init__(self, runner: Runner, conn: Connection, block: Block) -> None:
        super().__init__(block)
        self.dead = False  # nothing can be sent any more
        self.lane: str | None = None  # what the process is called
        self.leaving = False  # the worker is about to end by itself
        self.verdict: tuple[Any, BaseException] | None = None
        self._runner = runner
        self._conn = conn
        # Nobody writes to a connection that is being closed: its number may be that of
        # another one by then.
        self._sending = threading.Lock()
        self._block = block
        self._note: Note | None = None
        self._functions: OrderedDict[int, None] = OrderedDict()
        self._seen = -1.0  # what ran at the last look
        self._server = -1  # the thread that serves
        self._heeded = False  # the worker has surely not begun what is beyond the limit
        self._poll = _poller(conn)

    # -- to the worker ------------------------------------------------------------------

    def give(self, task: Any) -> tuple[list[Any], list[Any]]:
        """Have an idle worker run *task*, and others of its flow behind it.

        Answers those that were sent, and those that cannot be; a cancelled *task* is neither.

        Raises:
            LinkDead: If the worker has ended; *task* is still the caller's.
        """
        try:
            job = self._runner.begin(task)
            if job is None:
                return [], []
            flow = task.flow
            note = flow.note
            if note is None or note.function is not job[0]:
                note = flow.note = Note(job[0])
            note.pickled()
        except Exception as error:
            self._runner.failed(task, error)
            return [], [task]
        # Only the thread that serves the link sees to what is behind a slow item.
        chunk = note.pace.chunk() if self._server == threading.get_ident() else 1
        behind = self._runner.allot(task, chunk - 1) if chunk > 1 else []
        parcel = Parcel(note, self._block.items, [task, *behind], self._runner.failed, job[1])
        if not parcel.tasks:
            return [], parcel.refused
        self._note = note
        body = parcel.seal(self._functions)
        with self.lock:
            dead = self.dead
            first = self.first + len(self.out)
            if not dead:
                self.out.extend(parcel.tasks)
                for each in parcel.tasks:
                    each.note = self
        if dead:
            self._runner.give_back(behind)
            raise LinkDead
        self._runner.started(parcel.tasks[0], None)
        self._post(first, body)
        return parcel.tasks, parcel.refused

    def _give_more(self, note: Note, lot: Sequence[Any]) -> list[Any]:
        """Have a busy worker run *lot* too; answers those that cannot be sent."""
        parcel = Parcel(note, self._block.items, lot, self._runner.failed)
        if not parcel.tasks:
            return parcel.refused
        body = parcel.seal(self._functions)
        if len(body) > _PIPE:
            # A busy worker does not read: what its connection does not take would block.
            parcel.open_again(self._functions)
            self._runner.give_back(parcel.tasks)
            return parcel.refused
        with self.lock:
            first = self.first + len(self.out)
            self.out.extend(parcel.tasks)
        for task in parcel.tasks:
            task.note = self
        self._post(first, body)
        return parcel.refused

    def _post(self, first: int, body: bytes) -> None:
        # If it has died, whoever serves the link finds the tasks in `out`.
        self._send(struct.pack("<Q", first) + body)

    def _send(self, message: bytes) -> None:
        with self._sending, suppress(OSError, ValueError):  # it has ended
            self._conn.send_bytes(message)

    def await_ready(self) -> BaseException | None:
        """Wait until the worker has started; the error of its initializer, if that raised."""
        while True:
            message = pickle.loads(self._conn.recv_bytes())
            if message[0] == READY:
                return None
            if message[0] == FAILED:
                return decode_error(message[1])
            self._take_in(message, lambda _: None)

    @property
    def short(self) -> bool:
        """Whether the items at the worker are known to be short."""
        return self._note is not None and self._note.pace.short

    def close(self) -> None:
        """Nothing comes any more."""
        with self._sending:
            self._conn.close()

    def farewell(self) -> None:
        """Tell an idle worker to end."""
        self.leaving = True
        self._send(EXIT)

    # -- from the worker ----------------------------------------------------------------

    def serve(self, go_on: Callable[[Any], None], mine: Callable[[], bool]) -> bool:
        """Take in what comes, until the worker ends; False if another thread serves now."""
        while mine():
            self._server = threading.get_ident()
            if not self._poll(self._patience()):
                self._look(go_on)
                continue
            try:
                data = self._conn.recv_bytes()
            except (EOFError, OSError):
                return True
            self._take_in(pickle.loads(data), go_on)
        return False

    def _patience(self) -> float | None:
        """Seconds until the worker is to be looked at; None: not before it says something."""
        if len(self.out) <= 1 or self._note is None:
            self._seen = -1.0
            return None
        return self._note.pace.patience

    def _take_in(self, message: tuple[Any, ...], go_on: Callable[[Any], None]) -> None:
        kind = message[0]
        if kind == RESULTS:
            _, first, wires, begun, ends = message
            self._results(int(first), wires, begun, ends, go_on, True)
        elif kind == SKIPPED:
            self._skipped(message[2], go_on)
        elif kind == PART:
            task = self._task(message[1])
            if task is not None:
                try:
                    value = decode(message[2])
                except Exception as error:
                    self._runner.fault("a result of an Observable", error)
                else:
                    self._runner.part(task, value)
        elif kind == PROGRESS:
            task = self._task(message[1])
            if task is not None:
                self._runner.progress(task, message[2])
        elif kind == LOG:
            try:
                take_in(message[1])
            except Exception as error:
                self._runner.fault("a log record of a worker", error)
        elif kind == BYE:
            self.leaving = True

    def _results(
        self,
        first: int,
        wires: Sequence[Any],
        begun: float,
        ends: Sequence[float],
        go_on: Callable[[Any], None],
        topped_up: bool,
    ) -> None:
        known = self.first - first  # so many were found in the journal before
        if known >= len(wires):
            return
        with self.lock:
            tasks = [self.out.popleft() for _ in range(len(wires) - known)]
            self.first += len(tasks)
            left = len(self.out)
        note = self._note
        bad: list[Any] = []
        if known:
            begun = ends[known - 1]
            wires, ends = wires[known:], ends[known:]
        if note is not None:
            note.pace.ran(len(tasks), ends[-1] - begun)
            if topped_up and left and not self.leaving and (last := self.out[-1]) is not None:
                more = note.pace.more(left)
                if more and (lot := self._runner.allot(last, more)):
                    bad = self._give_more(note, lot)
        done: list[Any] = []
        for task, wire, ended in zip(tasks, wires, ends, strict=True):
            if task is not None:
                task.started = begun
                task.took = ended - begun
                if type(wire) is not tuple:
                    task.value = wire
                else:
                    self._unpack(task, wire)
                done.append(task)
            begun = ended
        done += bad
        if done:
            self._runner.finish(done, [task for task in self.out if task], go_on)
        elif not left:
            go_on(None)  # they had been taken back

    def _unpack(self, task: Any, wire: Any) -> None:
        """Give *task* the value or the error that a message part stands for."""
        if wire == SEVERAL_PARTS:
            task.value = SEVERAL
            return
        error = decode_error(wire)
        if error is not None:
            self._runner.failed(task, error)
            return
        try:
            task.value = decode(wire, self._block.results)
        except BaseException as reason:
            failure = NotPicklable(f"the result cannot be unpickled here: {reason!r}")
            failure.__cause__ = reason
            self._runner.failed(task, failure)
        finally:
            for span in spans_of(wire):
                self._numbers[FREED_OUT] = span[2]

    def _skipped(self, items: int, go_on: Callable[[Any], None]) -> None:
        """The worker left out what it was not to run."""
        with self.lock:
            tasks = [self.out.popleft() for _ in range(items)]
            self.first += items
            left = bool(self.out)
        unwanted = [task for task in tasks if task is not None]
        if unwanted:
            self._runner.give_back(afresh(unwanted))
        if not left:
            go_on(None)

    # -- looking at the worker --------------------------------------------------------------

    def _look(self, go_on: Callable[[Any], None]) -> None:
        """The worker has been busy for a while: let no other item wait for that one.

        Results from before it come from the journal.  Items behind it are given back, in two
        steps: first the limit is set; at the next look, when that has surely been seen by
        a worker that is about to begin an item, it shows whether one was begun.
        """
        numbers = self._numbers
        running = numbers[RUNNING]
        if running != self._seen:
            self._seen = running
            return
        if running > self.first:
            self.harvest(go_on)
        with self.lock:
            if self.stop_before_next():
                return
            limit, end = numbers[LIMIT], numbers[RESUME]
            if numbers[RUNNING] >= limit:
                self._heeded = False
                return
            taken: list[Any] = []
            for index in range(max(0, int(limit) - self.first), int(end) - self.first):
                if self.out[index] is not None:
                    taken.append(self.out[index])
                    self.out[index] = None
        if taken:
            self._runner.give_back(afresh(taken))

    def harvest(self, go_on: Callable[[Any], None]) -> None:
        """Take results from the journal that the worker could not send yet, or ever."""
        numbers = self._numbers
        running = numbers[RUNNING]
        used, first = int(numbers[JOURNAL_USED]), int(numbers[JOURNAL_FIRST])
        journal = bytes(self._block.journal[:used])
        if (numbers[RUNNING], numbers[JOURNAL_USED], numbers[JOURNAL_FIRST]) != (
            running,
            used,
            first,
        ):
            return  # the worker goes on, and may be writing there
        if first > self.first:
            return  # it has just sent what comes before that
        found = list(records(journal))
        if found:
            wires = [wire for wire, _, _ in found]
            ends = [ended for _, _, ended in found]
            self._results(first, wires, found[0][1], ends, go_on, False)


def _poller(conn: Connection) -> Callable[[float | None], Any]:
    """Waits so many seconds for something to read."""
    if not hasattr(select, "poll"):
        return lambda seconds: conn.poll(seconds)
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLIN)
    return lambda seconds: poll.poll(None if seconds is None else seconds * 1000)
