"""Work for tests: functions at module level, so that worker processes find them too.

Some jobs talk to the test through a folder, as that works from everywhere: they note when
they start and end, and wait until the test opens a gate.
"""

import asyncio
import os
import time
from contextvars import ContextVar
from pathlib import Path

import reactivex as rx
from reactivex import operators as ro
from reactivex.disposable import CompositeDisposable, Disposable

from rxpool import current_task

POLL = 0.001  #: seconds between two looks at a gate
TAG = ContextVar("tag", default="none")


class Oops(Exception):
    """What failing work raises."""


# -- the folder ----------------------------------------------------------------------------


def note(folder, mark, item):
    """Note that something became of *item*: ``+`` started, ``-`` ended, ``x`` was cut off."""
    line = f"{mark} {item} {os.getpid()}\n".encode()
    notes = os.open(os.path.join(folder, "notes"), os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(notes, line)  # one write: lines of several processes do not mix
    finally:
        os.close(notes)


def notes(folder):
    """What was noted so far: marks, items as text, and the processes that noted it."""
    try:
        lines = Path(folder, "notes").read_text().splitlines()
    except FileNotFoundError:
        return []
    return [(mark, item, int(pid)) for mark, item, pid in map(str.split, lines)]


def open_gate(folder, item):
    """Let the work on *item* end; ``*`` is for all."""
    Path(folder, f"open {item}").touch()


def is_open(folder, item):
    """Whether the work on *item* may end."""
    return os.path.exists(os.path.join(folder, f"open {item}")) or os.path.exists(
        os.path.join(folder, "open *")
    )


def _end(folder, item):
    note(folder, "-", item)
    if str(item).endswith("!"):
        raise Oops(item)
    return item


# -- work that lasts until a gate opens, then gives its item; with a ! at its end it fails ---


def hold(folder, item):
    """Wait on this thread; stop when nobody wants the result any more."""
    note(folder, "+", item)
    task = current_task()
    while not is_open(folder, item):
        if task.cancelled:
            note(folder, "x", item)
            return None
        time.sleep(POLL)
    return _end(folder, item)


async def hold_async(folder, item):
    """Wait on the event loop."""
    note(folder, "+", item)
    try:
        while not is_open(folder, item):
            await asyncio.sleep(POLL)
    except asyncio.CancelledError:
        note(folder, "x", item)
        raise
    return _end(folder, item)


def hold_observable(folder, tick, item):
    """Wait on the scheduler that the Observable is subscribed with, looking every *tick*."""
    note(folder, "+", item)

    def subscribe(observer, scheduler=None):
        ended = False

        def end(value):
            nonlocal ended
            ended = True
            return _end(folder, value)

        def cut():
            if not ended:
                note(folder, "x", item)

        opened = rx.timer(0.0, tick).pipe(
            ro.filter(lambda _: is_open(folder, item)), ro.take(1), ro.map(lambda _: end(item))
        )
        looking = opened.subscribe(observer, scheduler=scheduler)
        return CompositeDisposable(Disposable(cut), looking)

    return rx.create(subscribe)


# -- work of a given duration; an item is what to give and how many ticks that takes ----------


def last(tick, item):
    """Sleep on this thread."""
    value, ticks = item
    time.sleep(ticks * tick)
    return value


async def last_async(tick, item):
    """Sleep on the event loop."""
    value, ticks = item
    await asyncio.sleep(ticks * tick)
    return value


def last_observable(tick, item):
    """Last as long on the scheduler that the Observable is subscribed with."""
    value, ticks = item
    return rx.timer(ticks * tick).pipe(ro.map(lambda _: value))


# -- work that ends at once ------------------------------------------------------------------


def double(n):
    """Twice *n*."""
    return 2 * n


async def double_later(n):
    """Twice *n*, after a turn of the event loop."""
    await asyncio.sleep(0)
    return 2 * n


def double_observed(n):
    """Twice *n*, as an Observable."""
    return rx.of(2 * n)


def same(item):
    """The item itself."""
    return item


def none(_):
    """None, which is a result like any other."""


async def none_later(_):
    """None."""


def several(n):
    """*n* results: 0, 1, ..."""
    return rx.from_iterable(range(n))


def several_then_oops(n):
    """*n* results, then an error."""
    return rx.concat(several(n), rx.throw(Oops(n)))


FATES = {
    kind.__name__: kind
    for kind in (
        Oops,
        SystemExit,
        KeyboardInterrupt,
        GeneratorExit,
        StopIteration,
        StopAsyncIteration,
        TimeoutError,
        asyncio.CancelledError,
    )
}


def meet(fate):
    """Raise what *fate* names; any other is the result."""
    if fate in FATES:
        raise FATES[fate](fate)
    return fate


async def meet_later(fate):
    """The same, after a turn of the event loop."""
    await asyncio.sleep(0)
    return meet(fate)


def meet_observed(fate):
    """The same, as what becomes of an Observable."""
    return rx.throw(FATES[fate](fate)) if fate in FATES else rx.of(fate)


def end_odd(n):
    """End the worker for odd numbers."""
    if n % 2:
        os._exit(9)
    return n


def fail_odd(n):
    """Fail for odd numbers."""
    if n % 2:
        raise Oops(n)
    return n


def tag(_):
    """The variable of the context that this runs in."""
    return TAG.get()


async def tag_later(_):
    """The same, on the event loop."""
    return TAG.get()


def tell(item):
    """Tell the pool how far the work is, twice."""
    current_task().progress(0.5)
    current_task().progress(1.0)
    return item


async def tell_later(item):
    """The same, on the event loop."""
    return tell(item)


# -- work on batches -------------------------------------------------------------------------


def doubles(batch):
    """Twice each."""
    return [2 * n for n in batch]


async def doubles_later(batch):
    """Twice each."""
    await asyncio.sleep(0)
    return [2 * n for n in batch]


def doubles_but_13(batch):
    """Twice each; with a 13 among them they all fail."""
    if 13 in batch:
        raise Oops(13)
    return [2 * n for n in batch]


def doubles_of_even(batch):
    """Twice each even number; each odd one fails by itself."""
    return [Oops(n) if n % 2 else 2 * n for n in batch]


def one_too_few(batch):
    """One result is missing."""
    return batch[1:]


def note_batch(folder, batch):
    """Note the size of the batch, and give it back."""
    note(folder, "+", len(batch))
    return batch
