"""`BatchProcessor` among threads and on event loops."""

import asyncio
import threading
import time
from concurrent.futures import wait

import pytest

from rxpool import WorkerPool
from rxpool.errors import TaskCancelled, WouldBlock
from rxpool.faces import BatchProcessor


def test_on_threads():
    """Results, errors and room, on a thread of its own; `add` waits for room."""
    threads = set()

    def fn(items):
        threads.add(threading.current_thread())
        return [ValueError(item) if item % 7 == 0 else -item for item in items]

    with BatchProcessor(fn, max_size=10, max_delay=0.001, max_pending=20) as processor:
        futures = [processor.add(item) for item in range(500)]
        wait(futures)
    for item, future in enumerate(futures):
        if item % 7 == 0:
            assert isinstance(future.exception(), ValueError)
            with pytest.raises(ValueError, match=str(item)):
                future.result()
        else:
            assert future.result() == -item
    assert threading.current_thread() not in threads
    assert processor.metrics().pending == 0


def test_a_given_pool_is_used_and_left_open():
    """It is the user's."""
    with WorkerPool(2, name="mine") as pool:

        def fn(items):
            return [threading.current_thread().name] * len(items)

        with BatchProcessor(fn, max_size=1, pool=pool) as processor:
            assert "mine" in processor.add(1).result(10)
        assert pool.submit(int).result(10) == 0


def test_on_one_event_loop():
    """An ``async def`` runs on the loop of those who await; errors are each one's own."""

    async def main():
        loops = set()

        async def fn(items):
            loops.add(asyncio.get_running_loop())
            await asyncio.sleep(0)
            return [KeyError(item) if item == 5 else item + 1 for item in items]

        async def one(item):
            return await processor.add(item)

        async with BatchProcessor(fn, max_size=8, max_delay=0.005) as processor:
            ends = await asyncio.gather(*map(one, range(100)), return_exceptions=True)
        assert [end for item, end in enumerate(ends) if item != 5] == [
            item + 1 for item in range(100) if item != 5
        ]
        assert isinstance(ends[5], KeyError)
        assert loops == {asyncio.get_running_loop()}
        assert processor.metrics().batches >= 13

    asyncio.run(main())


def test_an_async_function_without_a_loop():
    """Then it runs on a worker thread."""

    async def fn(items):
        await asyncio.sleep(0)
        return items

    with BatchProcessor(fn, max_size=2, max_delay=0.001) as processor:
        assert [processor.add(i).result(10) for i in range(3)] == [0, 1, 2]


def test_a_plain_function_awaited_from_a_loop():
    """A worker thread settles what a loop awaits."""

    async def main():
        async with BatchProcessor(
            lambda items: items, max_size=4, max_delay=0.001
        ) as processor:
            futures = [processor.add(item) for item in range(40)]
            assert [await future for future in futures] == list(range(40))

    asyncio.run(main())


def test_room_on_a_loop():
    """`add` cannot wait there, `add_async` can; one that is cancelled passes its room on."""

    async def main():
        gate = asyncio.Event()

        async def fn(items):
            await gate.wait()
            return items

        async with BatchProcessor(fn, max_size=1, max_pending=1) as processor:
            first, second = processor.add(1), processor.add(2)
            with pytest.raises(WouldBlock):
                processor.add(3)
            tasks = [asyncio.create_task(processor.add_async(i)) for i in (3, 4, 5)]
            await asyncio.sleep(0)
            tasks[0].cancel()
            await asyncio.sleep(0)
            gate.set()
            assert [await first, await second] == [1, 2]
            assert [await (await task) for task in tasks[1:]] == [4, 5]

    asyncio.run(main())


def test_a_cancelled_awaiter_takes_its_item_out():
    """As with `asyncio.wait_for`."""

    async def main():
        async with BatchProcessor(lambda items: items, max_size=9, max_delay=60) as processor:
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(processor.add(1), 0.01)
            assert processor.metrics().cancelled == 1

    asyncio.run(main())


def test_close_gives_up_in_time():
    """`close(timeout)` cancels what waits and fails what runs, and says so."""
    release = threading.Event()

    def fn(items):
        release.wait(20)
        return items

    processor = BatchProcessor(fn, max_size=1)
    futures = [processor.add(1), processor.add(2)]
    assert processor.close(0.01) is False
    assert isinstance(futures[0].exception(0), TaskCancelled)
    assert futures[1].cancelled()
    release.set()


def test_adding_from_many_threads(frantic):
    """Every item gets its own result, whatever races; nothing is lost or doubled."""
    seen, ends, each = [], {}, 4000

    def fn(items):
        seen.extend(items)
        assert len(items) <= 3
        return [item * 2 for item in items]

    def feed(start):
        futures = [(i, processor.add(i)) for i in range(start, start + each)]
        for i, future in futures:
            if i % 5 == 0:
                future.cancel()
        for i, future in futures:
            ends[i] = "cancelled" if future.cancelled() else future.result(20)

    with BatchProcessor(fn, max_size=3, max_delay=0.001, max_in_flight=3) as processor:
        threads = [threading.Thread(target=feed, args=(n * each,)) for n in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(ends) == 4 * each
    assert all(end in ("cancelled", i * 2) for i, end in ends.items())
    gone = {i for i, end in ends.items() if end == "cancelled"}
    assert sorted(seen) == sorted(set(range(4 * each)) - gone)
    m = processor.metrics()
    assert (m.accepted, m.pending, m.running, m.failed) == (4 * each, 0, 0, 0)
    assert (m.succeeded, m.cancelled) == (4 * each - len(gone), len(gone))


def test_the_bound_holds_against_racing_threads():
    """Whoever looks for room gets it in the same step: others get their turn in between here,
    as the clock gives it to them."""
    gate, most = threading.Event(), [0]

    def fn(items):
        gate.wait(20)
        return items

    def now():
        time.sleep(0)
        most[0] = max(most[0], processor.pending)
        return time.monotonic()

    processor = BatchProcessor(fn, max_size=50, max_delay=0.001, max_pending=10)
    processor._engine.now = now
    first = processor.add(0)
    while not first.running():
        time.sleep(0)
    threads = [
        threading.Thread(target=lambda: [processor.add(1) for _ in range(10)]) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    while processor.pending < 10:
        time.sleep(0)
    gate.set()
    for thread in threads:
        thread.join()
    assert processor.close()
    assert most[0] == 10
    assert processor.metrics().succeeded == 81
