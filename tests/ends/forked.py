"""What the programs of `test_fork` have in common: children are forked, looked at and used.

Imported by the programs, not by the tests; nothing here starts a thread when it is imported.
"""

import asyncio
import concurrent.futures
import multiprocessing
import os
import signal
import sys
import time
import warnings
from contextlib import contextmanager
from pathlib import Path

import reactivex as rx
from reactivex import Subject
from reactivex.scheduler import ThreadPoolScheduler

from rxpool import (
    BatchProcessor,
    DebounceManager,
    PoolClosed,
    ThrottleManager,
    TimerScheduler,
    WorkerPool,
    iterate,
)
from rxpool import operators as ops

LIMIT = 20.0  #: seconds after which a child is said to hang
CODE = 3  #: with which children exit

# Python 3.12 warns of each fork while threads run: that is what is tested here.
warnings.filterwarnings("ignore", "This process", DeprecationWarning)


class heading:
    """What is being tested."""

    text = ""


def wrong(*what):
    """Tell of something that is not as it should be; what is right is not told of."""
    print(f"{heading.text}:", *what, flush=True)


def double(number):
    """A task."""
    return number * 2


def hold(number, path):
    """A task that goes on until there is a file."""
    while not os.path.exists(path):
        time.sleep(0.005)
    return number * 2


async def hold_async(number, path):
    """The same as a coroutine."""
    while not os.path.exists(path):
        await asyncio.sleep(0.005)
    return number * 2


def doubles(numbers):
    """A batch of calls."""
    return [number * 2 for number in numbers]


def await_child(pid):
    """The exit code of a child; one that hangs says where it stands, and is killed."""
    until = time.monotonic() + LIMIT
    while time.monotonic() < until:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGABRT)
    os.waitpid(pid, 0)
    return "hangs"


def check(code, expected):
    """The exit code of a child."""
    if code != expected:
        wrong(f"exit code {code}")


def in_child(function, *args):
    """Run *function* in a forked child, which exits as programs do; the exit code."""
    pid = os.fork()
    if pid:
        return await_child(pid)
    function(*args)
    sys.exit(CODE)


def open_pool(on):
    """A pool with two workers."""
    places = {
        "executor": lambda: concurrent.futures.ThreadPoolExecutor(2),
        "scheduler": lambda: ThreadPoolScheduler(2),
    }
    return WorkerPool(2, on=places.get(on, lambda: on)(), name="p")


@contextmanager
def refused(what, parent):
    """Something that is to be refused in a child because it is the parent's."""
    try:
        yield
    except PoolClosed as error:
        if f"process {parent} " not in str(error) or "fork" not in str(error):
            wrong(f"{what}: {error}")
    except BaseException as error:
        wrong(f"{what}: {error!r}")
    else:
        wrong(f"{what}: was not refused")


def use_inherited(pool, parent):
    """In a child: whatever asks the parent's pool for something is told why not."""
    with refused("submit", parent):
        pool.submit(double, 1)
    with refused("map", parent):
        rx.of(1, 2).pipe(pool.map(double)).run()
    with refused("switch_map", parent):
        rx.of(1, 2).pipe(pool.switch_map(double)).run()
    with refused("pull", parent):
        pool.pull([1, 2]).pipe(pool.map(double)).run()
    with refused("imap", parent):
        list(pool.imap(double, [1, 2]))
    with refused("worker", parent):
        pool.worker(double)
    with refused("iterate", parent):
        list(iterate(rx.of(1, 2).pipe(pool.map(double))))
    report = pool.report()
    if report.in_flight or report.waiting or report.flows:
        wrong(f"report: {report}")
    pool.resize(3)
    pool.resources()
    ends = []
    for stream in (pool.metrics, pool.attempts, pool.faults, pool.progress):
        stream.subscribe(wrong, wrong, lambda: ends.append(True))
    if len(ends) != 4:
        wrong("the streams of the pool do not end")
    if not pool.close() or not pool.close(1):
        wrong("close")
    pool.terminate()
    asyncio.run(leave(pool))
    if repr(pool) != "<WorkerPool 'p' of 3, of another process>":
        wrong(repr(pool))


async def leave(pool):
    """Leave a block of a coroutine."""
    async with pool:
        pass


def use_new(places=("threads", "processes", "asyncio")):
    """In a child: what is made there works."""
    for on in places:
        with WorkerPool(2, on=on) as pool:
            if pool.submit(double, 1).result(LIMIT) != 2:
                wrong(f"submit on {on}")
            if sorted(pool.imap(double, range(20))) != [double(n) for n in range(20)]:
                wrong(f"imap on {on}")
            numbers = rx.from_iterable(range(20))
            found = numbers.pipe(ops.batch(7, 0.01), pool.map(doubles, order="input"))
            if found.run() != doubles(range(14, 20)):
                wrong(f"map on {on}")
    if rx.of(1).pipe(ops.debounce(0.01), ops.throttle(1000)).run() != 1:
        wrong("operators")
    source: Subject[int] = Subject()
    shown: list[list[int]] = []
    source.pipe(ops.batch(100, 0.01, scheduler=TimerScheduler.singleton())).subscribe(
        shown.append
    )
    source.on_next(1)
    until = time.monotonic() + LIMIT
    while not shown and time.monotonic() < until:
        time.sleep(0.002)
    if shown != [[1]]:
        wrong("timers")
    with BatchProcessor(doubles, max_size=2) as batches:
        if [f.result(LIMIT) for f in (batches.add(1), batches.add(2), batches.add(3))] != [
            2,
            4,
            6,
        ]:
            wrong("batches")
    with ThrottleManager(1000) as throttle, DebounceManager(0.01) as debounce:
        if throttle.execute(double, 1).result(LIMIT) != 2:
            wrong("throttle")
        if debounce.execute(double, 1).result(LIMIT) != 2:
            wrong("debounce")


def use_all(pool, parent, more):
    """In a child: the parent's pool, what is open on it, and pools of its own."""
    use_inherited(pool, parent)
    more()
    use_new(("threads",))


def as_process(pool, parent, more):
    """A child of `multiprocessing`; its exit code."""
    fork = multiprocessing.get_context("fork")
    process = fork.Process(target=_target, args=(pool, parent, more))
    process.start()
    process.join(LIMIT)
    if process.exitcode is None:
        os.kill(process.pid, signal.SIGABRT)
        process.join()
        return "hangs"
    return process.exitcode


def _target(pool, parent, more):
    use_all(pool, parent, more)
    sys.exit(CODE)


class Idle:
    """Nothing is open: workers rest."""

    def __init__(self, pool, on):
        self.pool = pool
        if pool.submit(double, 4).result(LIMIT) != 8:
            wrong("it does not work before")

    def ask(self, parent):
        """In a child: use what is open."""

    def look(self):
        """In the parent: the workers are as they were."""
        numbers = range(40)
        if list(self.pool.imap(double, numbers, order="input")) != doubles(numbers):
            wrong("the parent's values are wrong")
        if [self.pool.submit(double, n).result(LIMIT) for n in numbers] != doubles(numbers):
            wrong("the parent's values are wrong")

    def finish(self):
        """In the parent: what was open ends well."""


class Closed(Idle):
    """The pool is closed."""

    def __init__(self, pool, on):
        super().__init__(pool, on)
        pool.close()

    def look(self):
        """It still is."""
        try:
            self.pool.submit(double, 1)
        except PoolClosed as error:
            if "closed" not in str(error):
                wrong(error)


class Flying(Idle):
    """All workers are busy, calls and items wait; more come while children are forked."""

    def __init__(self, pool, on):
        super().__init__(pool, on)
        self.gate = f"gate-{os.getpid()}"
        work = hold_async if on == "asyncio" else hold
        self.calls = [pool.submit(work, n, self.gate) for n in range(6)]
        self.worker = pool.worker(work_of(work, self.gate))
        self.batch = self.worker.execute_batch(range(6))
        self.source: Subject[int] = Subject()
        self.found: list[int] = []
        self.errors: list[Exception] = []
        self.ended: list[bool] = []
        self.told: list[object] = []
        self.calls[0].add_done_callback(self.told.append)
        self.source.pipe(pool.map(work_of(work, self.gate))).subscribe(
            self.found.append, self.errors.append, lambda: self.ended.append(True)
        )
        for number in range(6):
            self.source.on_next(number)

    def ask(self, parent):
        """The parent's calls have no result here, and items are refused."""
        for future in self.calls:
            with refused("a call", parent):
                future.result()
            if not isinstance(future.exception(), PoolClosed) or future.cancel():
                wrong("exception, cancel")
        done, waiting = concurrent.futures.wait([*self.calls, self.batch], LIMIT)
        if len(done) != len(self.calls) + 1 or waiting:
            wrong("wait")
        with refused("a batch", parent):
            self.batch.result()
        with refused("awaiting", parent):
            asyncio.run(await_it(self.calls[1]))
        with refused("execute", parent):
            self.worker.execute(1)
        self.worker.close()
        asyncio.run(leave(self.worker))
        self.source.on_next(7)
        if len(self.errors) != 1:
            wrong("the item was not refused")
        self.source.on_next(8)
        self.source.on_completed()
        if [type(error) for error in self.errors] != [PoolClosed] or self.ended or self.found:
            wrong(f"the flow: {self.errors} {self.ended} {self.found}")
        if self.told:
            wrong("callbacks of the parent are called")

    def look(self):
        """It goes on."""
        if self.errors or self.ended or any(future.done() for future in self.calls):
            wrong("the parent's work has ended")
        self.calls.append(self.pool.submit(double, len(self.calls)))
        self.source.on_next(len(self.calls))

    def finish(self):
        """All is done, each once."""
        Path(self.gate).touch()
        numbers = range(len(self.calls))
        if [future.result(LIMIT) for future in self.calls] != doubles(numbers):
            wrong("the parent's calls")
        if self.batch.result(LIMIT) != doubles(range(6)):
            wrong("the parent's batch")
        self.source.on_completed()
        self.pool.close()
        pushed = [*range(6), *range(7, len(self.calls) + 1)]
        if sorted(self.found) != doubles(pushed) or self.errors or len(self.told) != 1:
            wrong(f"the parent's flow: {self.found}, {self.errors}")
        Path(self.gate).unlink()


class work_of:
    """A function of one item; it can be pickled."""

    def __init__(self, work, gate):
        self.work = self.__wrapped__ = work
        self.gate = gate

    def __call__(self, number):
        """Work on *number*."""
        return self.work(number, self.gate)


async def await_it(future):
    """Wait for a future on an event loop."""
    return await future


class Faces(Idle):
    """Calls wait in faces, some on the pool."""

    def __init__(self, pool, on):
        super().__init__(pool, on)
        self.batches = BatchProcessor(doubles, max_size=100, max_delay=1000, pool=pool)
        self.own = BatchProcessor(doubles, max_size=100, max_delay=1000)
        first = self.own.add(0)  # so that it has a pool
        self.own.flush()
        if first.result(LIMIT) != 0:
            wrong("own")
        self.throttle = ThrottleManager(0.001, burst=1)
        self.debounce = DebounceManager(1000)
        self.calls = [
            self.batches.add(1),
            self.own.add(1),
            self.throttle.execute(double, 1),
            self.throttle.execute(double, 1),
            self.debounce.execute(double, 1),
        ]
        if self.calls[2].result(LIMIT) != 2:
            wrong("throttle")

    def ask(self, parent):
        """The calls that wait are the parent's; the faces go on, where they have a pool."""
        if self.calls[2].result() != 2:
            wrong("what was done before")
        for future in [*self.calls[:2], *self.calls[3:]]:
            with refused("a call of a face", parent):
                future.result()
            with refused("awaiting", parent):
                asyncio.run(await_it(future))
        if concurrent.futures.wait(self.calls, LIMIT).not_done:
            wrong("wait")
        call = self.own.add(5)
        self.own.flush()
        if call.result(LIMIT) != 10:
            wrong("own")
        call = self.debounce.execute(double, 5)
        self.debounce.flush()
        if call.result(LIMIT) != 10:
            wrong("debounce")
        call = self.batches.add(5)
        self.batches.flush()
        with refused("a face on the pool", parent):
            call.result(LIMIT)
        for face in (self.batches, self.own, self.debounce):
            if not face.close():
                wrong("close")
        self.throttle.close(0)

    def finish(self):
        """The calls that wait are made in the parent."""
        self.batches.flush()
        self.own.flush()
        self.debounce.flush()
        for future in [*self.calls[:3], self.calls[4]]:
            if future.result(LIMIT) != 2:
                wrong("the parent's calls")
        self.calls[3].cancel()
        for face in (self.batches, self.own, self.throttle, self.debounce):
            face.close()


class Iterating(Idle):
    """Iterators are half read."""

    def __init__(self, pool, on):
        super().__init__(pool, on)
        self.plain = pool.imap(double, range(100), order="input", max_pending=10)
        self.loop = iter(pool.imap(double, range(100), order="input", max_pending=10))
        numbers = pool.pull(range(100))
        self.items = iterate(numbers.pipe(pool.map(double, order="input")), max_pending=10)
        self.unread = pool.imap(double, range(10))
        self.unbegun = iterate(rx.of(1, 2))
        self.got = [
            [next(self.plain) for _ in range(3)],
            [next(self.loop) for _ in range(3)],
            [next(self.items) for _ in range(3)],
        ]

    def ask(self, parent):
        """Nothing comes here, and nothing hangs."""
        for name in ("plain", "loop", "items", "unread"):
            with refused(name, parent):
                next(iter(getattr(self, name)))
        with refused("async for", parent):
            asyncio.run(first_of(self.unread))
        self.plain.close()
        self.items.close()
        if list(self.unbegun) != [1, 2]:
            wrong("what was not begun")

    def finish(self):
        """Nothing is lost or doubled."""
        rest = [list(self.plain), list(self.loop), list(self.items)]
        for got, more in zip(self.got, rest, strict=True):
            if got + more != doubles(range(100)):
                wrong("the parent's iterators")


async def first_of(items):
    """The first one, on an event loop."""
    async for item in items:
        return item


STATES = {
    "idle": Idle,
    "closed": Closed,
    "flying": Flying,
    "faces": Faces,
    "iterating": Iterating,
}


def pids(pool):
    """The processes of a pool."""
    return sorted(set(pool.resources()) - {os.getpid()})


def matrix(on):
    """All ways in which a child may end, with a pool in each state; whether this is the parent.

    A child that leaves the script comes back from here too.
    """
    few = on in ("executor", "scheduler")  # where faces and the end are those of threads
    names = ("idle", "flying", "iterating") if few else STATES
    return all(_one_state(on, name) for name in names)


def _one_state(on, name):
    heading.text, kind, parent = f"{on} {name}", STATES[name], os.getpid()
    with open_pool(on) as pool:
        open_ = kind(pool, on)
        before = pids(pool)

        def ask():
            open_.ask(parent)

        def check(way, code, expected=CODE):
            if code != expected:
                wrong(f"{way}: {code}")
            open_.look()

        check("_exit", in_child(os._exit, CODE))
        check("sys.exit", in_child(sys.exit, CODE))
        check("an exception", raising(lambda: 1 / 0))
        check("leaving the block", in_child(pool.__exit__, None, None, None))
        check("using it", in_child(use_all, pool, parent, ask))
        check("a Process", as_process(pool, parent, ask))
        pid = os.fork()
        if not pid:
            return False  # leaves the block, and the script
        check("the end of the script", await_child(pid), 0)
        if kind is not Closed and not set(before) <= set(pids(pool)):
            wrong(f"other workers: {before}, {pids(pool)}")
        open_.finish()
    return True


def raising(function):
    """A child that leaves the block by an exception which the program catches."""
    pid = os.fork()
    if pid:
        return await_child(pid)
    try:
        function()
    except ZeroDivisionError:
        sys.exit(CODE)
