"""What worker processes run in the tests of how they start."""

import os
import signal
import time
from pathlib import Path


def double(n):
    """Twice *n*."""
    return 2 * n


def nap(seconds):
    """Take a while; the process that did."""
    time.sleep(seconds)
    return os.getpid()


def note(folder):
    """Note that a process is being started: an empty file with its pid as the name."""
    Path(folder, str(os.getpid())).touch()


def noted(folder):
    """The processes that were."""
    return [int(path.name) for path in Path(folder).iterdir() if path.name.isdecimal()]


def storm(folder, number):
    """An initializer: killed by a signal, as long as there is a file of that name."""
    note(folder)
    if Path(folder, "storm").exists():
        os.kill(os.getpid(), number)
        signal.pause()


def hang(folder):
    """An initializer: does not return while there is a file of that name."""
    note(folder)
    while Path(folder, "hang").exists():
        time.sleep(0.005)


def leave_with_child(folder):
    """An initializer: dies, while a child of it has all its descriptors."""
    note(folder)
    if os.fork() == 0:
        time.sleep(30)
        os._exit(0)
    os._exit(7)
