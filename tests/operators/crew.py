"""Producers and subscribers on threads, for tests of the operators."""

import sys
import threading
import time
from contextlib import contextmanager

from rxpool import operators as ops
from tests.waiting import WAIT

BOOM = RuntimeError("boom")


def start(function, *args):
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def finish(*threads):
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive(), "a thread hangs"


def until_blocked(thread):
    """Wait until *thread* waits for a condition, an event or a lock of `threading`."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        frame = sys._current_frames().get(thread.ident)
        if frame is not None and frame.f_code.co_filename == threading.__file__:
            frame = frame.f_back
            if frame is not None and frame.f_code.co_name in ("wait", "_wait_for_room"):
                return
        time.sleep(0.001)
    raise AssertionError("the thread never waited")


class Sink:
    """A subscriber that notices when two threads are in it at once."""

    def __init__(self):
        self.values = []
        self.overlaps = 0
        self.late = 0
        self.ended = threading.Event()
        self._busy = threading.Lock()

    @contextmanager
    def alone(self):
        free = self._busy.acquire(blocking=False)
        self.overlaps += not free
        self.late += self.ended.is_set()
        time.sleep(0)  # let others in, if they can get in
        yield
        if free:
            self._busy.release()

    def on_next(self, value):
        with self.alone():
            # a batch must not grow any more: keep what it was
            self.values.append(list(value) if isinstance(value, list) else value)

    def on_error(self, error):
        self.on_next(error)
        self.ended.set()

    def on_completed(self):
        with self.alone():
            pass
        self.ended.set()


def flat(values):
    """The items of values that may be batches."""
    return [i for value in values for i in (value if isinstance(value, list) else [value])]


TIMED = {
    "batch": lambda: ops.batch(1000, 0.0001),
    "throttle": lambda: ops.throttle(10_000, burst=0),
    "debounce": lambda: ops.debounce(0.0001),
}


class Slow:
    """A subscriber that takes each value when it is told to."""

    def __init__(self):
        self.values = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def on_next(self, value):
        self.entered.release()
        assert self.go.acquire(timeout=WAIT)
        self.values.append(value)

    def is_busy(self):
        assert self.entered.acquire(timeout=WAIT)


def push(source, *items):
    for item in items:
        source.on_next(item)
