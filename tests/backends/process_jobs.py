"""Work that worker processes do in tests, and how tests and that work find each other."""

import asyncio
import logging
import os
import pickle
import threading
import time
from pathlib import Path

import reactivex as rx

from rxpool import current_task
from tests.waiting import WAIT, eventually

# -- signs ---------------------------------------------------------------------------------


def note(path, text):
    """Append a line to a file, in one write: lines of several processes do not mix."""
    file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(file, f"{text}\n".encode())
    finally:
        os.close(file)


def notes(path):
    """The lines noted so far."""
    try:
        return Path(path).read_text().splitlines()
    except FileNotFoundError:
        return []


def await_gate(path):
    """Wait until the test has made a file."""
    eventually(Path(path).exists)


# -- plain work ----------------------------------------------------------------------------


def double(n):
    """Twice *n*."""
    return 2 * n


def same(item):
    """The item itself."""
    return item


def pid(_=None):
    """The process that runs this."""
    return os.getpid()


def nap(seconds):
    """Take so long."""
    time.sleep(seconds)
    return seconds


def spin(path):
    """Be busy for ever; notes the process."""
    note(path, os.getpid())
    while True:
        pass


def doze(path):
    """Sleep for ever; notes the process."""
    note(path, os.getpid())
    while True:
        time.sleep(1000)


def held(path):
    """Note the process, wait until the test opens the gate, give the process."""
    note(f"{path}.began", os.getpid())
    await_gate(path)
    return os.getpid()


def slow_if(item):
    """Wait at a gate if there is one; note and give the number."""
    number, gate, record = item
    note(record, number)
    if gate is not None:
        note(f"{gate}.began", number)
        await_gate(gate)
    return number


def record(item):
    """Note the number; give it."""
    number, path = item
    note(path, number)
    return number


def record_slowly(item):
    """Take a moment, note the number as the last thing, give it."""
    number, path = item
    time.sleep(0.001)
    note(path, number)
    return number


def die(code):
    """End the process."""
    os._exit(code)


def die_if(item):
    """End the process if the number is told to."""
    number, dying = item
    if dying:
        os._exit(7)
    return number


def kill_self(number):
    """End the process by a signal."""
    os.kill(os.getpid(), number)
    time.sleep(WAIT)


def nest(depth):
    """Raise an error from so many calls deep."""
    if depth:
        nest(depth - 1)
    raise ValueError("deep down")


def raise_it(error):
    """Raise what was given."""
    raise error


def raise_named(name):
    """Raise an exception of that name."""
    raise {
        "SystemExit": SystemExit,
        "KeyboardInterrupt": KeyboardInterrupt,
        "GeneratorExit": GeneratorExit,
        "MemoryError": MemoryError,
    }[name]("from afar")


async def double_later(n):
    """Twice *n*, after a turn of the event loop."""
    await asyncio.sleep(0)
    return 2 * n


async def raise_later(_):
    """Raise after a turn of the event loop."""
    await asyncio.sleep(0)
    raise ValueError("later")


def several(n):
    """*n* results: 0, 1, ..."""
    return rx.from_iterable(range(n))


def several_then_raise(n):
    """*n* results, then an error."""
    return rx.concat(several(n), rx.throw(ValueError("after them")))


def several_then_die(n):
    """*n* results, then the end of the process."""
    return rx.concat(several(n), rx.defer(lambda _: os._exit(3)))


def an_unpicklable_part(_):
    """One good result, one that cannot be sent."""
    return rx.of(1, threading.Lock())


def tell(item):
    """Tell the pool how far the work is."""
    current_task().progress(0.25)
    current_task().progress(1.0)
    return item


def cancelled(_):
    """What work can ask for."""
    return current_task().cancelled


# -- what cannot be sent -------------------------------------------------------------------


class Stubborn:
    """Cannot be pickled."""

    def __reduce__(self):
        raise TypeError("I stay here")


class Explosive:
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return _explode, ()


def _explode():
    raise ValueError("unpacked")


class OnlyThere:
    """Can be unpickled in another process, not where it comes from."""

    def __init__(self):
        self.home = os.getpid()

    def __getstate__(self):
        return os.getpid()

    def __setstate__(self, home):
        if os.getpid() == home:
            raise ValueError("home again")
        self.home = home


class TwoArguments(Exception):
    """Pickles, but does not unpickle: it is made from two arguments and keeps one."""

    def __init__(self, first, second):
        super().__init__(f"{first} and {second}")


class Holding(Exception):
    """Holds what cannot be pickled."""

    def __init__(self, message):
        super().__init__(message)
        self.lock = threading.Lock()


class WorksThere(Exception):
    """Unpickles in the worker, not in its parent."""

    def __init__(self, message):
        super().__init__(message)
        self.worker = os.getpid()

    def __reduce__(self):
        return _make_there, (self.args[0], self.worker)


def _make_there(message, worker):
    if os.getpid() != worker:
        raise OSError("only in the worker")
    error = WorksThere(message)
    return error


class Speechless(Exception):
    """Its text fails, and it cannot be pickled."""

    def __init__(self):
        self.lock = threading.Lock()

    def __str__(self):
        raise RuntimeError("no words")

    def __reduce__(self):
        raise RuntimeError("no way")


def give_lock(_):
    """A result that cannot be pickled."""
    return threading.Lock()


def give_explosive(_):
    """A result that cannot be unpickled."""
    return Explosive()


def give_nested_lock(_):
    """A result with a part that cannot be pickled."""
    return {"good": 1, "bad": [0, threading.Lock()]}


def raise_two_arguments(_):
    """Raise what does not unpickle."""
    raise TwoArguments("one", "two")


def raise_holding(_):
    """Raise what does not pickle."""
    raise Holding("of a lock")


def raise_works_there(_):
    """Raise what does not unpickle in the parent."""
    raise WorksThere("far away")


def raise_speechless(_):
    """Raise what cannot even be printed."""
    raise Speechless


def raise_from_other(_):
    """Raise with a cause."""
    try:
        raise KeyError("the root")
    except KeyError as root:
        raise ValueError("the tip") from root


# -- the big run ---------------------------------------------------------------------------


def fate(item):
    """What becomes of an item of the big run."""
    number, kind = item
    if kind == "dies":
        os._exit(1)
    if kind == "hangs":
        while True:
            time.sleep(1000)
    if kind == "raises":
        raise ValueError(f"item {number}")
    if kind == "lock":
        return threading.Lock()
    return number


# -- large buffers -------------------------------------------------------------------------


def total(array):
    """The sum of an array."""
    return float(array.sum())


def filled(n):
    """A large array."""
    import numpy as np  # here: it takes a process a while

    return np.full(200_000, n, dtype=np.int64)


def plus_one(array):
    """Another array."""
    return array + 1


def plus_one_in_place(array):
    """The array itself, changed."""
    array += 1
    return array


def writeable(array):
    """Whether the array may be written to."""
    return bool(array.flags.writeable)


_kept = []


def keep(array):
    """Keep the array; tell whether all kept ones are still what they were."""
    _kept.append((array, array[0].item()))
    return all((kept == value).all() for kept, value in _kept)


def keep_a_part(array):
    """Keep a view of the array; tell whether all kept ones are still what they were."""
    _kept.append((array[10:20], array[0].item()))
    return all((kept == value).all() for kept, value in _kept)


def length(data):
    """How long and what kind."""
    return type(data).__name__, len(data), bytes(data[:3])


def die_with_array(array):
    """End the process with an array in the hands."""
    os._exit(len(array) % 2 + 1)


# -- processes -----------------------------------------------------------------------------

_set_up = []


def set_up(*args):
    """An initializer."""
    _set_up.append(args)


def what_was_set_up(_=None):
    """What initializers did in this process."""
    return _set_up


def fail_to_set_up(path):
    """An initializer that raises, and notes that."""
    note(path, "tried")
    raise RuntimeError("no database")


def fail_unless(path, noted):
    """An initializer that raises until there is a file."""
    note(noted, "tried")
    if not os.path.exists(path):
        raise RuntimeError("not yet")


def die_in_set_up(path):
    """An initializer that ends the process."""
    note(path, "tried")
    os._exit(9)


def set_up_first(path, most):
    """An initializer that works the first *most* times."""
    note(path, "tried")
    if len(notes(path)) > most:
        raise RuntimeError("no more")


_hoard = []


def hoard(size):
    """Keep so many bytes in use; give the process."""
    _hoard.append(b"x" * size)
    return os.getpid()


def log(item):
    """Log at several levels."""
    logger = logging.getLogger("rxpool.test.jobs")
    logger.debug("debug %s", item)
    logger.info("info %s", item, extra={"number": item})
    try:
        raise ValueError("logged")
    except ValueError:
        logger.exception("failed %s", item)
    return os.getpid()


def log_locally(name):
    """Log by another logger, at a level that is too low, and one that is not."""
    logger = logging.getLogger(name)
    logger.info("too low")
    logger.error("high enough")


def log_unpicklable(_):
    """Log with an argument that cannot be pickled."""
    logging.getLogger("rxpool.test.jobs").warning("with %s", 1, extra={"x": Stubborn()})


def pickled_size(value):
    """How large a value is in a pickle."""
    return len(pickle.dumps(value, 5))


def children_of(parent):
    """The processes that a process has started, and those that they have."""
    import psutil

    try:
        return psutil.Process(parent).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


class Bad500:
    """Does its work on item 500 only; gives back all others."""

    def __init__(self, work):
        self.work = work

    def __call__(self, n):
        """The item itself, or what becomes of 500."""
        return self.work(n) if n == 500 else n
