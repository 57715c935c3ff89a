"""Pools whose workers start badly, for the tests of that."""

import errno
import os
import signal
import threading
from multiprocessing import forkserver

import psutil
import reactivex as rx
from reactivex.subject import Subject

from tests.ends import starting_jobs as jobs
from tests.waiting import WAIT, eventually


def descriptors():
    """How many this process has open."""
    return len(os.listdir("/proc/self/fd"))


def collect(pool, fn, items, **options):
    """The outcomes of *items*."""
    found, ended, errors = [], threading.Event(), []

    def on_error(error):
        errors.append(error)
        ended.set()

    stream = rx.from_iterable(items).pipe(pool.outcomes(fn, **options))
    stream.subscribe(found.append, on_error, ended.set)
    assert ended.wait(WAIT), f"no end after {len(found)}"
    assert not errors
    return found


def pids_of_both(pool):
    """Wait until both workers of a pool run; their processes."""

    def both():
        collect(pool, jobs.nap, [0.02, 0.02])
        return len(pool._engine.backend.pids()) == 2

    eventually(both)
    return set(pool._engine.backend.pids())


def works(pool, items=20):
    """The pool is as good as new."""
    found = collect(pool, jobs.double, range(items))
    assert sorted(o.value for o in found) == [2 * n for n in range(items)]
    report = pool.report()
    assert (report.in_flight, report.waiting) == (0, 0)
    return True


LATE = """
    import os, sys, time
    import reactivex as rx
    from rxpool import WorkerPool

    class Pair:
        def __init__(self, n):
            self.n = n

    def set_up():
        global ready
        ready = os.getpid()

    def fn(pair):
        time.sleep(0.01)
        assert ready == os.getpid()
        return Pair(2 * pair.n)

    def main():
        global pool
        pool = WorkerPool(2, on="processes", initializer=set_up, {options})
        values = []
        rx.from_iterable(map(Pair, range(20))).pipe(pool.map(fn)).subscribe(
            lambda pair: values.append(pair.n),
            lambda error: print("error", repr(error)),
            lambda: print(sorted(values) == [2 * n for n in range(20)]),
        )

    if __name__ == "__main__":
        {before}
        main()
        {after}
"""


def late(options="", before="", after=""):
    """The program, with additions."""
    return LATE.format(options=options, before=before, after=after)


class Refused:
    """Calls are refused, as long as there are refusals left."""

    def __init__(self, call, error):
        self.call, self.error = call, error
        self.left, self.made = 0, 0
        self.only = lambda *_: True

    def __call__(self, *arguments, **options):
        """Refuse, or call."""
        if self.left > 0 and self.only(*arguments):
            self.left -= 1
            self.made += 1
            raise type(self.error)(*self.error.args)
        return self.call(*arguments, **options)


NO_ROOM = OSError(errno.EMFILE, os.strerror(errno.EMFILE))
NO_THREAD = RuntimeError("can't start new thread")


def fork_server_pid():
    """The process that the pools' processes are children of."""
    return forkserver._forkserver._forkserver_pid


class Hung:
    """A pool of one, with an item that is at its worker and goes on for ever."""

    def __init__(self, pool, **options):
        self.pool = pool
        self.ended, self.found = threading.Event(), []
        self.source = Subject()
        self.subscription = self.source.pipe(pool.outcomes(jobs.nap, **options)).subscribe(
            self.found.append, lambda _: self.ended.set(), self.ended.set
        )
        self.source.on_next(10**6)

    def outcome(self):
        """Wait for it."""
        return eventually(lambda: self.found)[0]


def at_work(pool):
    """Wait until an item runs."""

    def runs():
        channels = [worker.channel for worker in pool._engine.backend._roster.workers]
        return any(c is not None and c.in_flight.running() is not None for c in channels)

    eventually(runs)


def stopped(pid):
    """Stop a process, and wait until it has stopped."""
    os.kill(pid, signal.SIGSTOP)
    eventually(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)
