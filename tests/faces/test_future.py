"""`FaceFuture` behaves as a `concurrent.futures.Future`, and as something to await."""

import asyncio
import concurrent.futures
import threading
import time

import pytest

from rxpool.faces._future import CANCELLED, PENDING, RUNNING, FaceFuture, wake
from rxpool.pool import PoolFuture

BOOM = ValueError("boom")


class Giver:
    """Gives futures out; anything that waits may be taken back."""

    def __init__(self):
        self.lock = threading.Lock()

    def future(self, item=None):
        return FaceFuture(self, item)

    def withdraw(self, future):
        with self.lock:
            if future._state is not PENDING:
                return False
            future.end(CANCELLED)
            return True

    def begin(self, future):
        with self.lock:
            if future._state is not PENDING:
                return False
            future._state = RUNNING
            return True

    def waits(self):
        """May be waited for."""


def settled(how):
    future = Giver().future("item")
    if how == "cancelled":
        assert future.cancel()
    elif how == "failed":
        future.set_exception(BOOM)
    else:
        future.set_result(3)
    return future


def test_it_is_a_pool_future():
    """So what is typed for one takes the other."""
    assert isinstance(settled("done"), PoolFuture)
    assert isinstance(settled("done"), concurrent.futures.Future)


def test_asking():
    """Every question, in every state."""
    pending = Giver().future()
    assert (pending.done(), pending.running(), pending.cancelled()) == (False, False, False)
    assert Giver().begin(pending)
    assert (pending.done(), pending.running(), pending.cancel()) == (False, True, False)
    good, bad, gone = settled("done"), settled("failed"), settled("cancelled")
    assert [f.done() for f in (good, bad, gone)] == [True] * 3
    assert (good.result(), good.exception(), good.cancel()) == (3, None, False)
    assert (bad.exception(), bad.cancelled()) == (BOOM, False)
    with pytest.raises(ValueError, match="boom"):
        bad.result()
    assert (gone.cancelled(), gone.cancel()) == (True, True)
    with pytest.raises(concurrent.futures.CancelledError):
        gone.result()
    with pytest.raises(concurrent.futures.CancelledError):
        gone.exception()
    with pytest.raises(TimeoutError):
        pending.result(0)
    assert good.item is None  # what was to be done is not kept


@pytest.mark.parametrize("how", ["done", "failed", "cancelled"])
def test_callbacks(how, caplog):
    """Made once, whenever they are added; one that raises is logged and harms nobody."""
    giver, told = Giver(), []
    future = giver.future()

    def bad(_):
        raise BOOM

    future.add_done_callback(bad)
    future.add_done_callback(told.append)
    if how == "cancelled":
        future.cancel()
    elif how == "failed":
        future.set_exception(BOOM)
    else:
        future.set_result(1)
    future.add_done_callback(told.append)
    assert told == [future, future]
    assert "exception calling callback" in caplog.text


def test_the_functions_of_concurrent_futures():
    """`wait` and `as_completed` take them, pending or not."""
    giver = Giver()
    futures = [giver.future(), settled("done"), settled("failed"), settled("cancelled")]
    done, left = concurrent.futures.wait(futures, 0)
    assert (len(done), left) == (3, {futures[0]})
    late = [giver.future() for _ in range(3)]

    def settle():
        late[0].set_result(1)
        late[1].set_exception(BOOM)
        late[2].cancel()

    timer = threading.Timer(0.01, settle)
    timer.start()
    assert set(concurrent.futures.as_completed(late, 10)) == set(late)
    timer.join()


def test_wait_looks_twice(monkeypatch):
    """It counts what is done, and then what is not: nothing may end in between.

    Catches a state that is set without the condition.
    """
    giver = Giver()
    future = giver.future()
    install = concurrent.futures._base._create_and_install_waiters
    settlers = []

    def between(futures, when):
        settlers.append(threading.Thread(target=future.set_result, args=(1,)))
        settlers[0].start()
        settlers[0].join(0.05)  # time to do it wrong; to do it right needs none
        return install(futures, when)

    monkeypatch.setattr(concurrent.futures._base, "_create_and_install_waiters", between)
    waits = threading.Thread(target=concurrent.futures.wait, args=([future],), daemon=True)
    waits.start()
    waits.join(5)
    assert not waits.is_alive()
    settlers[0].join()
    assert future.result() == 1


def test_awaiting():
    """On the loop that settles it, and on others; one or several at a time."""

    async def waits(future):
        try:
            return await future
        except ValueError as error:
            return error
        except asyncio.CancelledError:
            return "cancelled"

    async def main():
        giver = Giver()
        assert [await waits(settled(how)) for how in ("done", "failed")] == [3, BOOM]
        assert await waits(settled("cancelled")) == "cancelled"
        futures = [giver.future() for _ in range(3)]
        tasks = [asyncio.create_task(waits(f)) for f in futures for _ in range(2)]
        await asyncio.sleep(0)
        other = threading.Thread(target=futures[0].set_result, args=(1,))
        other.start()
        other.join()
        futures[1].put(None, BOOM)
        wake(futures[:2])  # what was told before is not told twice
        futures[2].cancel()
        assert await asyncio.gather(*tasks) == [1, 1, BOOM, BOOM, "cancelled", "cancelled"]

    asyncio.run(main())


def test_a_cancelled_awaiter_cancels_what_waits():
    """But not what runs."""

    async def main():
        giver = Giver()
        waiting, running = giver.future(), giver.future()
        giver.begin(running)
        for future in (waiting, running):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(future, 0.001)
        assert waiting.cancelled()
        assert running.running()

    asyncio.run(main())


def test_a_loop_that_is_gone_harms_nobody():
    """Its listeners are passed over, the others are told."""
    giver, told = Giver(), []
    future = giver.future()
    future.add_done_callback(told.append)

    async def listen():
        task = asyncio.create_task(asyncio.wait_for(future, 9))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        giver.begin(future)
        task.cancel()

    asyncio.run(listen())
    future.set_result(1)
    assert told == [future]


def by_result(futures, turn):
    for number, future in enumerate(futures):
        turn[0] = number
        yield future.result(20)


def by_callback(futures, turn):
    for number, future in enumerate(futures):
        told = []
        turn[0] = number
        future.add_done_callback(told.append)
        deadline = time.monotonic() + 20
        while not told and time.monotonic() < deadline:
            time.sleep(0)
        assert told == [future]
        yield future.result(0)


def by_await(futures, turn):
    async def all_of_them():
        ends = []
        for number, future in enumerate(futures):
            turn[0] = number
            async with asyncio.timeout(20):
                ends.append(await future)
        return ends

    yield from asyncio.run(all_of_them())


@pytest.mark.parametrize("wait", [by_result, by_callback, by_await])
def test_nobody_misses_the_end(frantic, wait):
    """A future is settled at the moment at which somebody begins to wait for it."""
    giver, turn = Giver(), [-1]
    futures = [giver.future() for _ in range(2000)]

    def settle():
        for number, future in enumerate(futures):
            while turn[0] < number:
                time.sleep(0)
            future.set_result(number)

    settler = threading.Thread(target=settle)
    settler.start()
    assert list(wait(futures, turn)) == list(range(2000))
    settler.join()
