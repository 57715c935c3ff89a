"""What the programs of `test_fork` do that fork within what a pool calls.

The child is then a copy of the thread that works for the pool, with nobody to return to.
"""

import asyncio
import concurrent.futures
import os
import sys
import threading
import time
from functools import partial
from pathlib import Path

import reactivex as rx
from reactivex import Subject
from reactivex import operators as rx_ops
from reactivex.scheduler import ThreadPoolScheduler
from reactivex.testing import TestScheduler

from rxpool import BatchProcessor, Retry, TimerScheduler, WorkerPool, current_task, iterate
from rxpool import operators as ops
from tests.ends.forked import LIMIT, await_child, double, doubles, heading, hold, use_new, wrong

ITEMS = 30
#: what a task does in its child, and the exit code that this gives
HOWS = {
    "return": 0,
    "raise": 1,
    "exit": 5,
    "exit with a word": 1,
    "_exit": 6,
    "new pools": 0,
}
PLACES = {
    "executor": lambda: concurrent.futures.ThreadPoolExecutor(2),
    "process executor": lambda: concurrent.futures.ProcessPoolExecutor(2),
    "scheduler": lambda: ThreadPoolScheduler(2),
    "virtual": TestScheduler,
}


def place(on):
    """What to write as ``on=``."""
    return PLACES.get(on, lambda: on)()


def behave(how):
    """What the child of a task does."""
    if how == "raise":
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        raise ValueError("in the child")
    if how == "exit":
        sys.exit(5)
    if how == "exit with a word":
        sys.stderr = open(os.devnull, "w")  # noqa: SIM115
        sys.exit("word")
    if how == "_exit":
        os._exit(6)
    if how == "new pools":
        use_new(("threads", "asyncio"))
    current_task().progress(0.5)
    return 77


def note(number, log):
    """Each task that runs, in whatever process, writes a line."""
    with open(log, "a") as file:
        file.write(f"{number}\n")


def forks(item, log):
    """A task; some fork, and answer how the child ended."""
    number, how = item
    note(number, log)
    if how is None:
        time.sleep(0.001)
        return number, None
    pid = os.fork()
    return (number, await_child(pid)) if pid else behave(how)


async def forks_at_once(item, log):
    """The same as a coroutine that has not waited."""
    return forks(item, log)


async def forks_later(item, log):
    """The same as a coroutine that has waited for something."""
    await asyncio.sleep(0.001)
    return forks(item, log)


def forks_when_subscribed(item, log):
    """The same as an Observable."""
    return rx.defer(lambda _: rx.of(forks(item, log)))


class Never:
    """Never comes."""

    def __await__(self):
        yield


async def waits(item, log, at_once):
    """A coroutine whose child waits; it has nothing to wait with."""
    number, how = item
    note(number, log)
    if not at_once:
        await asyncio.sleep(0.001)
    if how is None:
        return number, None
    pid = os.fork()
    if pid:
        return number, await_child(pid)
    sys.stderr = open(os.devnull, "w")  # noqa: SIM115
    await Never()
    return 77


def tasks_that_fork(on):
    """Children of tasks end where the task would have returned; the others go on."""
    log = f"log-{os.getpid()}"
    for function in (forks, forks_at_once, forks_later):
        check_tasks(on, partial(function, log=log), HOWS, log)
    check_tasks(on, partial(waits, log=log, at_once=True), {"waits": 1}, log)
    check_tasks(on, partial(waits, log=log, at_once=False), {"waits": 1}, log)
    check_tasks(on, partial(forks_when_subscribed, log=log), HOWS, log)


def check_tasks(on, function, hows, log):
    """Run items, of which some fork."""
    for order in ("completion", "input"):
        heading.text = f"{on} {order} {function}"
        items = [(n, None) for n in range(ITEMS)]
        for at, how in enumerate(hows):
            items[3 + 4 * at] = 3 + 4 * at, how
        got = []
        target = place(on)
        with WorkerPool(2, on=target) as pool:
            pool.progress.subscribe(wrong)
            source = rx.from_iterable(items).pipe(pool.map(function, order=order))
            if on == "virtual":
                source.subscribe(got.append, wrong, scheduler=target)
                target.start()
            else:
                source.pipe(rx_ops.do_action(got.append)).run()
        expected = [(n, None if how is None else hows[how]) for n, how in items]
        if sorted(got) != sorted(expected):
            wrong(got)
        with open(log) as file:
            ran = sorted(map(int, file))
        os.unlink(log)
        if ran != list(range(ITEMS)):
            wrong(f"ran: {ran}")


class Forker:
    """Forks once, when it is called for the fifth time; the child returns."""

    def __init__(self):
        self.process = os.getpid()
        self.calls = 0
        self.code = None

    def __call__(self, *_):
        """Perhaps fork; the main thread would go on with the program."""
        in_main = threading.current_thread() is threading.main_thread()
        if in_main and os.getpid() == self.process:
            return
        self.calls += 1
        if self.calls < 5 or self.code is not None:
            return
        if os.getpid() != self.process:
            wrong("the child goes on")
            os._exit(99)
        self.code = "forks"
        pid = os.fork()
        if pid:
            self.code = await_child(pid)
            return
        self.code = None
        use_new(("threads",))
        self.left = WorkerPool(1)  # with a thread, which keeps no child from ending
        self.left.submit(double, 1).result(LIMIT)


def hold_all(numbers, path):
    """A batch that goes on until there is a file."""
    return [hold(number, path) for number in numbers]


async def double_later(number):
    """A coroutine."""
    await asyncio.sleep(0.001)
    return number * 2


def picky(number):
    """Fails now and then."""
    if number % 2:
        raise ValueError(number)
    return number * 2


def numbers(fork):
    """A source that forks."""
    for number in range(ITEMS):
        fork()
        yield number


async def numbers_later(fork):
    """The same as an async iterator."""
    for number in range(ITEMS):
        fork()
        yield number


def to_list(pool, function, fork, **options):
    """Push items; what comes out, while the subscriber forks."""
    got = []
    source = Subject()

    def take(value):
        got.append(value)
        fork()

    source.pipe(pool.map(function, **options)).subscribe(take)
    for number in range(ITEMS):
        source.on_next(number)
    source.on_completed()
    pool.close()
    return got


def _subscriber(pool, function, fork):
    return to_list(pool, function, fork)


def _ordered(pool, function, fork):
    return to_list(pool, function, fork, order="input")


def _done_callback(pool, function, fork):
    gate = Path(f"gate-{os.getpid()}")  # no callback is made by the main thread
    held = [pool.submit(hold, number, str(gate)) for number in range(2)]
    futures = [pool.submit(function, number) for number in range(ITEMS)]
    for future in futures:
        future.add_done_callback(fork)
    gate.touch()
    values = [future.result(LIMIT) for future in futures]
    for future in held:
        future.result(LIMIT)
    gate.unlink()
    return values


def _progress(pool, function, fork):
    with pool.worker(function) as worker:
        return worker.execute_batch(range(ITEMS), on_progress=fork).result(LIMIT)


def _face(pool, function, fork):
    gate = Path(f"gate-{os.getpid()}")
    work = partial(hold_all, path=str(gate))
    with BatchProcessor(work, max_size=ITEMS, pool=pool) as face:
        futures = [face.add(number) for number in range(ITEMS)]
        for future in futures:
            future.add_done_callback(fork)
        gate.touch()
        values = [future.result(LIMIT) for future in futures]
    gate.unlink()
    return values


def _source(pool, function, fork):
    return list(iterate(pool.pull(numbers(fork)).pipe(pool.map(function))))


def _async_source(pool, function, fork):
    return list(iterate(pool.pull(numbers_later(fork)).pipe(pool.map(function))))


def _fallback(pool, function, fork):
    def stand_in(number, error):
        fork()
        return number * 2

    return list(pool.imap(picky, range(ITEMS), fallback=stand_in))


def _retry(pool, function, fork):
    def is_worth_it(error):
        fork()
        return False

    retry = Retry(2, on=is_worth_it)
    return list(pool.imap(picky, range(ITEMS), retry=retry, fallback=lambda n, _: n * 2))


def _dead_letters(pool, function, fork):
    letters = Subject()
    got = []
    letters.subscribe(lambda failure: (got.append(failure.item * 2), fork()))
    source = Subject()
    source.pipe(pool.map(picky, on_failure=letters)).subscribe(got.append)
    for number in range(ITEMS):
        source.on_next(number)
    source.on_completed()
    pool.close()
    return got


def _monitor(pool, function, fork):
    pool.submit(function, 1).result(LIMIT)
    pool.metrics.subscribe(lambda event: event.name == "rxpool.task.duration" and fork())
    futures = [pool.submit(function, number) for number in range(ITEMS)]
    return [future.result(LIMIT) for future in futures]


def _timer(pool, function, fork):
    for _ in range(5):
        TimerScheduler.singleton().schedule_relative(0.001, fork)
    return list(pool.imap(function, range(ITEMS)))


def _debounce(pool, function, fork):
    source = Subject()
    source.pipe(ops.debounce(0.001)).subscribe(fork)
    while fork.code is None:
        source.on_next(1)
        time.sleep(0.003)
    return list(pool.imap(function, range(ITEMS)))


CALLED = [
    _subscriber,
    _ordered,
    _done_callback,
    _progress,
    _face,
    _source,
    _async_source,
    _fallback,
    _retry,
    _dead_letters,
    _monitor,
    _timer,
    _debounce,
]


def others_that_fork(on):
    """Children of whatever a pool calls on a thread of its own end when that returns."""
    for case in CALLED:
        heading.text = f"{on} {case.__name__}"
        function = double_later if on == "asyncio" else double
        fork = Forker()
        with WorkerPool(2, on=place(on)) as pool:
            got = case(pool, function, fork)
            if sorted(got) != doubles(range(ITEMS)):
                wrong(got)
        until = time.monotonic() + LIMIT
        while fork.code in (None, "forks") and time.monotonic() < until:
            time.sleep(0.002)
        if fork.code != 0:
            wrong(f"exit code {fork.code} after {fork.calls} calls")
