"""Waiting in tests for what other threads and processes are about to do."""

import threading
import time

WAIT = 30.0  #: seconds after which something that should happen is given up


def eventually(condition, seconds=WAIT):
    """Wait until *condition* holds; answers what it gave."""
    pause = threading.Event()
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it never happened"
        pause.wait(0.001)
    return found


def is_free(lock, seconds=5.0):
    """Whether another thread can have *lock*, which it gives back."""
    got = []

    def take():
        if lock.acquire(timeout=seconds):
            lock.release()
            got.append(True)

    other = threading.Thread(target=take)
    other.start()
    other.join()
    return bool(got)
