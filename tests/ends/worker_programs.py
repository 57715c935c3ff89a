"""Programs whose worker processes fork, start programs and get signals."""

import textwrap
import threading

from tests.ends.programs import LIMIT

#: what all programs here begin with
HEAD = """
import os, signal, subprocess, sys, threading, time, warnings
from pathlib import Path

import psutil
import reactivex as rx

from rxpool import Failure, WorkerPool, current_task
from rxpool.errors import TaskTimeout, WorkerCrashed

# From 3.12 on a fork of a process with threads is warned of; workers have one that watches.
warnings.filterwarnings("ignore", "This process", DeprecationWarning)


def note(text, path="notes"):
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{text}\\n".encode())
    os.close(file)


def notes(path="notes"):
    return Path(path).read_text().splitlines() if os.path.exists(path) else []


def until(condition):
    for _ in range(10_000):
        if condition():
            return
        time.sleep(0.002)
    raise AssertionError("it never happened")


def is_gone(pid):
    try:
        return psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def exit_code(pid):
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
"""


def program(*parts):
    """The text of a program, of parts that are indented each in its way."""
    return HEAD + "".join(map(textwrap.dedent, parts))


def noted(folder, path="notes"):
    """What a program has noted so far."""
    file = folder / path
    return file.read_text().splitlines() if file.exists() else []


class Sink:
    """A subscriber that keeps what it is given, and can be waited for."""

    def __init__(self, stream):
        self.values, self.error, self._ended = [], None, threading.Event()
        stream.subscribe(self.values.append, self._fail, self._ended.set)
        assert self._ended.wait(LIMIT), "no end"

    def _fail(self, error):
        self.error = error
        self._ended.set()


#: a process out of reach that holds all that the worker has open, as one that was forked
#: by a library in C would
HOLDS = """
    held = []


    def hold():
        for fd in range(3, 64):
            try:
                os.set_inheritable(fd, True)
            except OSError:
                pass
        command = ["sleep", "60"]
        held.append(subprocess.Popen(command, close_fds=False, start_new_session=True))
        note(held[0].pid, "holders")


    def end_holder():
        (pid,) = map(int, notes("holders"))
        os.kill(pid, signal.SIGKILL)  # it is still there
        until(lambda: is_gone(pid))


    def last(item):
        if item < 100:
            return item
        hold()
        os._exit(9)


    def stay(item):
        hold()
        time.sleep(60)


    def fork(item):
        pid = os.fork()
        if pid == 0:
            os.setsid()
            note(os.getpid(), "holders")
            time.sleep(60)
        until(lambda: notes("holders"))
        os._exit(9)
"""
