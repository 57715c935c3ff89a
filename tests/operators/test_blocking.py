"""Producers that wait for room in an operator, and event loops, which never do.

Each docstring ends with the change that it catches.
"""

import asyncio
from contextlib import contextmanager

import pytest
from reactivex.subject import Subject

from rxpool import operators as ops
from rxpool.errors import WouldBlock
from tests.operators.crew import BOOM, Slow, finish, push, start, until_blocked
from tests.waiting import WAIT

# -- slow subscribers ----------------------------------------------------------

BLOCKING = {
    # operator, items before the one that must wait; the first delivery stays busy
    "batch": (lambda: ops.batch(1), 2),
    "batch, keyed": (lambda: ops.batch(1, key=int), 2),
    "throttle": (lambda: ops.throttle(1, per=3600, max_pending=2), 3),
    "throttle, nothing waits inside": (lambda: ops.throttle(1, per=3600, max_pending=0), 1),
    "throttle, strict": (lambda: ops.throttle(1, per=3600, max_pending=2, strict=True), 3),
    "debounce": (lambda: ops.debounce(3600, leading=True, key=int), 1025),
}


@contextmanager
def waiting_producer(make, room):
    """A producer that waits because a subscriber is busy or a bucket empty."""
    source, slow, seen = Subject(), Slow(), []
    subscription = source.pipe(make()).subscribe(slow.on_next, seen.append, seen.clear)
    first = start(push, source, 0)
    slow.is_busy()
    finish(start(push, source, *range(1, room)))
    producer = start(push, source, "7777")
    until_blocked(producer)
    yield source, subscription, producer, slow
    slow.go.release(5000)
    finish(first, producer)
    subscription.dispose()


@pytest.mark.parametrize(("make", "room"), BLOCKING.values(), ids=BLOCKING)
def test_dispose_releases_a_waiting_producer(make, room):
    """Disposing from another thread returns at once, and so does who waited.

    Catches: not waking who waits, on dispose.
    """
    with waiting_producer(make, room) as (source, subscription, producer, slow):
        finish(start(subscription.dispose))
        finish(producer)
        assert source.observers == []
        assert slow.values == []


@pytest.mark.parametrize("how", ["complete", "fail"])
@pytest.mark.parametrize(("make", "room"), BLOCKING.values(), ids=BLOCKING)
def test_the_end_releases_a_waiting_producer(make, room, how):
    """When another thread ends the source, who waits with an item is let go.

    Catches: not waking who waits, at the end.
    """
    with waiting_producer(make, room) as (source, _, producer, _):
        end = source.on_completed if how == "complete" else lambda: source.on_error(BOOM)
        finish(start(end))
        finish(producer)


def test_a_released_producer_loses_its_item_with_a_count():
    """An item that waited outside when the stream was closed is counted as dropped.

    Catches: letting it vanish.
    """
    events = []

    def make():
        return ops.throttle(1, per=3600, max_pending=0, monitor=events.append)

    with waiting_producer(make, 1) as (_, subscription, producer, _):
        subscription.dispose()
        finish(producer)
    dropped = [event for event in events if event.name == "rxpool.dropped"]
    assert [(event.value, event.attributes) for event in dropped] == [(1, {"policy": "closed"})]


# -- event loops ---------------------------------------------------------------


@pytest.mark.parametrize("max_pending", [0, 1])
def test_a_running_event_loop_is_never_blocked(max_pending):
    """On the loop's thread ``"block"`` ends the stream with `WouldBlock` after what waits.

    Catches: waiting whatever the thread.
    """
    seen = []

    async def main():
        ended = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_error(error):
            seen.append(error)
            loop.call_soon_threadsafe(ended.set)

        source = Subject()
        source.pipe(ops.throttle(100, max_pending=max_pending)).subscribe(seen.append, on_error)
        push(source, *range(max_pending + 2))
        await asyncio.wait_for(ended.wait(), WAIT)

    asyncio.run(main())
    assert seen[:-1] == list(range(max_pending + 1))
    assert type(seen[-1]) is WouldBlock


def test_a_slow_subscriber_does_not_block_an_event_loop():
    """A batch that is full while another is delivered is `WouldBlock` on a loop's thread.

    Catches: waiting for the subscriber on a loop's thread.
    """
    source, slow, errors = Subject(), Slow(), []
    source.pipe(ops.batch(1)).subscribe(slow.on_next, errors.append)
    first = start(push, source, 1)
    slow.is_busy()

    async def main():
        push(source, 2, 3)

    asyncio.run(main())
    slow.go.release(2)
    finish(first)
    assert slow.values == [[1], [2]]
    assert [type(error) for error in errors] == [WouldBlock]


def test_a_thread_beside_an_event_loop_may_wait():
    """Only the loop's own thread is spared.

    Catches: taking any running loop for this thread's.
    """
    source, seen = Subject(), []
    source.pipe(ops.throttle(500, max_pending=0)).subscribe(seen.append)
    asyncio.run(asyncio.to_thread(push, source, 1, 2, 3))
    assert seen == [1, 2, 3]
