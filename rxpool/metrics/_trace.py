"""`TraceWriter`: attempts as a file that Perfetto and ``chrome://tracing`` open."""

import json
import os
import threading
from os import PathLike
from types import TracebackType
from typing import Any, Self

from rxpool._forks import heed, held
from rxpool.metrics._attempt_record import AttemptRecord

__all__ = ("TraceWriter",)


class TraceWriter:
    """Writes attempts in the Trace Event Format, as a JSON array.

    Each worker is a lane of its own, named and in the order in which they came.  An attempt
    is a slice from its start to its end, with outcome, attempt number, error and the
    seconds it waited since its acceptance; the start of a second or later attempt and the
    crash of a worker are marked besides.

    Every attempt is handed to the system at once.  If the program is killed, the file lacks
    the closing bracket, which the format allows for and the viewers do without.  A context
    manager; what comes after `close` is left out.  Can be used from any thread.

    Args:
        path: The file; what it held before is lost.
        name: What to call the process in the picture.

    Raises:
        OSError: If the file cannot be opened.
    """

    def __init__(self, path: str | PathLike[str], *, name: str = "rxpool") -> None:
        self._lock = held(threading.RLock())
        self._lanes: dict[str, int] = {}
        self._pid = os.getpid()
        self._file = open(path, "w", encoding="utf-8", buffering=1)  # noqa: SIM115
        self._file.write("[\n" + json.dumps(self._metadata("process_name", 0, name=name)))
        self._file.flush()
        heed(self)

    def forked(self) -> None:
        """The file is the parent's: a child writes no more to it, nor the closing bracket."""
        self._file.close()

    def on_next(self, value: AttemptRecord, /) -> None:
        """Write one attempt.

        Raises:
            ValueError: If a time is not finite: JSON has no such numbers.
            OSError: If it cannot be written.
        """
        with self._lock:
            if self._file.closed:
                return
            events: list[dict[str, Any]] = []
            lane = self._lanes.get(value.worker)
            if lane is None:
                lane = len(self._lanes) + 1
                events.append(self._metadata("thread_name", lane, name=value.worker))
                events.append(self._metadata("thread_sort_index", lane, sort_index=lane))
            events += self._events(value, lane)
            text = "".join(",\n" + json.dumps(event, allow_nan=False) for event in events)
            self._lanes[value.worker] = lane
            self._file.write(text)
            self._file.flush()

    def _events(self, record: AttemptRecord, lane: int) -> list[dict[str, Any]]:
        args: dict[str, Any] = {
            "waited_s": max(0.0, record.started - record.accepted),
            "outcome": record.outcome,
            "attempt": record.attempt,
        }
        if record.error is not None:
            args["error"] = record.error
        start = _micro(record.started)
        events: list[dict[str, Any]] = [
            {
                "name": record.name,
                "cat": "attempt",
                "ph": "X",
                "ts": start,
                "dur": max(0.0, round(_micro(record.ended) - start, 3)),
                "pid": self._pid,
                "tid": lane,
                "args": args,
            }
        ]
        if record.attempt > 1:
            events.append(self._instant("retry", start, lane, attempt=record.attempt))
        if record.outcome == "crashed":
            events.append(
                self._instant("crash", _micro(record.ended), lane, error=record.error)
            )
        return events

    def _instant(self, name: str, at: float, lane: int, **args: Any) -> dict[str, Any]:
        scope = {"ph": "i", "s": "t", "ts": at}
        return {"name": name, "cat": name, **scope, "pid": self._pid, "tid": lane, "args": args}

    def _metadata(self, kind: str, lane: int, **args: Any) -> dict[str, Any]:
        return {"name": kind, "ph": "M", "ts": 0, "pid": self._pid, "tid": lane, "args": args}

    def on_error(self, error: Exception) -> None:
        """The stream of records failed: close the file."""
        self.close()

    def on_completed(self) -> None:
        """The stream of records ended: close the file."""
        self.close()

    def close(self) -> None:
        """Write the closing bracket; again does nothing."""
        with self._lock:
            if not self._file.closed:
                self._file.write("\n]\n")
                self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _micro(seconds: float) -> float:
    """The format counts in microseconds; three digits are kept of what is below."""
    return round(seconds * 1e6, 3)
