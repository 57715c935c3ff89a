"""`Inbox`: what a worker says, until it has ended."""

import os
import select
import struct
import sys
from collections.abc import Callable
from multiprocessing.connection import Connection, wait
from typing import Any, Final

__all__ = ("Inbox",)

_CHUNK: Final = 64 * 1024

# How `Connection.send_bytes` sends a message: behind its length, or behind -1 and its length.
_SHORT: Final = struct.Struct("!i")
_LONG: Final = struct.Struct("!Q")


class Inbox:
    """The messages of a worker, in their order.

    Its end is told by *sentinel*, unless it *goes_on*: then that told of the fork server.
    Others may hold its end of the connection: so that comes to no end by itself, nor does a
    message within which the worker has died.
    """

    def __init__(
        self,
        conn: Connection,
        sentinel: int | None,
        goes_on: Callable[[], bool] = lambda: False,
    ) -> None:
        self._conn = conn
        self._goes_on = goes_on
        self._come = bytearray()
        self._needed = _SHORT.size  # so many bytes tell more than there is
        self._poll = _poller(conn, sentinel)

    def take(self, seconds: float | None) -> bytes | None:
        """The next message; None after so many seconds in which nothing comes.

        Raises:
            EOFError: If the worker has ended, and no message is left.
        """
        while True:
            if len(self._come) >= self._needed and (message := self._first()) is not None:
                return message
            readable, has_ended = self._poll(seconds)
            if has_ended and self._goes_on():
                self._poll = _poller(self._conn, None)
                continue
            if not readable:
                if has_ended:
                    raise EOFError
                return None
            if sys.platform == "win32":
                return self._conn.recv_bytes()
            come = os.read(self._conn.fileno(), _CHUNK)
            if not come:
                raise EOFError
            self._come += come

    def _first(self) -> bytes | None:
        """The first message, if all of it is there."""
        come = self._come
        begin = _SHORT.size
        (length,) = _SHORT.unpack_from(come)
        if length < 0:
            begin += _LONG.size
            if len(come) < begin:
                self._needed = begin
                return None
            (length,) = _LONG.unpack_from(come, _SHORT.size)
        end = begin + length
        if len(come) < end:
            self._needed = end
            return None
        with memoryview(come) as view:
            message = bytes(view[begin:end])
        del come[:end]
        self._needed = _SHORT.size
        return message


def _poller(
    conn: Connection, sentinel: int | None
) -> Callable[[float | None], tuple[bool, bool]]:
    """Waits so many seconds: whether there is something to read, and the process has ended."""
    if not hasattr(select, "poll"):
        sources: list[Any] = [conn] if sentinel is None else [conn, sentinel]

        def ask(seconds: float | None) -> tuple[bool, bool]:
            found = wait(sources, seconds)
            return conn in found, sentinel in found

        return ask

    poll = select.poll()
    ours = conn.fileno()
    poll.register(ours, select.POLLIN)
    if sentinel is not None:
        poll.register(sentinel, select.POLLIN)

    def look(seconds: float | None) -> tuple[bool, bool]:
        found = dict(poll.poll(None if seconds is None else seconds * 1000))
        return ours in found, sentinel in found

    return look
