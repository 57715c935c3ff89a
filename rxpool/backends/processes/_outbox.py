"""`Outbox`: what a worker is told, until it has ended."""

import os
import select
import sys
import threading
from contextlib import suppress
from multiprocessing.connection import Connection
from socket import SHUT_RDWR, socket
from typing import Final

from rxpool import _forks
from rxpool.backends.processes._protocol import EXIT, HEADER

__all__ = ("Outbox", "takes_more")

_TELLING: Final = 1.0  #: seconds for another message to a worker to be on its way


class Outbox:
    """Sends messages to a worker; one that has ended gets none, and nobody is told.

    ``_sending`` is held while one is written.  Nobody writes to a connection that is being
    closed: its number may be that of another one by then.
    """

    def __init__(self, conn: Connection) -> None:
        self._conn = conn
        self._sending = _forks.afresh(threading.Lock())

    def send(self, first: int, body: bytes) -> None:
        """Send items, the first of which has this number."""
        with self._sending, suppress(OSError, ValueError):  # it has ended
            self._conn.send_bytes(HEADER.pack(os.getpid(), first) + body)

    def send_exit(self) -> None:
        """Tell an idle worker to end; one that reads nothing is not waited for."""
        if not self._sending.acquire(timeout=_TELLING):
            return
        try:
            with suppress(OSError, ValueError):  # it has ended
                if takes_more(self._conn):
                    self._conn.send_bytes(HEADER.pack(os.getpid(), 0) + EXIT)
        finally:
            self._sending.release()

    def close(self) -> None:
        """Close the connection, also against one who waits for room in it."""
        if sys.platform != "win32":
            # Nobody sends to it any more: one who waits for room would do so for ever, if
            # others hold the worker's end.
            with suppress(OSError), socket(fileno=os.dup(self._conn.fileno())) as end:
                end.shutdown(SHUT_RDWR)
        with self._sending:
            self._conn.close()


def takes_more(conn: Connection) -> bool:
    """Whether a short message can be sent at once, as the other side has read so far."""
    if not hasattr(select, "poll"):
        return True
    poll = select.poll()
    poll.register(conn.fileno(), select.POLLOUT)
    return bool(poll.poll(0))
