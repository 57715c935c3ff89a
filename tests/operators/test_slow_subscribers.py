"""The operators while their subscriber is busy.

Each docstring ends with the change that it catches.
"""

import threading
import time

import pytest
from reactivex.subject import Subject

from rxpool import operators as ops
from tests.operators.crew import Sink, Slow, finish, push, start, until_blocked
from tests.waiting import WAIT

# -- slow subscribers ----------------------------------------------------------


def test_a_batch_fills_while_another_is_delivered():
    """Producers go on until the next batch is full too; then they wait until there is room.

    Catches: delivering with the lock held; taking items though a full batch waits; not
    waking who waits.
    """
    source, slow = Subject(), Slow()
    source.pipe(ops.batch(2)).subscribe(slow.on_next)
    first = start(push, source, 1, 2)
    slow.is_busy()
    finish(start(push, source, 3, 4))  # room
    waiting = start(push, source, 5, 6)
    until_blocked(waiting)
    assert slow.values == []
    slow.go.release()
    slow.is_busy()
    finish(waiting)  # the batch [3, 4] is being delivered: the next one has room
    slow.go.release()
    slow.is_busy()
    slow.go.release()
    finish(first)
    assert slow.values == [[1, 2], [3, 4], [5, 6]]


def test_a_batch_fills_while_the_timer_delivers_another():
    """A slow subscriber on the timer's thread holds back no producer that has room.

    Catches: delivering with the lock held; forgetting the timer that rang meanwhile.
    """
    source, slow = Subject(), Slow()
    subscription = source.pipe(ops.batch(100, 0.001)).subscribe(slow.on_next)
    source.on_next(1)
    slow.is_busy()
    finish(start(push, source, 2, 3))
    slow.go.release()
    slow.is_busy()
    slow.go.release()
    finish(start(push, source, 4))
    slow.is_busy()
    slow.go.release()
    subscription.dispose()
    assert slow.values[:2] == [[1], [2, 3]]


def test_admitted_items_wait_for_a_busy_subscriber():
    """A throttle that need not pace holds back no producer until a good many items wait.

    Catches: an unbounded queue in front of a busy subscriber; delivering with the lock held.
    """
    source, slow = Subject(), Slow()
    source.pipe(ops.throttle(1e6, burst=1e6, max_pending=4)).subscribe(slow.on_next)
    first = start(push, source, 0)
    slow.is_busy()
    waiting = start(push, source, *range(1, 100))
    until_blocked(waiting)
    for _ in range(100):
        slow.go.release()
    finish(first, waiting)
    for _ in range(99):
        slow.is_busy()
    deadline = time.monotonic() + WAIT
    while len(slow.values) < 100 and time.monotonic() < deadline:
        time.sleep(0.001)
    assert slow.values == list(range(100))


@pytest.mark.parametrize("max_pending", [0, 1, 3])
def test_block_holds_the_producer_back(max_pending):
    """The producer is at most `max_pending` items ahead of the pace, and loses none.

    Catches: not waiting when nothing may wait inside; not waking at the next token.
    """
    source, sink = Subject(), Sink()
    source.pipe(ops.throttle(200, max_pending=max_pending)).subscribe(sink)
    begun = time.monotonic()
    for i in range(10):
        source.on_next(i)
        ahead = i - max_pending
        assert time.monotonic() - begun >= ahead / 200 - 0.001
    source.on_completed()
    assert sink.ended.wait(WAIT)
    assert sink.values == list(range(10))


def test_block_without_burst_and_without_room():
    """With ``burst=0, max_pending=0`` the wait outside counts as waiting: items come through.

    Catches: a cap that takes away the tokens that come while a producer waits.
    """
    source, seen = Subject(), []
    source.pipe(ops.throttle(500, burst=0, max_pending=0)).subscribe(seen.append)
    finish(start(push, source, *range(5)))
    assert seen == list(range(5))


def test_a_producer_is_let_in_when_an_item_leaves_not_when_it_was_delivered():
    """A subscriber that waits for the producer does not wait for ever.

    Catches: waking producers only after the delivery.
    """
    source, let_in, delivered = Subject(), threading.Event(), threading.Event()
    outcome = []

    def on_next(item):
        if item == 2:
            outcome.append(let_in.wait(WAIT))
            delivered.set()

    def produce():
        push(source, 1, 2, 3)
        let_in.set()

    subscription = source.pipe(ops.throttle(100, max_pending=1)).subscribe(on_next)
    finish(start(produce))
    assert delivered.wait(WAIT)
    subscription.dispose()
    assert outcome == [True]


# -- event loops ---------------------------------------------------------------


def test_a_strict_window_holds_after_a_stall():
    """Where the subscriber sees it, though it was busy for longer than the window.

    Catches: an item counts from when it was admitted, or let out when another was delivered.
    """
    rate, per, seen, ended = 20, 0.2, [], threading.Event()

    def see(item):
        seen.append(time.monotonic())
        if item == 30:
            time.sleep(1.6 * per)

    source = Subject()
    source.pipe(ops.throttle(rate, per=per, strict=True)).subscribe(see, on_completed=ended.set)
    for item in range(90):
        source.on_next(item)
    source.on_completed()
    assert ended.wait(WAIT)
    assert len(seen) == 90
    for first, last in zip(seen, seen[rate:], strict=False):
        assert last - first >= per - 1e-6
