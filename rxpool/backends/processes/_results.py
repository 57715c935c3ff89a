"""`Results`: what becomes of the results of a worker."""

from collections.abc import Callable, Sequence
from typing import Any, TypeAlias

from rxpool.backends._remote import decode_error, shown
from rxpool.backends._runner import SEVERAL, ChunkRunner
from rxpool.backends.processes._codec import decode, size_of, spans_of
from rxpool.backends.processes._in_flight import InFlight
from rxpool.backends.processes._protocol import SEVERAL_PARTS
from rxpool.backends.processes._result_log import unsent
from rxpool.backends.processes._shared_block import FREED_OUT, SharedBlock
from rxpool.errors import NotPicklable

__all__ = ("GoOn", "Refill", "Results")

#: is given another task for the worker, or None
GoOn: TypeAlias = Callable[[Any], object]

#: is told how many items took how many seconds, and how many are left at the worker, which
#: may be given more; answers those for it that cannot be sent
Refill: TypeAlias = Callable[[int, float, int], list[Any]]


class Results:
    """Gives tasks their results: those that a worker sent, and those that it had no time to.

    For the thread that serves the worker alone.
    """

    def __init__(self, runner: ChunkRunner, in_flight: InFlight, block: SharedBlock) -> None:
        self._runner = runner
        self._in_flight = in_flight
        self._block: SharedBlock | None = block

    def take(
        self,
        first: int,
        wires: Sequence[Any],
        begun: float,
        ends: Sequence[float],
        go_on: GoOn,
        refill: Refill,
        takes_more: bool = True,
    ) -> None:
        """Results have come, from item *first* on; with *takes_more* it can be refilled.

        Raises:
            ValueError: If they are no results of items that are there.
        """
        in_flight = self._in_flight
        known = in_flight.first - first  # so many were found in the log before
        if known >= len(wires):
            return
        if known:
            begun = ends[known - 1]
            wires, ends = wires[known:], ends[known:]
        tasks, left = in_flight.done(len(wires), ends[-1])
        try:
            packed = tuple in map(type, wires)
            if packed:
                self._weigh(tasks, wires)  # before more is asked for
            bad = refill(len(tasks), ends[-1] - begun, left if takes_more else 0)
            values = self._unpack_all(tasks, wires) if packed else wires
            done = self._runner.ran(tasks, values, begun, ends)
            done += bad
            if done:
                self._runner.finish(done, in_flight.rest() if in_flight.sent else (), go_on)
            elif not left:
                go_on(None)  # they had been taken back
        except BaseException as error:
            # A fault of ours: whoever serves the worker ends it.  These have left it.
            undone = [task for task in tasks if task is not None and not task.settled]
            for task in undone:
                self._runner.failed(task, error)
            if undone:
                self._runner.finish(undone, in_flight.rest(), go_on)
            raise

    def _weigh(self, tasks: Sequence[Any], wires: Sequence[Any]) -> None:
        """Tell how large results are."""
        sizes = [size_of(wire) for wire in wires if type(wire) is tuple]
        task = next((task for task in tasks if task is not None), None)
        if task is not None:
            self._runner.weighed(task, len(sizes), sum(sizes), True)

    def _unpack_all(self, tasks: Sequence[Any], wires: Sequence[Any]) -> list[Any]:
        """The values of *tasks*; those that have an error instead have failed then."""
        return [
            wire if task is None or type(wire) is not tuple else self._unpack(task, wire)
            for task, wire in zip(tasks, wires, strict=True)
        ]

    def _unpack(self, task: Any, wire: Any) -> Any:
        """The value that a message part stands for; if that is an error, *task* has failed."""
        if wire == SEVERAL_PARTS:
            return SEVERAL
        error = decode_error(wire)
        if error is not None:
            self._runner.failed(task, error)
            return None
        block = self._block
        assert block is not None
        try:
            return decode(wire, block.results)
        except BaseException as reason:
            failure = NotPicklable(f"the result cannot be unpickled here: {shown(reason)}")
            failure.__cause__ = reason
            self._runner.failed(task, failure)
            return None
        finally:
            for span in spans_of(wire):
                block.numbers[FREED_OUT] = span[2]

    def recover(self, go_on: GoOn, refill: Refill) -> None:
        """Take results from the log that the worker could not send yet, or ever."""
        block = self._block
        assert block is not None
        found = unsent(block, self._in_flight.first)
        if found is not None:
            first, records = found
            wires = [wire for wire, _, _ in records]
            ends = [ended for _, _, ended in records]
            self.take(first, wires, records[0][1], ends, go_on, refill, False)

    def detach(self) -> None:
        """Nothing is found any more: give the memory up."""
        self._block = None
