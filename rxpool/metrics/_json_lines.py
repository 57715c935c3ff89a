"""`JsonLinesSink`: metric events as lines of a file."""

import json
import threading
from os import PathLike
from types import TracebackType
from typing import Self

from rxpool._forks import held
from rxpool.events import MetricEvent
from rxpool.metrics._sink import Sink

__all__ = ("JsonLinesSink",)


class JsonLinesSink(Sink):
    """Appends each event to a file as one line of JSON.

    The members of the object are those of `MetricEvent`: ``name``, ``value``, ``unit``,
    ``at`` and ``attributes``.  Each line is handed to the system at once, so a program that is
    killed loses none.  A context manager; events that come after `close` are left out.  Can be
    used from any thread.

    Args:
        path: The file; made if there is none, else continued.

    Raises:
        OSError: If the file cannot be opened.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        self._lock = held(threading.RLock())
        self._file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115

    def on_next(self, value: MetricEvent, /) -> None:
        """Append one event.

        Raises:
            ValueError: If its value is not finite: JSON has no such numbers.
            OSError: If it cannot be written.
        """
        line = json.dumps(
            {
                "name": value.name,
                "value": value.value,
                "unit": value.unit,
                "at": value.at,
                "attributes": dict(value.attributes),
            },
            allow_nan=False,
        )
        with self._lock:
            if not self._file.closed:
                self._file.write(line + "\n")

    def close(self) -> None:
        """Close the file; again does nothing."""
        with self._lock:
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
