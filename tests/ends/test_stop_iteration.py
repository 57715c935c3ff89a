"""Errors that mean an end to Python itself are failures like any other, and end nothing early.

StopIteration and StopAsyncIteration end iterations that they pass through, GeneratorExit a
coroutine, KeyboardInterrupt and SystemExit a loop, CancelledError a task.
"""

import asyncio
import concurrent.futures
import itertools
import threading

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.scheduler.eventloop import AsyncIOScheduler
from reactivex.subject import Subject

from rxpool import Limit, Retry, WorkerPool, iterate
from rxpool import operators as ops
from rxpool.errors import RemoteError
from rxpool.faces import (
    BatchProcessor,
    DebounceManager,
    ThrottleManager,
    batched,
    debounced,
    throttled,
)
from tests import jobs
from tests.conformance.lanes import KINDS, LANES, REAL, balanced
from tests.waiting import WAIT

STOPS = (StopIteration, StopAsyncIteration)
FATES = (*STOPS, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError)
FORMS = {"def": jobs.meet, "async def": jobs.meet_later, "Observable": jobs.meet_observed}

pytestmark = pytest.mark.timeout(60)


@pytest.fixture(params=LANES)
def lane(request, tmp_path):
    """A place where work runs."""
    lane = KINDS[request.param](request.param, tmp_path)
    yield lane
    lane.end()


@pytest.fixture(params=REAL)
def real(request, tmp_path):
    """The same, where time passes by itself."""
    lane = KINDS[request.param](request.param, tmp_path)
    yield lane
    lane.end()


def check(error, kind, lane=None):
    """*error* is what a user is to see where *kind* was raised."""
    if issubclass(kind, STOPS):
        assert type(error) is RuntimeError
        assert f"raised {kind.__name__}" in str(error)
        causes = []
        while error.__cause__ is not None:
            error = error.__cause__
            causes.append(error)
        assert any(isinstance(each, kind) or kind.__name__ in str(each) for each in causes)
    elif isinstance(error, RemoteError):
        # Stands for what would end the worker of somebody else's executor.
        assert not lane.sends_all
        assert error.type_name.rpartition(".")[2] == kind.__name__
    else:
        assert type(error) is kind


def raised(call, *args):
    """What *call* raises."""
    try:
        value = call(*args)
    except BaseException as error:
        return error
    raise AssertionError(f"nothing was raised, got {value!r}")


async def raised_by(awaitable):
    """What waiting for *awaitable* raises; it is told apart from the end of this task."""
    try:
        value = await awaitable
    except BaseException as error:
        return error
    raise AssertionError(f"nothing was raised, got {value!r}")


def cases():
    """What is raised, and by which form of function."""
    for kind, (form, fn) in itertools.product(FATES, FORMS.items()):
        if form != "Observable" or issubclass(kind, Exception):  # it has no other errors
            yield kind, fn


def drain(step):
    """The values that calling *step* gives before it raises, and what it raises."""
    values = []
    try:
        while True:
            values.append(step())
    except BaseException as error:
        return values, error


# -- ways out of a pool, each with an item that fails between two that do not ------------------


def way_map(pool, lane, fn, fate):
    """The stream ends with the error, after what came before."""
    sink = lane.subscribe(pool.pull(["a", fate, "b"]).pipe(pool.map(fn, order="input")))
    assert sink.wait().values == ["a"]
    return sink.error


def way_run(pool, lane, fn, fate):
    """`run` raises it."""
    return raised(pool.pull(["a", fate, "b"]).pipe(pool.map(fn, order="input")).run)


def way_outcomes(pool, lane, fn, fate):
    """It is in the outcome."""
    stream = pool.pull(["a", fate, "b"]).pipe(pool.outcomes(fn, order="input"))
    before, failure, after = lane.collect(stream)
    assert (before.item, after.item, failure.item) == ("a", "b", fate)
    return failure.error


def way_dead_letter(pool, lane, fn, fate):
    """It is in the dead letter, and the others go on."""
    letters = Subject()
    kept = []
    letters.subscribe(kept.append)
    through = pool.map(fn, on_failure=letters, order="input")
    assert lane.collect(pool.pull(["a", fate, "b"]).pipe(through)) == ["a", "b"]
    return kept[0].error


def way_retried(pool, lane, fn, fate):
    """What decides about another attempt is asked about what is told in the end."""
    seen = []
    retry = Retry(2, delay=0, on=lambda error: seen.append(error) or True)
    stream = pool.pull([fate]).pipe(pool.outcomes(fn, retry=retry))
    (failure,) = lane.collect(stream)
    assert failure.attempts == 2
    assert [type(error) for error in seen] == [type(failure.error)]
    return failure.error


def way_imap_for(pool, lane, fn, fate):
    """A loop ends with it."""
    values = []

    def loop():
        for value in pool.imap(fn, ["a", fate, "b"], order="input"):
            values.append(value)

    error = raised(loop)
    assert values == ["a"]
    return error


def way_imap_next(pool, lane, fn, fate):
    """`next` raises it."""
    results = pool.imap(fn, ["a", fate, "b"], order="input")
    values, error = drain(lambda: next(results))
    assert values == ["a"]
    return error


def way_imap_async_for(pool, lane, fn, fate):
    """An asynchronous loop ends with it."""
    values = []

    async def loop():
        async for value in pool.imap(fn, ["a", fate, "b"], order="input"):
            values.append(value)

    async def main():
        return await raised_by(loop())

    error = lane.coroutine(main())
    assert values == ["a"]
    return error


def way_iterate_for(pool, lane, fn, fate):
    """A loop over a stream ends with it."""
    stream = pool.pull(["a", fate, "b"]).pipe(pool.map(fn, order="input"))
    with iterate(stream) as items:
        values, error = drain(lambda: next(items))
    assert values == ["a"]
    return error


def way_iterate_async_for(pool, lane, fn, fate):
    """An asynchronous loop over a stream ends with it."""
    stream = pool.pull(["a", fate, "b"]).pipe(pool.map(fn, order="input"))
    values = []

    async def loop():
        async for value in iterate(stream):
            values.append(value)

    async def main():
        return await raised_by(loop())

    error = lane.coroutine(main())
    assert values == ["a"]
    return error


def way_future(pool, lane, fn, fate):
    """The future has it."""
    future = pool.submit(fn, fate)
    lane.until(future.done)
    error = raised(future.result)
    assert future.exception() is error
    return error


def way_await(pool, lane, fn, fate):
    """Awaiting raises it, before the call is done and after."""

    async def main():
        future = pool.submit(fn, fate)
        error = await raised_by(future)
        assert await raised_by(future) is error
        return error

    return lane.coroutine(main())


def way_worker(pool, lane, fn, fate):
    """A handle's futures have it, those of a list too."""
    worker = pool.worker(fn)
    futures = [worker.execute("a"), worker.execute(fate), worker.execute_batch(["a", fate])]
    lane.until(lambda: all(future.done() for future in futures))
    assert futures[0].result() in ("a", ["a"])
    first, second = raised(futures[1].result), raised(futures[2].result)
    assert type(first) is type(second)
    return first


WAYS = [value for name, value in list(globals().items()) if name.startswith("way_")]
#: those in which no thread waits
STILL = [way_map, way_outcomes, way_dead_letter, way_retried, way_future, way_worker]


def name_of(way):
    """The name of a case."""
    return way.__name__.removeprefix("way_")


@pytest.mark.parametrize("way", STILL, ids=name_of)
def test_every_way_out(lane, way):
    """The item fails with it, whichever function raised it and however one hears of that."""
    with lane.pool(1) as pool:
        for kind, fn in cases():
            check(way(pool, lane, fn, kind.__name__), kind, lane)


@pytest.mark.parametrize("way", [way for way in WAYS if way not in STILL], ids=name_of)
def test_every_way_out_that_waits(real, way):
    """The same where a thread or a coroutine waits for it."""
    with real.pool(2) as pool:
        for kind, fn in cases():
            check(way(pool, real, fn, kind.__name__), kind, real)


# -- other functions of the user ---------------------------------------------------------------


def stop(*_):
    """A function that should have given a default to `next`."""
    return next(iter(()))


def stop_async(*_):
    """The same for an async iterator that is driven by hand."""
    raise StopAsyncIteration


def the_failure(lane, pool, items=(1,), fn=jobs.double, **options):
    """The error of the only item that fails."""
    found = lane.collect(pool.pull(items).pipe(pool.outcomes(fn, **options)))
    (failure,) = (outcome for outcome in found if not hasattr(outcome, "value"))
    return failure.error


def leave(*_):
    """What coroutines and generators are left with."""
    raise GeneratorExit


RAISED = {stop: StopIteration, stop_async: StopAsyncIteration, leave: GeneratorExit}


@pytest.mark.parametrize("fn", RAISED)
def test_functions_of_options(lane, fn):
    """Those of keys, priorities, costs, retries and fallbacks are the item's failure too."""
    kind = RAISED[fn]
    retry_on, backoff = Retry(3, delay=0, on=fn), Retry(3, delay=0, backoff=fn)
    with lane.pool(1) as pool:
        check(the_failure(lane, pool, order="key", key=fn), kind)
        check(the_failure(lane, pool, priority=fn), kind)
        check(the_failure(lane, pool, limit=Limit(1000, cost=fn)), kind)
        check(the_failure(lane, pool, limit=Limit(1000, key=fn), retry=3), kind)
        for options in ({"fallback": fn}, {"retry": retry_on}, {"retry": backoff}):
            error = the_failure(lane, pool, fn=jobs.fail_odd, **options)
            check(error, kind)
            first = error if fn is leave else error.__cause__
            assert isinstance(first.__cause__, jobs.Oops)
        seen = []

        def note(item, error):
            seen.append(error)
            return item

        stream = pool.pull([1]).pipe(pool.map(jobs.fail_odd, retry=retry_on, fallback=note))
        assert lane.collect(stream) == [1]
        check(seen[0], kind)
        worker = pool.worker(jobs.double, order="key", key=fn)
        future = worker.execute(1)
        lane.until(future.done)
        check(future.exception(), kind)


@pytest.mark.parametrize("fn", [stop, stop_async])
def test_functions_of_operators(fn):
    """They end the stream with it."""
    kind = RAISED[fn]
    source = rx.of(1, 2)
    for operator in (
        ops.batch(2, key=fn),
        ops.batch(max_weight=2, weight=fn),
        ops.throttle(1000, cost=fn),
        ops.throttle(1000, key=fn),
        ops.debounce(0.01, key=fn),
        ops.retry(Retry(2, delay=0, on=fn)),
        ops.fallback(fn),
    ):
        failing = source.pipe(ro.concat(rx.throw(jobs.Oops())), operator)
        check(raised(list, iterate(failing)), kind)
        check(raised(failing.run), kind)


@pytest.mark.parametrize("kind", STOPS)
def test_the_error_of_a_source(lane, kind):
    """It comes out as that of a function does, through a flow, an operator or a loop."""
    with lane.pool(1) as pool:
        stream = rx.throw(kind("x")).pipe(pool.map(jobs.double))
        check(lane.subscribe(stream).wait().error, kind)
        stream = pool.pull([1, 2]).pipe(ro.concat(rx.throw(kind("x"))), ops.batch(2))
        sink = lane.subscribe(stream).wait()
        assert sink.values == [[1, 2]]
        check(sink.error, kind)
    subject = Subject()
    items = iter(iterate(subject))
    threading.Timer(0.01, subject.on_error, [kind("x")]).start()
    values, error = drain(lambda: next(items))
    assert values == []
    check(error, kind)

    async def main():
        async for _ in iterate(rx.throw(kind("x"))):
            pass

    check(raised(asyncio.run, main()), kind)


class Numbers:
    """An iterator that ends with the exception it is given."""

    def __init__(self, end):
        self.left = [3, 2, 1]
        self.end = end

    def __iter__(self):
        return self

    def __next__(self):
        if self.left:
            return self.left.pop()
        raise self.end


def test_the_end_of_an_input(real):
    """StopIteration is the end of an input, StopAsyncIteration an error of it."""
    with real.pool(2) as pool:
        double = jobs.double
        assert list(pool.imap(double, Numbers(StopIteration()), order="input")) == [2, 4, 6]
        results = pool.imap(double, Numbers(StopAsyncIteration()), order="input")
        values, error = drain(lambda: next(results))
        assert values == [2, 4, 6]
        check(error, StopAsyncIteration)


def give(kind):
    """An exception as a value."""
    return jobs.FATES[kind](kind)


def give_all(kinds):
    """Exceptions as results of a batch: those items failed."""
    return [jobs.FATES.get(kind, str)(kind) for kind in kinds]


@pytest.mark.parametrize("kind", STOPS)
def test_values_that_are_exceptions(real, kind):
    """What is returned is a value, whichever way it goes."""
    name = kind.__name__
    with real.pool(2) as pool:

        async def main():
            assert type(await pool.submit(give, name)) is kind
            assert [type(e) async for e in pool.imap(give, [name] * 3)] == [kind] * 3

        real.coroutine(main())
        assert type(pool.submit(give, name).result()) is kind
        assert [type(each) for each in pool.imap(give, [name] * 3)] == [kind] * 3
        stream = pool.pull([name] * 3).pipe(pool.map(give))
        assert [type(each) for each in iterate(stream)] == [kind] * 3
        assert type(stream.run()) is kind


@pytest.mark.parametrize("kind", STOPS)
def test_results_of_batches_that_are_exceptions(lane, kind):
    """Where an exception stands for a failed item, it fails as if the function had raised."""
    batch = ["a", kind.__name__, "b"]
    letters, kept = Subject(), []
    letters.subscribe(kept.append)
    with lane.pool(1) as pool:
        stream = pool.pull([batch]).pipe(pool.map_batches(give_all))
        sink = lane.subscribe(stream).wait()
        assert sink.values == ["a"]
        check(sink.error, kind)
        stream = pool.pull([batch]).pipe(pool.map_batches(give_all, on_failure=letters))
        assert lane.collect(stream) == ["a", "b"]
        check(kept[0].error, kind)


# -- faces -------------------------------------------------------------------------------------

FACE_FATES = (*STOPS, GeneratorExit, KeyboardInterrupt, SystemExit)


def meet_all(fates):
    """A batch whose first item decides."""
    return [jobs.meet(fate) for fate in fates]


async def meet_all_later(fates):
    """The same on the event loop."""
    await asyncio.sleep(0)
    return meet_all(fates)


async def give_all_later(kinds):
    """Exceptions as results of a batch, on the event loop."""
    return give_all(kinds)


@pytest.mark.parametrize("kind", FACE_FATES)
def test_faces_on_threads(kind):
    """The call has it, and the next one is made."""
    fate = kind.__name__
    for fn in (meet_all, give_all):
        with BatchProcessor(fn, max_size=1, max_delay=1) as processor:
            check(processor.add(fate).exception(WAIT), kind)
            assert processor.add("x").result(WAIT) == "x"
            assert processor.metrics().failed == 1
    with ThrottleManager(1000, max_concurrent=1) as manager:
        check(manager.execute(jobs.meet, fate).exception(WAIT), kind)
        check(manager.execute(jobs.meet_later, fate).exception(WAIT), kind)
        assert manager.execute(jobs.meet, "x").result(WAIT) == "x"
    with DebounceManager(0) as debouncer:
        check(debouncer.execute(jobs.meet, fate).exception(WAIT), kind)
        assert debouncer.execute(jobs.meet, "x").result(WAIT) == "x"
    decorated = (
        batched(max_size=1, max_delay=1)(meet_all),
        throttled(1000)(jobs.meet),
        debounced(0)(jobs.meet),
    )
    for call in decorated:
        check(call(fate).exception(WAIT), kind)
        assert call("x").result(WAIT) == "x"
        call.close()


@pytest.mark.parametrize("kind", FACE_FATES)
def test_faces_on_an_event_loop(kind):
    """The same for coroutines; the loop runs on."""
    fate = kind.__name__

    async def main():
        for fn in (meet_all_later, give_all_later, meet_all):
            async with BatchProcessor(fn, max_size=1, max_delay=1) as processor:
                check(await raised_by(processor.add(fate)), kind)
                assert await processor.add("x") == "x"
        async with ThrottleManager(1000, max_concurrent=1) as manager:
            for fn in (jobs.meet, jobs.meet_later):
                check(await raised_by(manager.execute(fn, fate)), kind)
                assert await manager.execute(fn, "x") == "x"
        async with DebounceManager(0) as debouncer:
            check(await raised_by(debouncer.execute(jobs.meet_later, fate)), kind)
        decorated = (
            (batched(max_size=1, max_delay=1)(meet_all_later), "processor"),
            (throttled(1000)(jobs.meet_later), "manager"),
            (debounced(0)(jobs.meet_later), "manager"),
        )
        for call, face in decorated:
            check(await raised_by(call(fate)), kind)
            assert await call("x") == "x"
            await getattr(call, face).aclose()

    asyncio.run(main())


# -- what would end more than its item ---------------------------------------------------------


async def await_one_that_exits(how):
    """Wait for a future that fails with GeneratorExit, and do something about it, or not."""
    if how == "fine":
        return how
    loop = asyncio.get_running_loop()
    failing = loop.create_future()
    loop.call_soon(failing.set_exception, GeneratorExit("x"))
    try:
        return await failing
    except GeneratorExit:
        if how == "value":
            return how
        if how == "waits":
            await asyncio.sleep(0.001)
        raise


@pytest.mark.parametrize("name", ["asyncio", "running-loop"])
def test_what_a_coroutine_awaits_fails_with_it(name, tmp_path):
    """It is the failure of that item, though Python throws it into coroutines to end them."""
    lane = KINDS[name](name, tmp_path)
    with lane.pool(1) as pool:
        for _ in range(3):
            error = pool.submit(await_one_that_exits, "raises").exception(WAIT)
            assert type(error) is GeneratorExit
            assert pool.submit(await_one_that_exits, "value").result(WAIT) == "value"
            error = pool.submit(await_one_that_exits, "waits").exception(WAIT)
            assert isinstance(error, (GeneratorExit, RuntimeError))  # too late to wait
            assert pool.submit(await_one_that_exits, "fine").result(WAIT) == "fine"
    assert balanced(pool).failed == 6
    lane.end()


@pytest.mark.parametrize("kind", [KeyboardInterrupt, SystemExit])
def test_a_loop_that_is_a_scheduler_runs_on(kind):
    """A coroutine of the pool fails, and nothing else on the loop does."""

    async def main():
        loop = asyncio.get_running_loop()
        async with WorkerPool(1, on=AsyncIOScheduler(loop)) as pool:
            check(await raised_by(pool.submit(jobs.meet_later, kind.__name__)), kind)
            return await pool.submit(jobs.meet_later, "x")

    assert asyncio.run(main()) == "x"


@pytest.mark.parametrize("kind", FATES)
def test_leaving_a_worker_of_the_pool(kind):
    """Its block waits for the calls, and is not left by what one of them raised."""
    gate = threading.Event()

    def fn(fate):
        gate.wait(WAIT)
        return jobs.meet(fate)

    async def main():
        with WorkerPool(1) as pool:
            async with pool.worker(fn) as worker:
                futures = [worker.execute(fate) for fate in (kind.__name__, "x")]
                asyncio.get_running_loop().call_soon(gate.set)
            assert [future.done() for future in futures] == [True, True]
            check(futures[0].exception(), kind)

    asyncio.run(main())


def test_a_coroutine_that_waits_for_a_worker_can_be_cancelled(tmp_path):
    """What runs goes on, what waits is taken back, and the cancellation is heard."""
    folder = str(tmp_path)

    async def leave(pool, futures):
        async with pool.worker(lambda item: jobs.hold(folder, item)) as worker:
            futures += [worker.execute(1), worker.execute(2)]

    async def main():
        with WorkerPool(1) as pool:
            futures = []
            task = asyncio.create_task(leave(pool, futures))
            while not jobs.notes(folder):
                await asyncio.sleep(0.001)
            task.cancel()
            assert type(await raised_by(task)) is asyncio.CancelledError
            assert futures[1].cancelled()
            jobs.open_gate(folder, "*")
            assert await futures[0] == 1

    asyncio.run(main())


def taken_back(_):
    """Fail as code does that waits for a future that was cancelled."""
    raise concurrent.futures.CancelledError


def test_a_list_whose_item_raises_what_futures_raise():
    """It failed; it was not taken back."""
    with WorkerPool(1) as pool:
        batch = pool.worker(taken_back).execute_batch([1, 2])
        assert isinstance(batch.exception(WAIT), concurrent.futures.CancelledError)
        assert not batch.cancelled()


def test_a_callback_that_raises_it(lane):
    """The worker that told it of the result goes on, and `faults` says so."""
    with lane.make(1) as pool:
        faults = []
        pool.faults.subscribe(faults.append)
        future = pool.submit(lane.hold, "a")
        future.add_done_callback(leave)
        lane.open("a")
        lane.until(lambda: future.done() and faults)
        assert [type(fault) for fault in faults] == [GeneratorExit]
        after = pool.submit(jobs.double, 2)
        lane.until(after.done)
        assert after.result() == 4


def test_a_listener_that_raises_it(lane):
    """It hears no more, and the work goes on, whatever it listened to."""
    with lane.make(1, monitor=leave) as pool:
        faults = []
        pool.progress.subscribe(leave)
        pool.faults.subscribe(faults.append)
        pool.faults.subscribe(leave)
        assert lane.collect(pool.pull([1, 2, 3]).pipe(pool.map(jobs.tell))) == [1, 2, 3]
        lane.until(lambda: faults)
        assert {type(fault) for fault in faults} == {GeneratorExit}


def test_progress_of_a_list_that_raises_it():
    """The list has its results, and `faults` says so."""
    with WorkerPool(1) as pool:
        faults = []
        pool.faults.subscribe(faults.append)
        batch = pool.worker(jobs.double).execute_batch([1, 2], on_progress=leave)
        assert batch.result(WAIT) == [2, 4]
    assert [type(fault) for fault in faults] == [GeneratorExit] * 2


def test_callbacks_of_faces_that_raise_it():
    """The next call is made."""
    gate = threading.Event()
    with ThrottleManager(1000, max_concurrent=1) as manager:
        manager.execute(gate.wait, WAIT).add_done_callback(leave)
        following = manager.execute(jobs.double, 1)
        gate.set()
        assert following.result(WAIT) == 2
    gates = {1: threading.Event(), 2: gate}

    def fn(batch):
        return [gates[item].wait(WAIT) for item in batch]

    with BatchProcessor(fn, max_size=1, max_delay=1, on_progress=leave) as processor:
        processor.add(1).add_done_callback(leave)
        following = processor.add(2)
        gates[1].set()
        assert following.result(WAIT)
