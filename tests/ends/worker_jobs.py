"""Work of the tests of worker processes: unusual exceptions, and workers that talk nonsense."""

import gc
import math
import os
import pickle
import time
from dataclasses import dataclass

import reactivex as rx
from reactivex.scheduler import NewThreadScheduler

from rxpool import current_task
from rxpool.backends.processes._protocol import RESULTS, SKIPPED
from rxpool.backends.processes._shared_block import RESULT_LOG_USED, RUNNING


@dataclass(frozen=True)
class Empty(Exception):
    """Allows no attributes, has none."""


@dataclass(frozen=True)
class Field(Exception):
    """Has a field."""

    code: int


@dataclass(frozen=True, slots=True)
class Slot(Exception):
    """Its field is in a slot."""

    code: int


class Base(Exception):
    """Slots of a base class, one of them with a private name."""

    __slots__ = ("__private", "code")

    def __init__(self, code):
        object.__setattr__(self, "code", code)
        object.__setattr__(self, "_Base__private", -code)

    def __setattr__(self, name, value):
        raise TypeError(f"{name} cannot be set")


class Derived(Base):
    """And attributes beside them."""

    def __init__(self, code):
        super().__init__(code)
        vars(self)["more"] = [code]


class Stubborn(OSError):
    """Of a type that is built in another way; whatever is set is ignored."""

    def __setattr__(self, name, value):
        pass


class Redefined(Exception):
    """What Python notes of an exception are its own things, and cannot be read."""

    def _refuse(self):
        raise ValueError("not to be read")

    __cause__ = __context__ = __traceback__ = property(_refuse)


class Notes(Exception):
    """Its notes cannot be read."""

    @property
    def __notes__(self):
        raise ValueError("no notes")


class Equal(Exception):
    """Cannot be compared, and has no hash."""

    __hash__ = None

    def __eq__(self, other):
        raise ValueError("not to be compared")


class Nothing(Exception):
    """Is False, and has neither a text nor a repr."""

    def __bool__(self):
        return False

    def __str__(self):
        raise SystemExit("no text")

    __repr__ = __str__


UNUSUAL = {
    "empty": lambda: Empty(),
    "field": lambda: Field(3),
    "named field": lambda: Field(code=3),
    "slot": lambda: Slot(3),
    "named slot": lambda: Slot(code=3),
    "base": lambda: Base(3),
    "derived": lambda: Derived(3),
    "stubborn": lambda: Stubborn(2, "no such thing", "file"),
    "redefined": lambda: Redefined(3),
    "notes": lambda: Notes(3),
    "equal": lambda: Equal(3),
    "nothing": lambda: Nothing(3),
}


def fail(name):
    """Raise one of them."""
    raise UNUSUAL[name]()


def fail_or(item):
    """The same, or the number."""
    return fail(item) if isinstance(item, str) else item


def fail_later(name):
    """An Observable that gives one result, and fails with one of them."""
    return rx.concat(rx.of(name), rx.throw(UNUSUAL[name]()))


def replace(item, error):
    """A fallback that fails with such an error too."""
    fail(item)


def tell_and_die(item):
    """Tell of progress, and end the process."""
    for n in range(100):
        current_task().progress(n / 100)
    os._exit(9)


# -- items and results that do harm where they are pickled -----------------------------------


def leave(kind):
    """Raise what is no Exception."""
    raise kind("of a pickle")


class Harmful:
    """Raises that when it is pickled."""

    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        leave(self.kind)

    def __call__(self, item):
        """Be a function too."""
        return item


class HarmfulThere:
    """Raises that where it is unpickled."""

    def __init__(self, kind):
        self.kind = kind

    def __reduce__(self):
        return leave, (self.kind,)


class Reply:
    """Asks for something as the result."""

    def __init__(self, make, kind):
        self.make, self.kind = make, kind


def reply(item):
    """A result that does harm, or the item."""
    return item.make(item.kind) if isinstance(item, Reply) else item


def reply_in_part(item):
    """An Observable that gives such a result on a thread of its own."""
    return rx.from_iterable([reply(item)], NewThreadScheduler())


# -- workers that talk nonsense --------------------------------------------------------------


def _worker():
    return next(each for each in gc.get_objects() if type(each).__name__ == "_Worker")


def nonsense(how):
    """Say something to the parent that it cannot understand, or leave it in the memory."""
    if isinstance(how, int):
        return how
    worker = _worker()
    numbers, log = worker._block.numbers, worker._block.result_log
    messages = {
        "no pickle": b"nonsense",
        "no message": pickle.dumps(3),
        "too many results": pickle.dumps((RESULTS, 0, [1] * 999, 0.0, [0.0] * 999)),
        "uneven results": pickle.dumps((RESULTS, int(numbers[RUNNING]), [1], 0.0, [])),
        "too many left out": pickle.dumps((SKIPPED, 0, 999)),
        "the end": pickle.dumps(HarmfulThere(SystemExit)),
    }
    if how in messages:
        worker._conn.send_bytes(messages[how])
        time.sleep(60)
    if how == "journal":
        log[:64] = b"x" * 64
        numbers[RESULT_LOG_USED] = 64.0
    elif how == "no number":
        numbers[RUNNING] = math.nan
    elif how == "large number":
        numbers[RUNNING] = 1e300
    os._exit(9)
