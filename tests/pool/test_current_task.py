"""`current_task`, `progress` and the variables of contexts, seen from inside of tasks."""

import asyncio
import decimal
import threading
from collections import Counter
from contextvars import Context, ContextVar, copy_context

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.subject import Subject

from rxpool import Progress, WorkerPool, current_task
from rxpool.errors import InvalidArgument, InvalidArgumentType
from tests.alarms import Alarms
from tests.pool.crew import Sink, collect, passed
from tests.waiting import eventually

TAG = ContextVar("tag", default="none")


# -- outside ------------------------------------------------------------------------------


def test_outside_of_any_task():
    """A function can be called without a pool: it is never cancelled, and tells nobody."""
    task = current_task()
    assert task.cancelled is False
    task.progress(0.5)


@pytest.mark.parametrize("fraction", ["0.5", None, True, [1], 1j])
def test_the_type_of_a_fraction(fraction):
    """Progress is a number; the message names what it is not."""
    with pytest.raises(InvalidArgumentType, match="fraction must be a number"):
        current_task().progress(fraction)


@pytest.mark.parametrize("fraction", [-0.1, 1.1, float("nan"), float("inf"), 2])
def test_the_range_of_a_fraction(fraction):
    """Progress is from 0 to 1; the message names the value."""
    with pytest.raises(InvalidArgument, match=f"from 0 to 1, got {fraction}"):
        current_task().progress(fraction)


# -- cancelled ------------------------------------------------------------------------------


async def wait_later(gate):
    """Hang a thread from a coroutine."""
    return wait_here(gate)


def wait_here(gate):
    """Hang until cancelled; say so."""
    task = current_task()
    assert not task.cancelled
    gate["running"].set()
    eventually(lambda: task.cancelled)
    assert current_task().cancelled
    gate["told"].set()


@pytest.mark.parametrize("fn", [wait_here, wait_later])
@pytest.mark.parametrize("way", ["dispose", "terminate", "take", "close", "imap"])
def test_work_is_told_that_nobody_wants_its_result(fn, way):
    """Whoever lets an item go lets its function know."""
    gate = {"running": threading.Event(), "told": threading.Event()}
    pool = WorkerPool(2)

    def job(item):
        return fn(gate) if item == "hang" else passed(gate["running"]) or item

    if way == "imap":
        results = pool.imap(job, ["hang", "go"])
        assert next(results) == "go"
        results.close()
    else:
        sink = Sink()
        xs = Subject()
        stream = xs.pipe(pool.map(job))
        sink.to(stream.pipe(ro.take(1)) if way == "take" else stream)
        xs.on_next("hang")
        passed(gate["running"])
        if way == "dispose":
            sink.subscription.dispose()
        elif way == "terminate":
            pool.terminate()
        elif way == "close":
            assert pool.close(0.01) is False
        else:
            xs.on_next("go")
    passed(gate["told"])
    pool.close()


def test_a_task_of_its_own_for_each_item():
    """What a function keeps of one item says nothing of the next one on the same thread."""
    kept = []

    def fn(item):
        kept.append(current_task())
        return [task.cancelled for task in kept]

    with WorkerPool(1) as pool:
        got = collect(rx.of(1, 2, 3).pipe(pool.map(fn)))
    assert [flags[-1] for flags in got] == [False] * 3


def test_nested_tasks():
    """A task that another one runs while it waits is another task."""
    seen = {}

    def inner(item):
        current_task().progress(0.5)
        return item

    def outer(item):
        list(pool.imap(inner, ["inner"]))
        current_task().progress(1)
        return item

    with WorkerPool(1) as pool:
        pool.progress.subscribe(lambda told: seen.setdefault(told.item, told.fraction))
        assert pool.submit(lambda: list(pool.imap(outer, ["outer"]))).result() == ["outer"]
    assert seen == {"inner": 0.5, "outer": 1}


# -- progress -------------------------------------------------------------------------------


def tell(item):
    """Tell how far it is, twice."""
    current_task().progress(0.25)
    current_task().progress(1)
    return item


async def tell_later(item):
    """The same, around a wait."""
    current_task().progress(0.25)
    await asyncio.sleep(0)
    current_task().progress(1)
    return item


def tell_slowly(item):
    """The same before an Observable."""
    return rx.of(tell(item))


@pytest.mark.parametrize("fn", [tell, tell_later, tell_slowly])
@pytest.mark.parametrize("way", ["map", "outcomes", "imap", "switch_map", "virtual"])
def test_progress(fn, way):
    """What tasks tell comes out of `pool.progress`, with their items, in their order."""
    scheduler = Alarms()
    pool = WorkerPool(1, **({"on": scheduler} if way == "virtual" else {}))
    told = Sink().to(pool.progress)
    if way == "imap":
        assert list(pool.imap(fn, "ab")) == ["a", "b"]
        items = "ab"
    elif way == "virtual":
        rx.of("a", "b").pipe(pool.map(fn)).subscribe()
        scheduler.start()
        items = "ab"
    else:
        items = "a" if way == "switch_map" else "ab"
        collect(rx.of(*items).pipe(getattr(pool, way)(fn)))
    pool.close()
    expected = [Progress(item, fraction) for item in items for fraction in (0.25, 1)]
    assert told.wait() == expected  # it completes when the pool has ended


def test_progress_of_a_batch_and_of_a_call():
    """A batch is told of as a list, a call of `submit` as its future."""
    with WorkerPool(1) as pool:
        told = Sink().to(pool.progress)
        collect(rx.of([1, 2]).pipe(pool.map_batches(tell)))
        call = pool.submit(tell, "x")
        assert call.result() == "x"
    assert [entry.item for entry in told.wait()] == [[1, 2], [1, 2], call, call]


def test_nobody_is_told_of_work_that_is_not_wanted():
    """After its item was let go, a function may still tell: nobody hears."""
    running, gate, ended = threading.Event(), threading.Event(), threading.Event()

    def fn(item):
        current_task().progress(0.1)
        running.set()
        passed(gate)
        current_task().progress(0.9)
        ended.set()

    with WorkerPool(1) as pool:
        told = Sink().to(pool.progress)
        flow = rx.of("a").pipe(pool.map(fn)).subscribe()
        passed(running)
        flow.dispose()
        gate.set()
        passed(ended)
    assert told.wait() == [Progress("a", 0.1)]


def test_a_subscriber_of_progress_that_raises(caplog):
    """It is logged and let go; neither the task nor the other subscribers suffer."""

    def fail(_):
        raise ValueError("a bad subscriber")

    with WorkerPool(1) as pool:
        pool.progress.subscribe(fail)
        told = Sink().to(pool.progress)
        assert collect(rx.of("a").pipe(pool.map(tell))) == ["a"]
    assert len(told.wait()) == 2
    assert "a subscriber raised" in caplog.text


# -- coroutines on an event loop -----------------------------------------------------------


def test_coroutines_of_a_running_loop():
    """Coroutines that share a thread know which task is theirs, and if it is cancelled."""
    seen = {}

    async def fn(item):
        task = current_task()
        task.progress(0.5)
        try:
            for _ in range(3):
                await asyncio.sleep(0)
            current_task().progress(1)
            if item == "slow":
                await asyncio.Event().wait()
        finally:
            seen[item] = current_task().cancelled
        return item

    async def main():
        loop = asyncio.get_running_loop()
        pool = WorkerPool(3, on=AsyncIOScheduler(loop))
        told, got = [], asyncio.Queue()
        pool.progress.subscribe(told.append)
        flow = rx.of("a", "slow", "b").pipe(pool.map(fn)).subscribe(got.put_nowait)
        assert {await got.get(), await got.get()} == {"a", "b"}
        flow.dispose()
        while "slow" not in seen:
            await asyncio.sleep(0)
        assert Counter(told) == Counter(
            Progress(item, fraction) for item in ("a", "slow", "b") for fraction in (0.5, 1)
        )

    asyncio.run(main())
    assert seen == {"a": False, "slow": True, "b": False}


# -- variables of contexts -----------------------------------------------------------------


def read(item):
    """The variable, as a function sees it."""
    return item, TAG.get()


async def read_later(item):
    """As a coroutine sees it."""
    before = TAG.get()
    await asyncio.sleep(0)
    assert TAG.get() == before
    return item, before


def read_in_stream(item):
    """As an Observable sees it that is subscribed to."""
    return rx.defer(lambda _: rx.of((item, TAG.get())))


READERS = [read, read_later, read_in_stream]


def tagged(tag, call, *args):
    """Make a call while the variable has a value, in a context of its own."""

    def act():
        TAG.set(tag)
        return call(*args)

    return copy_context().run(act)


@pytest.mark.parametrize("fn", READERS)
@pytest.mark.parametrize("way", ["map", "input", "key", "switch_map", "exhaust_map"])
def test_variables_of_the_moment_when_an_item_comes(fn, way):
    """A function sees the variables that its producer had, item by item."""
    with WorkerPool(1) as pool:
        xs = Subject()
        if way.endswith("_map"):
            through = getattr(pool, way)(fn)
        else:
            options = {"map": {}, "input": {"order": "input"}}
            key = {"order": "key", "key": lambda item: 0}
            through = pool.map(fn, **options.get(way, key))
        sink = Sink().to(xs.pipe(through))
        for n, tag in enumerate("abc"):
            tagged(tag, xs.on_next, n)
            eventually(lambda n=n: len(sink.values) == n + 1)
        xs.on_next(3)
        xs.on_completed()
        assert sink.wait() == [(0, "a"), (1, "b"), (2, "c"), (3, "none")]


@pytest.mark.parametrize("fn", READERS)
def test_variables_of_imap_and_submit(fn):
    """`imap` takes those of whoever reads, `submit` those of the caller."""
    with WorkerPool(2) as pool:
        assert tagged("i", lambda: list(pool.imap(fn, [1, 2], order="input"))) == [
            (1, "i"), (2, "i")
        ]  # fmt: skip
        call = tagged("s", pool.submit, fn, 3)
        expected = (3, "s")
        assert call.result() == ([expected] if fn is read_in_stream else expected)
        assert TAG.get() == "none"


@pytest.mark.parametrize("fn", READERS)
def test_variables_in_virtual_time(fn):
    """The same where work runs on a scheduler."""
    scheduler = Alarms()
    pool = WorkerPool(1, on=scheduler)
    xs, got = Subject(), []
    xs.pipe(pool.map(fn)).subscribe(got.append)
    for n, tag in enumerate("ab"):
        tagged(tag, xs.on_next, n)
    xs.on_next(2)
    scheduler.start()
    assert got == [(0, "a"), (1, "b"), (2, "none")]


def write(item):
    """Leave a value behind; answer what was there."""
    before = TAG.get()
    TAG.set(item)
    return before


async def write_later(item):
    """The same in a coroutine."""
    return write(item)


def write_in_stream(item):
    """The same when subscribed to."""
    return rx.defer(lambda _: rx.of(write(item)))


@pytest.mark.parametrize("fn", [write, write_later, write_in_stream])
@pytest.mark.parametrize("tag", [None, "given"])
@pytest.mark.parametrize(
    "way", ["completion", "input", "imap", "submit", "virtual", "switch_map"]
)
def test_what_a_task_sets_is_its_own(fn, tag, way):
    """No item sees what another one has set, on the same thread; nor does the producer.

    Catches functions that run in the context of their thread.
    """

    def act():
        if way == "virtual":
            scheduler = Alarms()
            pool = WorkerPool(1, on=scheduler)
            got = []
            rx.of(*range(5)).pipe(pool.map(fn)).subscribe(got.append)
            scheduler.start()
            return got
        with WorkerPool(1) as pool:
            if way == "imap":
                return list(pool.imap(fn, range(5)))
            if way == "submit":
                calls = [pool.submit(fn, n).result() for n in range(5)]
                return [c[0] if isinstance(c, list) else c for c in calls]
            if way == "switch_map":
                return [collect(rx.of(n).pipe(pool.switch_map(fn)))[0] for n in range(5)]
            return collect(rx.of(*range(5)).pipe(pool.map(fn, order=way)))

    seen = Context().run(act) if tag is None else tagged(tag, act)
    assert seen == [tag or "none"] * 5
    assert TAG.get() == "none"


def test_a_task_that_fails_leaves_nothing_behind():
    """What a function set before it raised is gone too."""

    def fn(item):
        if TAG.get() == "none":
            TAG.set(item)
            raise ValueError(item)
        return TAG.get()

    with WorkerPool(1) as pool:
        through = pool.map(fn, on_failure="skip")
        assert Context().run(lambda: collect(rx.of(1, 2, 3).pipe(through))) == []


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize("order", ["completion", "input"])
def test_halves_see_the_variables_of_their_batch(later, order):
    """Each half of a batch has variables of its own, as they were when the batch came."""

    def fn(batch):
        seen = TAG.get()
        TAG.set("set")
        if len(batch) > 1:
            raise ValueError(batch)
        return [seen]

    async def asynchronous(batch):
        return fn(batch)

    with WorkerPool(1) as pool:
        through = pool.map_batches(asynchronous if later else fn, bisect=True, order=order)
        got = tagged("given", lambda: collect(rx.of([1, 2, 3]).pipe(through)))
    assert got == ["given"] * 3


def test_nested_tasks_have_the_variables_of_their_outer_task():
    """What a task sets is seen by the tasks that it starts, not by its siblings."""

    def outer(item):
        TAG.set(item)
        return next(iter(pool.imap(read, ["inner"])))

    with WorkerPool(1) as pool:
        got = collect(rx.of("a", "b").pipe(pool.map(outer)))
    assert got == [("inner", "a"), ("inner", "b")]


def test_decimal_contexts():
    """The precision that a task sets is not that of the next one."""

    def fn(digits):
        if digits:
            decimal.setcontext(decimal.Context(prec=digits))
        return str(decimal.Decimal(1) / 3)

    with WorkerPool(1) as pool:
        got = Context().run(lambda: collect(rx.of(3, 0, 5, 0).pipe(pool.map(fn))))
    assert got == ["0.333", "0." + "3" * 28, "0.33333", "0." + "3" * 28]
