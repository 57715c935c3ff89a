"""How faces and long waits end: what races with a close, and timeouts of any length."""

import itertools
import threading
import time
from datetime import timedelta
from functools import partial

import pytest
import reactivex as rx

from rxpool import Limit, PoolClosed, TaskCancelled, WorkerPool
from rxpool.faces import BatchProcessor, DebounceManager, ThrottleManager
from tests.waiting import WAIT

LONG = [1e10, 1e300, 10**300, timedelta.max]  #: more seconds than a lock can wait for


def batching(function):
    """Calls of single items, made together."""
    processor = BatchProcessor(lambda items: [function(item) for item in items], max_size=3)
    return processor, processor.add


def throttling(function):
    """Calls of a function."""
    manager = ThrottleManager(100_000, burst=100)
    return manager, partial(manager.execute, function)


def debouncing(function):
    """Calls of a function, few of which are made."""
    manager = DebounceManager(0.0001, leading=True)
    return manager, partial(manager.execute, function)


@pytest.fixture(params=[batching, throttling, debouncing])
def make(request):
    """A face around a function, and how to call it."""
    return request.param


@pytest.mark.parametrize("timeout", [0, 0.001, None])
def test_calls_race_with_a_close(make, timeout, frantic):
    """Each is refused, or has an end; no function is called with what was cancelled."""
    for _ in range(15):
        odd, futures, errors = [], [], []

        def function(item):
            if not isinstance(item, int):
                odd.append(item)  # noqa: B023
            return item

        face, call = make(function)

        def work():
            try:
                for item in itertools.count():
                    futures.append(call(item))  # noqa: B023
            except PoolClosed:
                return
            except BaseException as error:
                errors.append(error)  # noqa: B023

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0)
        face.close(timeout)
        for thread in threads:
            thread.join(WAIT)
        assert not odd
        assert not errors
        for future in futures:
            if not future.cancelled():
                error = future.exception(WAIT)
                assert error is None or isinstance(error, (TaskCancelled, PoolClosed))


def terminate_when_taken(engine):
    """As another thread may do just then."""
    take = engine.work.take

    def taken(now):
        chosen = take(now)
        if chosen:
            engine.terminate()
        return chosen

    engine.work.take = taken


def test_a_call_that_was_taken_when_the_face_was_terminated():
    """It is not begun, as its future has an end."""
    begun = []

    manager = ThrottleManager(10)
    terminate_when_taken(manager._engine)
    future = manager.execute(begun.append, 1)
    assert isinstance(future.exception(WAIT), TaskCancelled)
    with pytest.raises(PoolClosed):
        manager.execute(begun.append, 2)
    assert not begun
    assert manager._engine.runner._own is None


def test_a_batch_that_was_taken_when_the_face_was_terminated():
    """The same."""
    begun = []

    processor = BatchProcessor(begun.append, max_size=1)
    terminate_when_taken(processor._engine)
    assert isinstance(processor.add(1).exception(WAIT), TaskCancelled)
    assert not begun
    assert processor._engine.runner._own is None


def test_no_timer_is_set_after_the_end(make):
    """A face that was closed has nothing to look at any more."""
    face, call = make(abs)
    call(-1)
    face.close()
    face._engine.alarm.set(time.monotonic() + 1000)
    assert face._engine.alarm._timer is None


# -- timeouts ---------------------------------------------------------------------------------


@pytest.mark.parametrize("timeout", LONG, ids=["1e10", "1e300", "whole", "timedelta"])
def test_long_timeouts(make, timeout):
    """They are as good as none, wherever somebody waits."""
    gate = threading.Event()

    def hold(item):
        gate.wait(WAIT)
        return item

    face, call = make(hold)
    with WorkerPool(2) as pool:
        handle = pool.worker(hold)
        futures = [call(1), pool.submit(hold, 1), handle.execute(1), handle.execute_batch([1])]
        source = rx.subject.Subject()
        source.pipe(pool.map(hold)).subscribe()
        source.on_next(1)
        threading.Timer(0.02, gate.set).start()
        seconds = timeout.total_seconds() if isinstance(timeout, timedelta) else timeout
        values = [future.result(seconds) for future in futures]
        assert values == [1, 1, 1, [1]]
        assert [future.exception(seconds) for future in futures] == [None] * 4
        gate.clear()
        call(2), handle.execute(2), pool.submit(hold, 2)
        threading.Timer(0.02, gate.set).start()
        assert face.close(timeout) is True
        assert handle.close(timeout) is True
        assert pool.close(timeout) is True
    assert Limit(10).acquire(timeout=timeout) is True


def test_a_future_takes_the_timeouts_that_others_take():
    """Infinite ones too; one that is over is over."""
    with WorkerPool(1) as pool, BatchProcessor(list, max_delay=60) as processor:
        gate = threading.Event()
        held, waiting = pool.submit(gate.wait, WAIT), processor.add(1)
        for future in (held, waiting):
            for timeout in (0, -1, 0.001):
                with pytest.raises(TimeoutError):
                    future.result(timeout)
                with pytest.raises(TimeoutError):
                    future.exception(timeout)
        gate.set()
        processor.flush()
        assert held.result(float("inf")) is True
        assert waiting.result(float("inf")) == 1
