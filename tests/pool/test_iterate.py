"""`iterate`: streams as iterators and async iterators, with back-pressure."""

import asyncio
import contextlib
import gc
import itertools
import threading

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import InvalidArgument, WorkerPool, WouldBlock, iterate
from tests.waiting import WAIT, eventually


class Oops(Exception):
    """What a source fails with."""


def double(number):
    """Plain work."""
    return 2 * number


async def double_later(number):
    """Work that waits for a turn of the loop."""
    await asyncio.sleep(0)
    return 2 * number


def by_for(make):
    """Collect in a thread without a loop; *make* is given a pool."""
    with WorkerPool(2) as pool:
        return list(make(pool, double))


def by_async_for(make):
    """Collect on a loop."""

    async def main():
        async with WorkerPool(2) as pool, asyncio.timeout(WAIT):
            return [item async for item in make(pool, double)]

    return asyncio.run(main())


def on_own_loop(make):
    """Collect from a pool that lives on the loop that collects."""

    async def main():
        async with WorkerPool(2, on="asyncio") as pool, asyncio.timeout(WAIT):
            return [item async for item in make(pool, double_later)]

    return asyncio.run(main())


@pytest.fixture(params=[by_for, by_async_for, on_own_loop])
def collect(request):
    """Every way to iterate."""
    return request.param


# -- what comes out --------------------------------------------------------------------------


@pytest.mark.parametrize("bound", [1, 2, 1024])
def test_all_items_in_order(collect, bound):
    """However small the bound."""
    found = collect(
        lambda pool, work: iterate(
            pool.pull(range(300)).pipe(pool.map(work, order="input")), max_pending=bound
        )
    )
    assert found == [2 * n for n in range(300)]


def test_a_chain_of_flows(collect):
    """Each is held back by the one behind it."""
    found = collect(
        lambda pool, work: iterate(
            pool.pull(range(200)).pipe(pool.map(work, max_pending=2), pool.map(work)),
            max_pending=2,
        )
    )
    assert sorted(found) == [4 * n for n in range(200)]


def test_several_flows_at_once(collect):
    """Each may bring one more than there is room for; nothing is lost."""
    found = collect(
        lambda pool, work: iterate(
            rx.merge(*[pool.pull(range(100)).pipe(pool.map(work)) for _ in range(3)]),
            max_pending=1,
        )
    )
    assert sorted(found) == sorted([2 * n for n in range(100)] * 3)


def test_two_that_see_room_for_one_at_once():
    """The thread that iterates delivers one of them; it cannot wait, and need not."""
    other, once = Subject(), iter([None])

    def meddle(_):
        """Between the look for room and the delivery another item comes."""
        if threading.current_thread() is threading.main_thread():
            for _ in once:
                producer = threading.Thread(target=other.on_next, args=("other",))
                producer.start()
                producer.join()

    with WorkerPool(1) as pool:
        flow = pool.pull(range(20)).pipe(pool.map(double), ro.do_action(meddle))
        items = iterate(rx.concat(flow, rx.of("end")), max_pending=1)
        side = other.subscribe(items._inbox.on_next)
        assert sorted(items, key=str) == sorted(
            [*(2 * n for n in range(20)), "end", "other"], key=str
        )
        side.dispose()
    assert not list(once)


def test_an_error_comes_behind_what_was_accepted(collect):
    """It is raised once; then the iteration has ended."""
    items = None

    def make(pool, work):
        nonlocal items
        items = iterate(rx.concat(rx.of(1, 2, 3), rx.throw(Oops("no"))))
        return items

    with pytest.raises(Oops, match="no"):
        collect(make)
    with pytest.raises(StopIteration):
        next(items)
    seen = []
    with contextlib.suppress(Oops):
        for item in iterate(rx.concat(rx.of(1, 2, 3), rx.throw(Oops("no")))):
            seen.append(item)
    assert seen == [1, 2, 3]


def test_a_source_that_cannot_be_subscribed(collect):
    """What it raises is its error."""

    def subscribe(observer, scheduler=None):
        raise Oops("no")

    with pytest.raises(Oops):
        collect(lambda pool, work: iterate(rx.create(subscribe)))


def test_an_empty_source(collect):
    """No item, no error."""
    assert collect(lambda pool, work: iterate(rx.empty())) == []


def test_None_is_an_item(collect):
    """As any other."""
    assert collect(lambda pool, work: iterate(rx.of(None, 0, None))) == [None, 0, None]


@pytest.mark.parametrize("bad", [0, -1, 1.5, True])
def test_bad_bounds_are_refused_at_once(bad):
    """Where they are written."""
    with pytest.raises(InvalidArgument):
        iterate(rx.empty(), max_pending=bad)


def test_only_observables():
    """Nothing else can be subscribed."""
    with pytest.raises(InvalidArgument, match="Observable"):
        iterate([1, 2])


# -- back-pressure -----------------------------------------------------------------------------


def test_a_source_that_emits_while_it_is_subscribed_waits():
    """It has read no further than the bound says."""
    read = []
    numbers = (read.append(n) or n for n in itertools.count())
    items = iterate(rx.from_iterable(numbers), max_pending=3)
    assert [next(items) for _ in range(5)] == [0, 1, 2, 3, 4]
    eventually(lambda: len(read) == 5 + 3 + 1)
    assert next(items) == 5
    eventually(lambda: len(read) == 6 + 3 + 1)
    items.close()


def test_pull_reads_only_as_far_as_needed():
    """Through a flow, whatever the loop does meanwhile."""
    read = []

    def numbers():
        for number in itertools.count():
            read.append(number)
            yield number

    with WorkerPool(2, max_pending=4) as pool:
        with iterate(pool.pull(numbers()).pipe(pool.map(double)), max_pending=4) as items:
            first = [next(items) for _ in range(3)]
            eventually(lambda: len(read) >= 3 + 4)
            for _ in range(20):
                threading.Event().wait(0.001)
                assert len(read) <= 3 + 4 + 4 + 2 * 2 + 1
        assert set(first) <= {2 * n for n in range(len(read))}


def test_producers_on_other_threads_wait():
    """Until the loop takes something."""
    source, pushed = Subject(), []
    items = iterate(source, max_pending=2)
    iter(items)

    def push():
        for number in range(10):
            source.on_next(number)
            pushed.append(number)
        source.on_completed()

    producer = threading.Thread(target=push)
    producer.start()
    eventually(lambda: len(pushed) == 2)
    assert list(items) == list(range(10))
    producer.join(WAIT)


def test_closing_lets_producers_go():
    """What they bring is dropped."""
    source, ended = Subject(), threading.Event()
    items = iterate(source, max_pending=1)
    iter(items)

    def push():
        for number in range(5):
            source.on_next(number)
        ended.set()

    producer = threading.Thread(target=push)
    producer.start()
    assert next(items) == 0
    items.close()
    assert ended.wait(WAIT)
    producer.join()
    assert list(items) == []


def test_the_thread_that_iterates_cannot_wait_for_itself():
    """What was buffered comes out, then the error that says what to do."""
    source = Subject()
    items = iterate(source, max_pending=3)
    iter(items)
    source.on_next("first")
    assert next(items) == "first"
    for number in range(10):
        source.on_next(number)
    assert [next(items) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(WouldBlock, match=r"pool\.pull"):
        next(items)
    assert not source.observers


def test_a_source_on_the_loop_cannot_wait():
    """One that emits while it is subscribed, for ever: it is got out of its loop."""

    async def main():
        for source in (rx.from_iterable(itertools.count()), rx.create(emit)):
            items = iterate(source, max_pending=5)
            assert [await anext(items) for _ in range(5)] == [0, 1, 2, 3, 4]
            with pytest.raises(WouldBlock):
                await anext(items)

    def emit(observer, scheduler=None):
        for number in itertools.count():
            observer.on_next(number)

    asyncio.run(main())


def test_a_loop_that_runs_cannot_be_blocked():
    """Items that are there can be had; waiting is refused."""

    async def main():
        source = Subject()
        with iterate(source) as items:
            iter(items)
            source.on_next(1)
            assert next(items) == 1
            with pytest.raises(WouldBlock, match="async for"):
                next(items)

    asyncio.run(main())


def on_a_loop(call):
    """What *call* answers on the thread of a running event loop."""

    async def main():
        return call()

    return asyncio.run(asyncio.wait_for(main(), WAIT))


@pytest.mark.parametrize("on", ["threads", "processes", "inline"])
@pytest.mark.parametrize("read", ["pull", "emit"])
def test_a_plain_loop_on_an_event_loop(on, read):
    """As `imap` does: the event loop waits meanwhile; more items than may wait."""

    def call():
        with WorkerPool(1 if on == "inline" else 2, on=on) as pool:
            source = pool.pull(range(100)) if read == "pull" else rx.from_iterable(range(100))
            squares = source.pipe(pool.map(abs, order="input", max_pending=7))
            return list(iterate(squares.pipe(pool.map(str, order="input")), max_pending=5))

    assert on_a_loop(call) == [str(number) for number in range(100)]


def test_a_plain_loop_over_what_needs_no_pool():
    """What emits while it is subscribed is read on its thread."""
    assert on_a_loop(lambda: list(iterate(rx.range(20), max_pending=3))) == list(range(20))


@pytest.mark.parametrize("count", [3, 100])
def test_a_plain_loop_over_work_of_the_same_event_loop(count):
    """It would never end: the error says what to write."""

    async def double(number):
        await asyncio.sleep(0)
        return 2 * number

    async def main():
        async with WorkerPool(2, on="asyncio") as pool:
            with (
                iterate(pool.pull(range(count)).pipe(pool.map(double, max_pending=5))) as items,
                pytest.raises(WouldBlock, match="async for"),
            ):
                next(items)

    asyncio.run(asyncio.wait_for(main(), WAIT))


def test_a_plain_loop_over_a_flow_that_the_event_loop_may_feed():
    """Nobody knows who else would: refused, also behind a flow."""

    async def main():
        source = Subject()
        with WorkerPool(1) as pool, iterate(source.pipe(pool.map(abs))) as items:
            iter(items)
            source.on_next(-1)
            assert next(items) == 1
            with pytest.raises(WouldBlock, match="async for"):
                next(items)
            source.on_completed()
            assert list(items) == []

    asyncio.run(asyncio.wait_for(main(), WAIT))


# -- the end -----------------------------------------------------------------------------------


def test_leaving_the_block_disposes():
    """The source is let go."""
    source = Subject()
    with iterate(source) as items:
        iter(items)
        assert source.observers
        source.on_next(1)
        assert next(items) == 1
    assert not source.observers
    assert list(items) == []


def test_dropping_the_iterator_disposes():
    """Nobody is left to take the items."""
    source = Subject()
    items = iterate(source)
    iter(items)
    del items
    gc.collect()
    assert not source.observers


def test_leaving_async_for_cancels_the_rest():
    """An endless source, in the middle of a wait."""

    async def main():
        seen = []
        async with WorkerPool(2, on="asyncio") as pool:
            source = pool.pull(itertools.count()).pipe(pool.map(double_later, order="input"))
            async for item in iterate(source, max_pending=3):
                seen.append(item)
                if len(seen) == 10:
                    break
            assert pool.report().in_flight == 0
        return seen

    assert asyncio.run(main()) == [2 * n for n in range(10)]


@pytest.mark.parametrize("cut", ["close", "dispose"])
def test_an_endless_source_stops_reading(cut):
    """Its own thread still subscribes when the end comes, and has nothing to dispose yet."""
    with WorkerPool(2) as pool:
        items = iterate(pool.pull(itertools.count()).pipe(pool.map(double)), max_pending=3)
        next(items)
        if cut == "dispose":
            items.close()
            eventually(
                lambda: not any(t.name == "rxpool-iterate" for t in threading.enumerate())
            )
            return
        drain = threading.Thread(target=lambda: list(items))
        drain.start()
        assert pool.close()
        drain.join(WAIT)
        assert not drain.is_alive()


def test_a_wait_is_over_when_another_thread_closes():
    """The loop ends."""
    items = iterate(rx.never())
    seen = []
    waiting = threading.Thread(target=lambda: seen.append(list(items)))
    waiting.start()
    eventually(lambda: items._inbox._state.begun)
    items.close()
    waiting.join(WAIT)
    assert seen == [[]]


def test_nothing_starts_before_the_iteration():
    """And nothing at all if it is closed before."""
    subscribed = []
    source = rx.defer(lambda _: subscribed.append(1) or rx.of(1))
    items = iterate(source)
    assert subscribed == []
    assert list(items) == [1]
    other = iterate(source)
    other.close()
    assert list(other) == []
    assert subscribed == [1]


# -- inside a pool -----------------------------------------------------------------------------


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_that_iterate_over_their_own_pool(workers):
    """They give up their slots, although the source is subscribed on another thread."""
    with WorkerPool(workers) as pool:

        def work(number):
            source = pool.pull(range(number)).pipe(pool.map(double))
            return sum(iterate(source, max_pending=2))

        assert list(pool.imap(work, [20] * 5)) == [380] * 5


def test_coroutines_that_iterate_over_their_own_pool():
    """On one worker."""

    async def main():
        async with WorkerPool(1, on="asyncio") as pool, asyncio.timeout(WAIT):

            async def work(number):
                source = pool.pull(range(number)).pipe(pool.map(double_later))
                return sum([item async for item in iterate(source, max_pending=2)])

            return await asyncio.gather(*[pool.submit(work, 20) for _ in range(3)])

    assert asyncio.run(main()) == [380] * 3


# -- races -------------------------------------------------------------------------------------


def test_who_parks_while_others_are_woken_waits_for_the_next_time():
    """Else a flow that finds no room again would be woken for ever."""
    source, woken = Subject(), []
    items = iterate(source, max_pending=1)
    iter(items)
    inbox = items._inbox
    inner, busy = inbox._changed, False

    def resume():
        woken.append(1)
        assert len(woken) < 5
        inbox.on_room(resume)

    class Between:
        """The lock of the inbox; when it is released, another thread comes in between."""

        def __enter__(self):
            return inner.__enter__()

        def __exit__(self, *error):
            nonlocal busy
            inner.__exit__(*error)
            if not busy:
                busy = True
                source.on_next("another")
                assert inbox.on_room(resume)

        def __getattr__(self, name):
            return getattr(inner, name)

    source.on_next("first")
    inbox._changed = Between()
    assert next(items) == "first"
    assert woken == []
    assert next(items) == "another"
    assert woken == [1]
    items.close()


def test_no_wake_up_is_lost(frantic):
    """Small bounds, both sides wait often.

    Fails if a producer is not woken when an item is taken, or the loop when one comes.
    """
    with WorkerPool(3) as pool:
        for bound in (1, 2, 3):
            source = pool.pull(range(300)).pipe(pool.map(double, max_pending=1))
            assert sorted(iterate(source, max_pending=bound)) == [2 * n for n in range(300)]


def test_no_wake_up_is_lost_on_a_loop(frantic):
    """Results come from threads while the loop looks whether there are any.

    Fails if the loop looks before it says that it is going to sleep, and not after.
    """

    async def main():
        async with WorkerPool(3) as pool, asyncio.timeout(WAIT):
            for bound in (1, 2, 3):
                source = pool.pull(range(300)).pipe(pool.map(double, max_pending=1))
                found = [item async for item in iterate(source, max_pending=bound)]
                assert sorted(found) == [2 * n for n in range(300)]
            assert len([n async for n in pool.imap(double, range(500), max_pending=1)]) == 500

    asyncio.run(main())


def test_closing_at_any_moment(frantic):
    """No thread and no task stays behind."""
    with WorkerPool(2) as pool:
        for number in range(40):
            source = pool.pull(itertools.count()).pipe(pool.map(double))
            with iterate(source.pipe(ro.map(str)), max_pending=2) as items:
                for _ in range(number % 7):
                    next(items)
        eventually(lambda: pool.report().in_flight == 0)
