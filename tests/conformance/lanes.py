"""Lanes: the places where work can run, made alike, so that a test is written once for all.

Work is held and let go through a folder, as that works from everywhere (`tests.jobs`).  Real
lanes wait for what is to happen; virtual ones advance their scheduler until it has.
"""

import asyncio
import multiprocessing
import os
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial

import reactivex as rx
from reactivex.scheduler import HistoricalScheduler, ThreadPoolScheduler
from reactivex.testing import TestScheduler

from rxpool import WorkerPool
from tests import jobs
from tests.waiting import WAIT

TICKS = 5000  #: the same in virtual time

REAL = (
    "threads",
    "processes",
    "asyncio",
    "running-loop",
    "thread-executor",
    "process-executor",
    "scheduler",
)
VIRTUAL = ("test-scheduler", "historical-scheduler")
LANES = REAL + VIRTUAL
#: work runs in this process, so that it may use what the test has in memory
IN_MEMORY = tuple(name for name in LANES if "process" not in name)


class Sink:
    """A subscriber that keeps what it is given."""

    def __init__(self, lane, on_next=lambda value: None):
        self.values, self.error, self.completed = [], None, False
        self.ended = threading.Event()
        self.subscription = None
        self._lane, self._on_next = lane, on_next

    def on_next(self, value):
        """Keep a value."""
        assert not self.ended.is_set()
        self.values.append(value)
        self._on_next(value)

    def on_error(self, error):
        """Keep the error."""
        assert not self.ended.is_set()
        self.error = error
        self.ended.set()

    def on_completed(self):
        """Note the completion."""
        assert not self.ended.is_set()
        self.completed = True
        self.ended.set()

    def wait(self):
        """Wait for the end; answer this."""
        self._lane.until(self.ended.is_set)
        return self

    def result(self):
        """Wait for the end; give the values or raise the error."""
        self.wait()
        if self.error is not None:
            raise self.error
        return self.values


class Lane:
    """A place where work runs on threads that share the memory of the test."""

    virtual = False
    cuts_off = True  #: whether running work that is cancelled learns of it, or is ended
    frees_at_once = True  #: whether others run while work goes on that nobody wants any more
    tells = True  #: whether `current_task` works there
    sends_all = True  #: whether errors that are no `Exception` come home as they are
    tick = 0.002  #: the unit of durations

    def __init__(self, name, folder):
        self.name = name
        self.folder = str(folder)
        self.on = name
        self.faults = []
        self._threads = []

    def __repr__(self):
        return self.name

    # -- the pool ------------------------------------------------------------------------

    def make(self, workers, **options):
        """A pool."""
        return WorkerPool(workers, on=self.on, **options)

    @contextmanager
    def pool(self, workers=2, **options):
        """A pool that ends with the block; its books must balance then, faults be expected."""
        pool = self.make(workers, **options)
        pool.faults.subscribe(self.faults.append)
        try:
            with pool:
                yield pool
        except BaseException:
            self.open("*")
            raise
        self.until(lambda: not pool.report().flows)
        balanced(pool)
        assert not self.faults

    def close(self, pool, timeout=None):
        """Close the pool and wait for that."""
        return pool.close(timeout)

    # -- streams -------------------------------------------------------------------------

    def subscribe(self, stream, on_next=lambda value: None):
        """Subscribe here; a source that emits at once does so here too."""
        sink = Sink(self, on_next)
        sink.subscription = stream.subscribe(sink.on_next, sink.on_error, sink.on_completed)
        return sink

    def start(self, stream, on_next=lambda value: None):
        """Subscribe elsewhere, as the source may have to wait."""
        sink = Sink(self, on_next)

        def subscribe():
            stream.subscribe(sink.on_next, sink.on_error, sink.on_completed)

        self.spawn(subscribe)
        return sink

    def collect(self, stream):
        """All values of *stream*."""
        return self.subscribe(stream).result()

    def spawn(self, target, *args):
        """Call *target* while the test goes on."""
        thread = threading.Thread(target=target, args=args, daemon=True)
        self._threads.append(thread)
        thread.start()

    def until(self, condition):
        """Wait until *condition* holds."""
        deadline = time.monotonic() + WAIT
        while not condition():
            assert time.monotonic() < deadline, "it never happened"
            time.sleep(0.001)

    def coroutine(self, main):
        """Run the coroutine *main* to its end."""
        return asyncio.run(main)

    # -- work ----------------------------------------------------------------------------

    @property
    def hold(self):
        """Work that lasts until its gate is opened, then gives its item; see `tests.jobs`."""
        return partial(jobs.hold, self.folder)

    @property
    def last(self):
        """Work on pairs of a value and how many ticks it takes to give that."""
        return partial(jobs.last, self.tick)

    def open(self, *items):
        """Let the work on *items* end."""
        for item in items:
            jobs.open_gate(self.folder, item)

    @property
    def started(self):
        """The items that were begun, as text; in that order if there is one worker."""
        return [item for mark, item, _ in jobs.notes(self.folder) if mark == "+"]

    @property
    def running(self):
        """The items that are being worked on, as text."""
        running = []
        for mark, item, _ in jobs.notes(self.folder):
            running.append(item) if mark == "+" else running.remove(item)
        return running

    @property
    def most(self):
        """How many ran at once, at most."""
        now = most = 0
        for mark, _, _ in jobs.notes(self.folder):
            now += 1 if mark == "+" else -1
            most = max(most, now)
        return most

    def until_running(self, *items):
        """Wait until just these are being worked on."""
        wanted = sorted(map(str, items))
        self.until(lambda: sorted(self.running) == wanted)

    def until_cut_off(self, *items):
        """Wait until the cancelled work on *items* was stopped, as far as can be."""
        if self.cuts_off:
            gone = [("x", str(item)) for item in items]
            self.until(lambda: not set(gone) - {n[:2] for n in jobs.notes(self.folder)})
        else:
            self.open(*items)  # it runs on, and nobody takes the result
            self.until(lambda: not {str(item) for item in items} & set(self.running))

    def plain(self, value):
        """The value of an outcome or a call, which is a list where work is an Observable."""
        return value

    # -- the end -------------------------------------------------------------------------

    def end(self):
        """Let all work end, and see that nothing is left."""
        self.open("*")
        for thread in self._threads:
            thread.join(WAIT)
            assert not thread.is_alive()
        self.release()

    def release(self):
        """Give up what the lane brought along."""


class ProcessLane(Lane):
    """Worker processes."""

    def until_cut_off(self, *items):
        """Wait until the processes that ran *items* are dead."""
        wanted = set(map(str, items))
        notes = jobs.notes(self.folder)
        pids = [pid for mark, item, pid in notes if mark == "+" and item in wanted]
        assert len(pids) == len(items)
        self.until(lambda: not any(map(_alive, pids)))

    @property
    def running(self):
        """The items that are being worked on, without those whose processes were killed."""
        dead = {
            item
            for mark, item, pid in jobs.notes(self.folder)
            if mark == "+" and not _alive(pid)
        }
        return [item for item in super().running if item not in dead]


class AsyncioLane(Lane):
    """Coroutines on a loop of the pool's own."""

    @property
    def hold(self):
        """See `Lane`."""
        return partial(jobs.hold_async, self.folder)

    @property
    def last(self):
        """See `Lane`."""
        return partial(jobs.last_async, self.tick)


class RunningLoopLane(AsyncioLane):
    """Coroutines on a loop of the program, which runs on another thread than the test."""

    def __init__(self, name, folder):
        super().__init__(name, folder)
        self.on = "asyncio"
        self._ready = threading.Event()
        self.spawn(asyncio.run, self._run())
        assert self._ready.wait(WAIT)

    async def _run(self):
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        self._ready.set()
        await self._over.wait()

    def make(self, workers, **options):
        """Make the pool on the loop, which is how it learns of it."""

        async def make():
            return WorkerPool(workers, on="asyncio", **options)

        return self.coroutine(make())

    def coroutine(self, main):
        """Run it on the loop that the pool uses."""
        return asyncio.run_coroutine_threadsafe(main, self._loop).result(WAIT)

    def end(self):
        """Let the loop end first."""
        self.open("*")
        self._loop.call_soon_threadsafe(self._over.set)
        super().end()


class ThreadExecutorLane(Lane):
    """An executor of threads."""

    def __init__(self, name, folder):
        super().__init__(name, folder)
        self.on = ThreadPoolExecutor(8)

    def release(self):
        """See `Lane`."""
        self.on.shutdown()


class ProcessExecutorLane(Lane):
    """An executor of processes."""

    tick = 0.008  # its workers start when they are needed, and a limit is running by then
    cuts_off = False
    frees_at_once = False
    tells = False

    def __init__(self, name, folder):
        super().__init__(name, folder)
        self.on = ProcessPoolExecutor(4, multiprocessing.get_context("forkserver"))

    def release(self):
        """See `Lane`."""
        self.on.shutdown()


class SchedulerLane(Lane):
    """A reactivex scheduler; work that lasts is an Observable."""

    tick = 0.004

    def __init__(self, name, folder):
        super().__init__(name, folder)
        self.on = ThreadPoolScheduler(32)

    @property
    def hold(self):
        """See `Lane`."""
        return partial(jobs.hold_observable, self.folder, self.tick)

    @property
    def last(self):
        """See `Lane`."""
        return partial(jobs.last_observable, self.tick)

    def plain(self, value):
        """See `Lane`."""
        (one,) = value
        return one

    def release(self):
        """See `Lane`."""
        self.on.executor.shutdown()


class VirtualLane(SchedulerLane):
    """A scheduler of virtual time: nothing happens unless the test advances it."""

    virtual = True
    tick = 1.0

    def __init__(self, name, folder):
        Lane.__init__(self, name, folder)
        self.on = {"test-scheduler": TestScheduler}.get(name, HistoricalScheduler)()

    def close(self, pool, timeout=None):
        """Close the pool; nobody can wait for that, so see to it."""
        if pool.close(timeout):
            return True
        self.until(lambda: not pool.report().flows)
        return pool.close()

    def subscribe(self, stream, on_next=lambda value: None):
        """See `Lane`."""
        sink = Sink(self, on_next)
        sink.subscription = stream.subscribe(
            sink.on_next, sink.on_error, sink.on_completed, scheduler=self.on
        )
        return sink

    start = subscribe

    def until(self, condition):
        """Advance until *condition* holds."""
        for _ in range(TICKS):
            if condition():
                return
            self.on.advance_by(self.tick)
        raise AssertionError("it never happened")

    def release(self):
        """See `Lane`."""


KINDS = {
    "threads": Lane,
    "processes": ProcessLane,
    "asyncio": AsyncioLane,
    "running-loop": RunningLoopLane,
    "thread-executor": ThreadExecutorLane,
    "process-executor": ProcessExecutorLane,
    "scheduler": SchedulerLane,
    "test-scheduler": VirtualLane,
    "historical-scheduler": VirtualLane,
}


def adds_up(pool):
    """The report, after checking that its terms add up, in sum and for each flow."""
    report = pool.report()
    for part in (report, *report.flows):
        known = part.succeeded + part.failed + part.dropped + part.cancelled + part.in_flight
        assert part.accepted == known
        assert 0 <= part.waiting <= part.in_flight
    return report


def balanced(pool):
    """The report, after checking that it adds up and nothing is inside."""
    report = adds_up(pool)
    assert (report.in_flight, report.waiting, report.flows) == (0, 0, ())
    return report


def counts(pool):
    """The terms of the report that are not 0."""
    names = ("accepted", "succeeded", "failed", "dropped", "cancelled", "in_flight", "waiting")
    report = adds_up(pool)
    return {name: value for name in names if (value := getattr(report, name))}


def counted(iterable, seen):
    """The items of *iterable*; *seen* is given each when it is read."""
    for item in iterable:
        seen.append(item)
        yield item


def source(lane, pool, items):
    """A plain source; where it could not wait, one that reads on demand."""
    return pool.pull(items) if lane.virtual else rx.from_iterable(items)


def _alive(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
