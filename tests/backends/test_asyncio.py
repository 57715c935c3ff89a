"""Pools on an event loop: one of their own, or the one that runs already."""

import asyncio
import contextlib
import contextvars
import functools
import gc
import threading
from contextvars import ContextVar

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import (
    Failure,
    Success,
    TaskCancelled,
    TaskTimeout,
    WorkerPool,
    WouldBlock,
    current_task,
)
from rxpool.backends.event_loop import _slot
from tests.waiting import WAIT

MARK = ContextVar("mark", default="none")


async def increment(number):
    """The least work."""
    return number + 1


async def pause(number):
    """Waits for one turn of the loop."""
    await asyncio.sleep(0)
    return number


class Oops(Exception):
    """What failing work raises."""


async def fail(number):
    """Fails after a turn."""
    await asyncio.sleep(0)
    raise Oops(number)


def on_loop(main):
    """Run a test on a loop; nothing of the pool may be left on it."""

    @functools.wraps(main)
    def test(*args, **kwargs):
        async def run():
            async with asyncio.timeout(WAIT):
                await main(*args, **kwargs)
            assert asyncio.all_tasks() == {asyncio.current_task()}

        asyncio.run(run())

    return test


@pytest.fixture(params=["own", "running"])
def run(request):
    """Runs ``use(pool)``, a function that may wait, with a pool on either kind of loop."""

    def on_own(use, workers, **options):
        with WorkerPool(workers, on="asyncio", **options) as pool:
            return use(pool)

    def on_running(use, workers, **options):
        async def main():
            async with WorkerPool(workers, on="asyncio", **options) as pool:
                return await asyncio.to_thread(use, pool)

        return asyncio.run(main())

    return on_own if request.param == "own" else on_running


def collect(stream):
    """What a stream emits, and its error."""
    seen, errors, ended = [], [], threading.Event()
    stream.subscribe(seen.append, lambda e: (errors.append(e), ended.set()), ended.set)
    assert ended.wait(WAIT)
    return seen, errors


# -- results -------------------------------------------------------------------------------


WORK = pytest.mark.parametrize(("work", "plus"), [(increment, 1), (pause, 0)])


@WORK
def test_imap_gives_every_result(run, work, plus):
    """A lot, one by one, more than any bound."""
    results = run(lambda pool: list(pool.imap(work, range(3000))), 4)
    assert sorted(results) == [n + plus for n in range(3000)]


@WORK
def test_map_in_input_order(run, work, plus):
    """Results come in the order of the items."""
    seen, errors = run(
        lambda pool: collect(pool.pull(range(500)).pipe(pool.map(work, order="input"))), 4
    )
    assert (seen, errors) == ([n + plus for n in range(500)], [])


def test_outcomes_know_how_long_work_took(run):
    """Work that ends at once has its times too, and failures are told."""

    async def work(number):
        if number % 3 == 0:
            await asyncio.sleep(0.01)
        if number % 5 == 0:
            raise Oops(number)
        return number

    seen, _ = run(
        lambda pool: collect(rx.from_iterable(range(60)).pipe(pool.outcomes(work))), 4
    )
    assert len(seen) == 60
    for outcome in seen:
        assert outcome.attempts == 1
        assert outcome.waited >= 0
        assert outcome.took >= (0.009 if outcome.item % 3 == 0 else 0)
        assert isinstance(outcome, Failure if outcome.item % 5 == 0 else Success)


def test_no_more_at_once_than_workers(run):
    """Of coroutines that wait, as many as workers run."""
    running = most = 0

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    run(lambda pool: list(pool.imap(work, range(50))), 3)
    assert most == 3


def test_items_that_wait_do_not_hold_others(run):
    """Behind work that ends at once, and before it, one that waits for long."""
    gate = threading.Event()

    async def work(number):
        if number == 100:
            while not gate.is_set():
                await asyncio.sleep(0.001)
        return number

    def use(pool):
        results = pool.imap(work, range(1000))
        first = [next(results) for _ in range(999)]
        gate.set()
        return first, list(results)

    first, last = run(use, 2)
    assert last == [100]
    assert sorted(first) == [n for n in range(1000) if n != 100]


def test_the_default_is_a_hundred(run):
    """Coroutines wait most of the time."""
    assert run(lambda pool: pool.workers, None) == 100


def test_resize(run):
    """More from now on, or fewer when those that run have ended."""
    running = most = 0

    async def work(number):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await asyncio.sleep(0.001)
        running -= 1

    def use(pool):
        nonlocal most
        list(pool.imap(work, range(10)))
        found = [most]
        for size in (5, 1):
            pool.resize(size)
            most = 0
            list(pool.imap(work, range(20)))
            found.append(most)
        return found

    assert run(use, 2) == [2, 5, 1]


# -- what functions may be -------------------------------------------------------------------


class Doubler:
    """Callable, bound, static: all async."""

    async def __call__(self, number):
        return 2 * number

    async def method(self, number):
        """Bound."""
        return 2 * number


def thread_of(number):
    """A plain function."""
    return threading.current_thread()


async def thread_later(number):
    """An async one."""
    return threading.current_thread()


@functools.wraps(thread_later)
def wrapped(number):
    """An async function inside another."""
    return thread_later(number)


async def double(number):
    """Async."""
    return 2 * number


@pytest.mark.parametrize(
    "function",
    [
        Doubler(),
        Doubler().method,
        functools.partial(double),
        functools.partial(Doubler().method),
        lambda number: 2 * number,
        lambda number: double(number),
        lambda number: asyncio.wait_for(double(number), 1),
        functools.partial(int.__mul__, 2),
    ],
    ids=["object", "method", "partial", "bound partial", "plain", "lambda", "wait_for", "C"],
)
def test_any_function_will_do(run, function):
    """What it returns is awaited if it can be."""
    assert sorted(run(lambda pool: list(pool.imap(function, range(5))), 2)) == [0, 2, 4, 6, 8]
    assert run(lambda pool: pool.submit(function, 4).result(WAIT), 2) == 8


def test_plain_functions_run_on_threads(run):
    """And others, however wrapped, on the loop."""

    def use(pool):
        return [
            pool.submit(function, 1).result(WAIT)
            for function in (thread_of, thread_later, wrapped, functools.partial(thread_later))
        ]

    plain, *others = run(use, 2)
    assert plain not in others
    assert len(set(others)) == 1


def test_plain_functions_run_at_once(run):
    """As many as there are workers."""
    meet = threading.Barrier(3, timeout=WAIT)
    assert len(run(lambda pool: list(pool.imap(lambda n: meet.wait(), range(6))), 3)) == 6


def test_items_of_observables(run):
    """They are results; of `submit` the list of them is."""

    def use(pool):
        several = list(pool.imap(lambda n: rx.from_iterable(range(n)), [1, 2, 3]))
        return sorted(several), pool.submit(lambda: rx.of(1, 2)).result(WAIT)

    assert run(use, 2) == ([0, 0, 0, 1, 1, 2], [1, 2])


def test_an_observable_that_fails(run):
    """Its error is the item's."""
    failed = rx.throw(Oops("no"))
    with pytest.raises(Oops):
        run(lambda pool: pool.submit(lambda: failed).result(WAIT), 2)


def test_an_observable_is_disposed_when_its_task_is_cancelled(run):
    """Its source is let go."""
    source = Subject()

    def use(pool):
        seen = []
        pool.pull([1]).pipe(pool.outcomes(lambda n: source, timeout=0.05)).subscribe(
            seen.append
        )
        while not seen:
            threading.Event().wait(0.001)
        return seen[0].error, source.observers

    error, observers = run(use, 1)
    assert isinstance(error, TaskTimeout)
    assert observers == []


@pytest.mark.parametrize(
    "error", [Oops("x"), SystemExit(3), StopIteration(1), KeyboardInterrupt()]
)
@pytest.mark.parametrize("how", ["async", "plain"])
def test_whatever_it_raises_is_the_failure_of_the_item(run, error, how):
    """The loop lives on."""

    def plain(number):
        raise error

    async def later(number):
        raise error

    def use(pool):
        outcomes, _ = collect(rx.of(1).pipe(pool.outcomes(plain if how == "plain" else later)))
        return outcomes[0].error, pool.submit(increment, 1).result(WAIT)

    found, after = run(use, 1)
    assert after == 2
    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    assert isinstance(found, expected)


# -- variables and current_task --------------------------------------------------------------


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("outer", [None, "outer"])
def test_variables_belong_to_one_item(run, waits, outer):
    """They come from where the item was handed over, and go nowhere else."""

    async def work(number):
        before = MARK.get()
        MARK.set(f"item {number}")
        if waits:
            await asyncio.sleep(0)
        assert MARK.get() == f"item {number}"
        return before

    def use(pool):
        if outer is not None:
            MARK.set(outer)
        return list(pool.imap(work, range(100)))

    found = contextvars.Context().run(run, use, 2)
    assert set(found) == {outer or "none"}


def test_variables_go_to_threads(run):
    """Plain functions see them too, and what they set stays there."""

    def work(number):
        before = MARK.get()
        MARK.set("set")
        return before

    def use(pool):
        MARK.set("here")
        return list(pool.imap(work, range(5)))

    assert contextvars.copy_context().run(run, use, 1) == ["here"] * 5


@pytest.mark.parametrize("how", ["first step", "later step", "child", "thread"])
def test_current_task(run, how):
    """The task of the item, in whatever belongs to it."""

    async def tell(number):
        current_task().progress(number / 10)

    async def work(number):
        if how == "later step":
            await asyncio.sleep(0)
        if how == "child":
            await asyncio.gather(tell(number), tell(number))
        else:
            await tell(number)

    def plain(number):
        current_task().progress(number / 10)

    def use(pool):
        told = []
        pool.progress.subscribe(lambda p: told.append((p.item, p.fraction)))
        list(pool.imap(plain if how == "thread" else work, range(10)))
        return told

    times = 2 if how == "child" else 1
    assert sorted(run(use, 3)) == sorted([(n, n / 10) for n in range(10)] * times)


# -- cancelling ------------------------------------------------------------------------------


@on_loop
async def test_a_timeout_cancels_the_coroutine():
    """It sees the cancellation as any task does; others go on."""
    cleaned = []

    async def work(number):
        try:
            await asyncio.sleep(WAIT if number == 1 else 0.001)
        except asyncio.CancelledError:
            assert current_task().cancelled
            cleaned.append(number)
            raise
        return number

    async with WorkerPool(2, on="asyncio") as pool:
        seen = []
        done = asyncio.Event()
        pool.pull(range(4)).pipe(pool.outcomes(work, timeout=0.05)).subscribe(
            seen.append, on_completed=done.set
        )
        await done.wait()
    errors = [outcome for outcome in seen if isinstance(outcome, Failure)]
    assert [type(outcome.error) for outcome in errors] == [TaskTimeout]
    assert sorted(o.value for o in seen if isinstance(o, Success)) == [0, 2, 3]
    assert cleaned == [1]


@on_loop
async def test_a_coroutine_that_ignores_its_cancellation_holds_no_slot():
    """Others run beside it; it may end when it likes."""
    gate = asyncio.Event()
    ended = []

    async def stubborn(number):
        while not gate.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await gate.wait()
        ended.append(number)

    async with WorkerPool(1, on="asyncio") as pool:
        stream = pool.pull([1]).pipe(pool.outcomes(stubborn, timeout=0.02))
        seen = []
        stream.subscribe(seen.append)
        assert await pool.submit(pause, 1) == 1
        while not seen:
            await asyncio.sleep(0.001)
        assert await pool.submit(pause, 2) == 2
        assert not ended
        gate.set()
        while not ended:
            await asyncio.sleep(0)
        assert await pool.submit(pause, 3) == 3
        assert pool.report().in_flight == 0
    assert isinstance(seen[0].error, TaskTimeout)


@on_loop
async def test_cancelling_itself_is_a_failure_and_hurts_nobody_else():
    """Neither the item behind it nor one that waits later is told."""

    async def work(number):
        if number % 3 == 0:
            asyncio.current_task().cancel()
        if number % 2 == 0:
            await asyncio.sleep(0)
        return number

    async def own(number):
        raise asyncio.CancelledError(number)

    async with WorkerPool(2, on="asyncio") as pool:
        for _ in range(20):
            seen = []
            done = asyncio.Event()
            pool.pull(range(30)).pipe(pool.outcomes(work)).subscribe(
                seen.append, on_completed=done.set
            )
            await done.wait()
            failed = {o.item for o in seen if isinstance(o, Failure)}
            assert failed == {n for n in range(30) if n % 6 == 0}
        with pytest.raises(asyncio.CancelledError, match="7"):
            await pool.submit(own, 7)
        assert await pool.submit(pause, 1) == 1


@on_loop
async def test_what_cancels_itself_leaves_a_clean_task():
    """The next item can have a group that fails, and is not cancelled by the one before."""

    async def work(number):
        if number == 0:  # ends before it sees its cancellation
            await asyncio.sleep(0)
            asyncio.current_task().cancel()
        elif number == 1:
            asyncio.current_task().cancel()
            await asyncio.sleep(0)
        else:
            with contextlib.suppress(ExceptionGroup):
                async with asyncio.TaskGroup() as group:
                    group.create_task(fail(number))
                    await asyncio.sleep(WAIT)
            await asyncio.sleep(0)
        return number

    async with WorkerPool(1, on="asyncio") as pool:
        for numbers in ([0, 2], [1, 2], [0, 0, 2], [1, 0, 2, 1, 2]):
            found = pool.imap(work, numbers, on_failure="skip", order="input")
            assert [n async for n in found] == [n for n in numbers if n != 1]


@on_loop
async def test_timeouts_and_groups_of_asyncio_work_inside():
    """They cancel the task that runs the coroutine, and take it back."""

    async def limited(number):
        try:
            async with asyncio.timeout(0.001):
                await asyncio.sleep(WAIT)
        except TimeoutError:
            return number

    async def grouped(number):
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(asyncio.sleep(WAIT))
                group.create_task(fail(number))
        except* Oops:
            pass
        await asyncio.sleep(0)
        return number

    async with WorkerPool(3, on="asyncio") as pool:
        for work in (limited, grouped):
            assert sorted([n async for n in pool.imap(work, range(20))]) == list(range(20))


@on_loop
async def test_a_plain_function_is_abandoned():
    """Its thread goes on alone; another takes its place."""
    gate = threading.Event()

    async with WorkerPool(1, on="asyncio") as pool:
        seen = []
        pool.pull([1]).pipe(pool.outcomes(lambda n: gate.wait(WAIT), timeout=0.02)).subscribe(
            seen.append
        )
        while not seen:
            await asyncio.sleep(0.001)
        assert isinstance(seen[0].error, TaskTimeout)
        assert await pool.submit(lambda: 5) == 5
        gate.set()


@on_loop
async def test_switch_map_cancels_what_runs():
    """Only the newest has a result."""
    cancelled = []

    async def work(number):
        try:
            await asyncio.sleep(WAIT if number < 5 else 0)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    source, seen = Subject(), []
    async with WorkerPool(2, on="asyncio") as pool:
        source.pipe(pool.switch_map(work)).subscribe(seen.append)
        for number in range(6):
            source.on_next(number)
            await asyncio.sleep(0.002)
        while not seen:
            await asyncio.sleep(0)
    assert (seen, cancelled) == ([5], [0, 1, 2, 3, 4])


@on_loop
async def test_leaving_async_for_cancels_the_rest():
    """What runs is cancelled, nothing goes on in the background."""
    started, cancelled = [], []

    async def work(number):
        started.append(number)
        try:
            await asyncio.sleep(0 if number == 0 else WAIT)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    async with WorkerPool(3, on="asyncio") as pool:
        async for _ in pool.imap(work, range(100)):
            break
        gc.collect()
        while len(cancelled) < len(started) - 1:
            await asyncio.sleep(0)
        assert pool.report().in_flight == 0
    assert sorted(cancelled) == started[1:]


# -- a running loop is never blocked -----------------------------------------------------------


@on_loop
async def test_the_loop_has_its_turns():
    """Work that ends at once, without end, leaves others on the loop their turns."""
    turns = 0
    over = False

    async def count():
        nonlocal turns
        while not over:
            turns += 1
            await asyncio.sleep(0)

    async def work(number):
        for _ in range(200):
            pass
        return number

    counter = asyncio.create_task(count())
    async with WorkerPool(10, on="asyncio") as pool:
        done = asyncio.Event()
        pool.pull(range(20_000)).pipe(pool.map(work)).subscribe(on_completed=done.set)
        await done.wait()
    over = True
    await counter
    assert turns > 20


@on_loop
async def test_futures_can_be_gathered():
    """Without a thread, each with its own result."""
    threads = threading.active_count()
    async with WorkerPool(5, on="asyncio") as pool:
        assert await asyncio.gather(*[pool.submit(pause, n) for n in range(50)]) == list(
            range(50)
        )
        assert [n async for n in pool.imap(pause, range(50), order="input")] == list(range(50))
        assert threading.active_count() == threads


@on_loop
async def test_subscribers_are_called_on_the_loop():
    """With results, failures, and the end."""
    here = threading.current_thread()
    seen = []

    async def work(number):
        await asyncio.sleep(WAIT if number == 2 else 0)
        return number

    async with WorkerPool(2, on="asyncio") as pool:
        done = asyncio.Event()

        def end():
            seen.append(threading.current_thread())
            done.set()

        pool.pull(range(5)).pipe(pool.outcomes(work, timeout=0.02)).subscribe(
            lambda _: seen.append(threading.current_thread()), on_completed=end
        )
        await done.wait()
    assert seen == [here] * 6


@on_loop
async def test_blocking_the_loop_is_refused():
    """Where it would never end, the text says what to do instead."""
    async with WorkerPool(2, on="asyncio") as pool:
        future = pool.submit(pause, 1)
        with pytest.raises(WouldBlock, match="await the future"):
            future.result(WAIT)
        with pytest.raises(WouldBlock, match="async for"):
            next(pool.imap(pause, range(3)))
        assert await future == 1


@on_loop
async def test_leaving_async_with_finishes_what_was_accepted():
    """Chains drain from the top, on the loop."""
    seen = []
    async with WorkerPool(2, on="asyncio") as pool:
        pool.pull(range(100)).pipe(pool.map(pause), pool.map(increment)).subscribe(seen.append)
        futures = [pool.submit(pause, n) for n in range(10)]
        while len(seen) < 3:
            await asyncio.sleep(0)
    assert [future.result() for future in futures] == list(range(10))
    assert sorted(seen) == list(range(1, len(seen) + 1))


@on_loop
async def test_leaving_by_an_exception_cancels():
    """And waits until what was cancelled has cleaned up."""
    cleaned = []

    async def work(number):
        try:
            await asyncio.sleep(WAIT)
        finally:
            await asyncio.sleep(0.005)
            cleaned.append(number)

    with contextlib.suppress(Oops):
        async with WorkerPool(2, on="asyncio") as pool:
            futures = [pool.submit(work, n) for n in range(4)]
            await asyncio.sleep(0.005)
            raise Oops
    assert sorted(cleaned) == [0, 1]
    assert all(isinstance(future.exception(), TaskCancelled) for future in futures)


@on_loop
async def test_a_plain_with_says_that_it_cannot_wait():
    """What is not done is cancelled: nothing goes on after the block."""
    done = []

    async def tell(_):
        await pause(1)
        done.append(1)

    with pytest.raises(WouldBlock, match="async with"), WorkerPool(2, on="asyncio") as pool:
        futures = [pool.submit(tell, 1) for _ in range(3)]
    assert all(isinstance(future.exception(), TaskCancelled) for future in futures)
    await pause(1)
    await pause(1)
    assert done == []
    assert pool.close() is True
    with WorkerPool(2, on="asyncio") as pool:
        assert await pool.submit(pause, 1) == 1
    pool = WorkerPool(2, on="asyncio")
    future = pool.submit(pause, 2)
    assert pool.close() is False
    assert await future == 2
    await asyncio.sleep(0)
    assert pool.close() is True
    await asyncio.sleep(0)


@pytest.mark.parametrize("caller", ["loop", "thread"])
def test_a_loop_that_ends_takes_the_work_along(caller):
    """Nobody closed the pool: everything is cancelled, and nobody waits for ever."""

    async def main():
        pool = WorkerPool(2, on="asyncio")

        def call():
            return [pool.submit(asyncio.sleep, WAIT) for _ in range(5)]

        if caller == "thread":
            futures = await asyncio.to_thread(call)
        else:
            futures = call()
            pool.pull(iter(int, 1)).pipe(pool.map(pause)).subscribe(on_error=lambda _: None)
        await asyncio.sleep(0.005)
        return pool, futures

    pool, futures = asyncio.run(main())
    for future in futures:
        assert isinstance(future.exception(WAIT), (TaskCancelled, asyncio.CancelledError))
    assert pool.close() is True


def test_a_loop_that_was_closed_without_a_word():
    """What waits for its work is told."""
    loop = asyncio.new_event_loop()

    async def main():
        pool = WorkerPool(1, on="asyncio")
        return pool, pool.submit(pause, 1), pool.submit(pause, 2)

    pool, *futures = loop.run_until_complete(main())
    loop.close()
    assert {type(future.exception(WAIT)) for future in futures} == {TaskCancelled}
    pool.close()
    gc.collect()


# -- tasks that use their own pool -------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_that_wait_for_their_own_pool(run, workers):
    """Directly, in child tasks, in a loop, through a stream, on a thread."""

    def use(pool):
        async def by_await(number):
            return await pool.submit(pause, number)

        async def by_gather(number):
            return sum(
                await asyncio.gather(*[pool.submit(increment, n) for n in range(number)])
            )

        async def by_loop(number):
            return sum([n async for n in pool.imap(pause, range(number))])

        async def by_stream(number):
            done = asyncio.get_running_loop().create_future()
            total = []
            pool.pull(range(number)).pipe(pool.map(pause)).subscribe(
                total.append, on_completed=lambda: done.set_result(sum(total))
            )
            return await done

        def on_thread(number):
            return pool.submit(by_await, number).result(WAIT)

        def in_loop_on_thread(number):
            return sum(pool.imap(pause, range(number)))

        kinds = (by_await, by_gather, by_loop, by_stream, on_thread, in_loop_on_thread)
        return [sorted(pool.imap(kind, [3, 4, 5])) for kind in kinds]

    assert run(use, workers) == [
        [3, 4, 5], [6, 10, 15], [3, 6, 10], [3, 6, 10], [3, 4, 5], [3, 6, 10]
    ]  # fmt: skip


def test_one_of_many_waits_for_its_own_pool(run):
    """It runs behind others in the same slot, and has none to give up yet."""

    def use(pool):
        async def work(number):
            if number % 50 == 30:
                return sum([n async for n in pool.imap(pause, range(number))])
            return number

        return list(pool.imap(work, range(200), order="input"))

    expected = [sum(range(n)) if n % 50 == 30 else n for n in range(200)]
    assert run(use, 1) == expected


def test_plain_functions_that_wait_in_ways_nobody_sees(run):
    """For plain functions of their own pool, on one worker."""

    def use(pool):
        def work(number):
            seen, _ = collect(pool.pull(range(number)).pipe(pool.map(lambda n: n)))
            return sum(seen)

        return sorted(pool.imap(work, [3, 4, 5]))

    assert run(use, 1) == [3, 6, 10]


def test_recursion(run):
    """Each call waits for two more of its kind, on one worker."""

    def use(pool):
        async def fib(number):
            if number < 2:
                return number
            return sum(await asyncio.gather(*[pool.submit(fib, number - n) for n in (1, 2)]))

        return pool.submit(fib, 10).result(WAIT), pool.report().in_flight

    assert run(use, 1) == (55, 0)


# -- an own loop ------------------------------------------------------------------------------


def test_the_own_thread_starts_late_and_ends_with_the_pool():
    """No job, no thread; its name says whose it is."""
    threads = set(threading.enumerate())
    with WorkerPool(2, on="asyncio", name="mine") as pool:
        assert set(threading.enumerate()) == threads
        pool.submit(pause, 1).result(WAIT)
        assert [t.name for t in set(threading.enumerate()) - threads] == ["mine-loop"]
    assert set(threading.enumerate()) == threads


def test_what_coroutines_left_on_an_own_loop_is_cancelled():
    """Also background tasks; their clean-up runs."""
    ended = []

    async def background():
        try:
            await asyncio.sleep(WAIT)
        finally:
            ended.append(1)

    async def work(number):
        tasks.append(asyncio.get_running_loop().create_task(background()))
        await asyncio.sleep(0)

    tasks = []
    with WorkerPool(2, on="asyncio") as pool:
        pool.submit(work, 1).result(WAIT)
    assert ended == [1]


def test_terminate_from_outside():
    """What runs is cancelled, what waits never starts."""
    started, cancelled = threading.Event(), []

    async def work(number):
        started.set()
        try:
            await asyncio.sleep(WAIT)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise

    pool = WorkerPool(1, on="asyncio")
    futures = [pool.submit(work, n) for n in range(3)]
    assert started.wait(WAIT)
    pool.terminate()
    assert [type(f.exception(WAIT)) for f in futures] == [TaskCancelled] * 3
    assert cancelled == [0]


def test_closing_from_inside():
    """A coroutine of the pool closes it: it ends when the work does."""
    pool = WorkerPool(2, on="asyncio")

    async def work(number):
        pool.close()
        await asyncio.sleep(0)
        return number

    assert pool.submit(work, 4).result(WAIT) == 4
    assert pool.close() is True


# -- races ------------------------------------------------------------------------------------


def test_no_job_is_lost_between_two_leaders(frantic):
    """Calls from threads while the loop is about to have nothing to do.

    Fails if nobody looks for mail after the leader has resigned.
    """
    with WorkerPool(4, on="asyncio") as pool:

        def call():
            for number in range(100):
                assert pool.submit(increment, number).result(WAIT) == number + 1

        threads = [threading.Thread(target=call) for _ in range(3)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()


def test_cancelling_while_work_ends(frantic):
    """Many flows, disposed at any moment: the sums add up, and no slot is lost."""
    with WorkerPool(3, on="asyncio") as pool:
        for number in range(60):
            with pool.imap(pause if number % 2 else increment, range(200)) as results:
                for _ in range(number):
                    next(results)
        assert pool.submit(pause, 1).result(WAIT) == 1
        report = pool.report()
        assert report.in_flight == 0
        assert report.accepted == report.succeeded + report.cancelled


def test_lots_are_bounded_in_time(monkeypatch):
    """Results of a lot are not kept back for longer than a turn."""
    clock = iter(range(10_000))
    sizes = []
    with WorkerPool(1, on="asyncio") as pool:
        backend = pool._engine.backend
        monkeypatch.setattr(_slot, "_TURN", 3)
        backend.now = lambda: next(clock)
        finish = pool._engine.runner.finish
        monkeypatch.setattr(
            pool._engine.runner,
            "finish",
            lambda tasks, rest, go_on: (sizes.append(len(tasks)), finish(tasks, rest, go_on)),
        )
        assert len(list(pool.imap(increment, range(200)))) == 200
    assert sum(sizes) == 200
    assert max(sizes) <= 5
