"""Executors of the user, for tests of pools on them."""

import threading
from concurrent.futures import Executor, Future

from tests.waiting import WAIT


class Manual(Executor):
    """Runs calls when it is told to; answers on threads of the test."""

    def __init__(self):
        self.calls = []
        self.refusal = None

    def submit(self, function, /, *args, **kwargs):
        """Keep the call."""
        if self.refusal is not None:
            raise self.refusal
        future = Future()
        self.calls.append((future, function, args, kwargs))
        return future

    def run(self, place=0):
        """Make a call that was kept."""
        future, function, args, kwargs = self.calls.pop(place)
        if not future.set_running_or_notify_cancel():
            return
        try:
            value = function(*args, **kwargs)
        except BaseException as error:
            future.set_exception(error)
        else:
            future.set_result(value)

    def begin(self):
        """A worker has taken the first call."""
        assert self.calls[0][0].set_running_or_notify_cancel()

    def end(self):
        """The first call, which was begun, ends."""
        self.calls.pop(0)[0].set_result(None)


def collect(stream):
    """What a stream emits."""
    seen, ended = [], threading.Event()
    stream.subscribe(seen.append, lambda e: (seen.append(e), ended.set()), ended.set)
    assert ended.wait(WAIT)
    return seen
