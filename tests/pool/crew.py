"""Threads in tests of the pool: subscribers, producers and waiting for them."""

import threading

from tests.waiting import WAIT


class Oops(Exception):
    """What failing work raises."""


class Sink:
    """A subscriber that keeps what it is given and can be waited for."""

    def __init__(self, on_next=lambda value: None):
        self.values, self.error, self._ended = [], None, threading.Event()
        self._on_next = on_next
        self.completed = False

    def on_next(self, value):
        """Keep a value."""
        self.values.append(value)
        self._on_next(value)

    def on_error(self, error):
        """Keep the error."""
        self.error = error
        self._ended.set()

    def on_completed(self):
        """Note the completion."""
        self.completed = True
        self._ended.set()

    def to(self, stream):
        """Subscribe to *stream*."""
        self.subscription = stream.subscribe(self.on_next, self.on_error, self.on_completed)
        return self

    def wait(self):
        """Wait for the end; give the values or raise the error."""
        assert self._ended.wait(WAIT), f"no end after {len(self.values)} values"
        if self.error is not None:
            raise self.error
        return self.values


def collect(stream):
    """All values of *stream*."""
    return Sink().to(stream).wait()


def started(target, *args):
    """Start a thread."""
    thread = threading.Thread(target=target, args=args, daemon=True)
    thread.start()
    return thread


def joined(*threads):
    """Wait for the ends of threads."""
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive()


def passed(gate):
    """Wait until *gate* is open."""
    assert gate.wait(WAIT)


def balanced(pool):
    """The books, after checking that they balance and nothing is inside."""
    r = pool.report()
    assert r.accepted == r.succeeded + r.failed + r.dropped + r.cancelled + r.in_flight
    assert (r.in_flight, r.waiting, r.flows) == (0, 0, ())
    return r


def open_gate(gate):
    """Wait at *gate*, longer than anybody waits for what should not wait for it."""
    assert gate.wait(3 * WAIT)
