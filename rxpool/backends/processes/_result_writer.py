"""`ResultWriter`: the results of a worker, until they are sent."""

# What users send is of any type.
# pyright: reportUnknownArgumentType=false, reportUnknownVariableType=false
# pyright: reportUnknownMemberType=false

import pickle
import struct
from collections.abc import Callable
from time import monotonic
from typing import Any, Final, NoReturn

from rxpool.backends.processes._parting import leave
from rxpool.backends.processes._protocol import RESULTS
from rxpool.backends.processes._result_log import (
    FLOAT,
    INT,
    NOTHING,
    RECORD,
    SHORT_FLOAT,
    SHORT_INT,
)
from rxpool.backends.processes._shared_block import (
    RESULT_LOG_FIRST,
    RESULT_LOG_USED,
    SharedBlock,
)

__all__ = ("ResultWriter",)

_FLUSH: Final = 0.002  #: seconds that a result may wait for others


class ResultWriter:
    """Has results logged before the worker goes on to its next item.

    Several results go home in one message.  If the process dies before, the parent finds
    them in the log: finished work is never done twice.

    For the thread that runs items alone.
    """

    def __init__(self, block: SharedBlock, send: Callable[..., None]) -> None:
        self._numbers = block.numbers
        self._log = block.result_log
        self._full = len(block.result_log) - SHORT_INT.size  # no more records beyond
        self._send = send
        self._results: list[Any] = []  # not sent
        self._ends: list[float] = []
        self._begun = 0.0
        self._used = 0  # bytes of the log
        self._flushed = 0.0

    @property
    def are_sent(self) -> bool:
        """Whether there are none."""
        return not self._results

    def begin(self) -> float:
        """Items are going to be run, from now on, which is answered."""
        self._flushed = now = monotonic()
        return now

    def keep(self, item: int, result: Any, begun: float, ended: float) -> None:
        """Note a result; send it with those before if that is time."""
        if not self._results:
            self._begun = begun
            self._numbers[RESULT_LOG_FIRST] = item
        used = self._used
        kind = type(result)
        if used > self._full:
            self._flush_before(item, begun)
            used = 0
        try:
            if kind is int:
                SHORT_INT.pack_into(self._log, used, INT, begun, ended, result)
                used += SHORT_INT.size
            elif kind is float:
                SHORT_FLOAT.pack_into(self._log, used, FLOAT, begun, ended, result)
                used += SHORT_INT.size
            elif result is None:
                SHORT_INT.pack_into(self._log, used, NOTHING, begun, ended, 0)
                used += SHORT_INT.size
            else:
                used = self._write(used, result, item, begun, ended)
        except struct.error:  # a large number
            used = self._write(used, result, item, begun, ended)
        self._results.append(result)
        self._ends.append(ended)
        self._used = used
        if used < 0:
            self.flush()
            return
        self._numbers[RESULT_LOG_USED] = used
        if ended - self._flushed >= _FLUSH:
            self.flush()

    def _write(self, used: int, result: Any, item: int, begun: float, ended: float) -> int:
        """Write a pickled record; answers the bytes used, below 0 if it does not fit."""
        data = pickle.dumps(result, 5)
        behind = used + RECORD.size + len(data)
        if behind > len(self._log):
            self._flush_before(item, begun)
            used, behind = 0, RECORD.size + len(data)
            if behind > len(self._log):
                return -1  # it goes at once
        RECORD.pack_into(self._log, used, len(data), begun, ended)
        self._log[used + RECORD.size : behind] = data
        return behind

    def _flush_before(self, item: int, begun: float) -> None:
        """Make room in the log for the result of *item*."""
        self.flush()
        self._begun = begun
        self._numbers[RESULT_LOG_FIRST] = item

    def flush(self) -> None:
        """Send the results that were not sent."""
        if self._results:
            first = int(self._numbers[RESULT_LOG_FIRST])
            self._send(RESULTS, first, self._results, self._begun, self._ends)
            self._results, self._ends = [], []
            self._used = 0
            self._numbers[RESULT_LOG_USED] = 0.0
        self._flushed = monotonic()

    def part(self) -> None:
        """This is a process that a task has forked: nothing is sent or written here."""
        _become_parted(self)


class _Parted(ResultWriter):
    """What it is in such a process, which ends where the user's code comes back."""

    def keep(self, item: int, result: Any, begun: float, ended: float) -> NoReturn:
        """It has returned."""
        leave()


def _become_parted(results: ResultWriter) -> None:
    results.__class__ = _Parted  # so that `keep` need not ask, at each item
