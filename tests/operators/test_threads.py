"""The operators among real threads.  Each docstring ends with the change that it catches."""

import asyncio
import sys
import threading
import time
from contextlib import contextmanager

import pytest
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.subject import Subject

from rxpool import TimerScheduler
from rxpool import operators as ops
from rxpool._core import stage
from rxpool.errors import WouldBlock
from rxpool.operators import _batch, _debounce, _throttle
from tests.waiting import WAIT

BOOM = RuntimeError("boom")


def start(function, *args):
    thread = threading.Thread(target=function, args=args, daemon=True)
    thread.start()
    return thread


def finish(*threads):
    for thread in threads:
        thread.join(WAIT)
        assert not thread.is_alive(), "a thread hangs"


def until_blocked(thread):
    """Wait until *thread* waits for a condition, an event or a lock of `threading`."""
    deadline = time.monotonic() + WAIT
    while time.monotonic() < deadline:
        frame = sys._current_frames().get(thread.ident)
        if frame is not None and frame.f_code.co_filename == threading.__file__:
            frame = frame.f_back
            if frame is not None and frame.f_code.co_name in ("wait", "_wait_for_room"):
                return
        time.sleep(0.001)
    raise AssertionError("the thread never waited")


class Sink:
    """A subscriber that notices when two threads are in it at once."""

    def __init__(self):
        self.values = []
        self.overlaps = 0
        self.late = 0
        self.ended = threading.Event()
        self._busy = threading.Lock()

    @contextmanager
    def alone(self):
        free = self._busy.acquire(blocking=False)
        self.overlaps += not free
        self.late += self.ended.is_set()
        time.sleep(0)  # let others in, if they can get in
        yield
        if free:
            self._busy.release()

    def on_next(self, value):
        with self.alone():
            # a batch must not grow any more: keep what it was
            self.values.append(list(value) if isinstance(value, list) else value)

    def on_error(self, error):
        self.on_next(error)
        self.ended.set()

    def on_completed(self):
        with self.alone():
            pass
        self.ended.set()


def storm(source, threads=4, each=400, in_step=False):
    """Push from several threads at once: pairs of a thread's number and a counter.

    With *in_step* they start together for every item, most often to an idle operator.
    """
    together = threading.Barrier(threads)

    def produce(number):
        together.wait(WAIT)
        for i in range(each):
            if in_step:
                together.wait(WAIT)
            source.on_next((number, i))

    finish(*[start(produce, number) for number in range(threads)])
    return [(number, i) for number in range(threads) for i in range(each)]


def flat(values):
    """The items of values that may be batches."""
    return [i for value in values for i in (value if isinstance(value, list) else [value])]


# -- one notification at a time ------------------------------------------------


def fifth(item):
    return item[1] % 5


def whole(item):
    return item


def nothing(item):
    return None


# the operator of a key, and a key
FLOWS = {
    "batch": (lambda _: ops.batch(7, 0.0005), nothing),
    "batch, keyed": (lambda key: ops.batch(7, 0.0005, key=key), fifth),
    "throttle, never limited": (lambda _: ops.throttle(1e9, burst=1e9), nothing),
    "throttle, limited": (lambda _: ops.throttle(20_000, burst=5, max_pending=8), nothing),
    "throttle, none pending": (lambda _: ops.throttle(20_000, max_pending=0), nothing),
    "throttle, keyed": (lambda key: ops.throttle(10_000, max_pending=8, key=key), fifth),
    "debounce, keyed apart": (lambda key: ops.debounce(0.0005, key=key), whole),
}


@pytest.mark.parametrize(("make", "key"), FLOWS.values(), ids=FLOWS)
def test_threads_and_timers_deliver_one_at_a_time(make, key, frantic):
    """Four producers and a timer: no two deliveries overlap, nothing is lost or doubled, and
    the items that a producer gave one key keep their order.

    Catches: no lock in the fast paths or in `put`; a deliverer that does not look at
    whether there is one already, or does not look again at what was left for it.
    """
    source, sink = Subject(), Sink()
    source.pipe(make(key)).subscribe(sink)
    pushed = storm(source)
    source.on_completed()
    assert sink.ended.wait(WAIT)
    items = flat(sink.values)
    assert (sink.overlaps, sink.late) == (0, 0)
    assert sorted(items) == pushed
    lanes = {}
    for item in items:
        lanes.setdefault((item[0], key(item)), []).append(item)
    assert [lane for lane in lanes.values() if lane != sorted(lane)] == []
    assert [value for value in sink.values if isinstance(value, list) and len(value) > 7] == []


class YieldingLock:
    """An RLock that lets other threads in wherever it is let go."""

    def __init__(self):
        self._lock = threading.RLock()
        self.acquire = self._lock.acquire
        self._is_owned = self._lock._is_owned
        self._release_save = self._lock._release_save
        self._acquire_restore = self._lock._acquire_restore

    def release(self):
        self._lock.release()
        time.sleep(0)

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()


def watched(state_type, intruders):
    """A state that notices when a thread enters it while another is inside."""

    def wrap(name):
        inner = getattr(state_type, name)

        def method(self, *args):
            before, self.inside = getattr(self, "inside", None), threading.get_ident()
            if before not in (None, self.inside):
                intruders.append(name)
            time.sleep(0)  # let others in, if they can get in
            try:
                return inner(self, *args)
            finally:
                self.inside = before

        return method

    names = {"absorb", "admit", "offer", "expire", "finish", "clear"} & set(dir(state_type))
    return type("Watched", (state_type,), {name: wrap(name) for name in names})


SHORT_CUTS = {
    "batch": (_batch, "BatchState", lambda: ops.batch(3, 0.001)),
    "throttle": (_throttle, "ThrottleState", lambda: ops.throttle(1e9, burst=1e9)),
    "debounce": (_debounce, "DebounceState", lambda: ops.debounce(0.001)),
}


@pytest.mark.parametrize(("module", "name", "make"), SHORT_CUTS.values(), ids=SHORT_CUTS)
def test_one_thread_at_a_time_is_in_the_state(module, name, make, monkeypatch):
    """Producers, timer and a thread that disposes never meet in the state.

    Catches: no lock in `fast_take`, `fast_pass`, `put`, `act`, `_next`, `_ring` or `dispose`.
    """
    intruders = []
    monkeypatch.setattr(module, name, watched(getattr(module, name), intruders))
    for leave in (False, True):
        source, sink = Subject(), Sink()
        subscription = source.pipe(make()).subscribe(sink)
        leaver = start(subscription.dispose) if leave else None
        storm(source, each=100)
        if leaver is not None:
            finish(leaver)
        else:
            source.on_completed()
            assert sink.ended.wait(WAIT)
    assert intruders == []
    assert sink.overlaps == 0


@pytest.mark.parametrize(("make", "key"), FLOWS.values(), ids=FLOWS)
def test_wherever_the_lock_is_let_go(make, key, monkeypatch):
    """As the first test, with threads that take turns whenever the lock is let go.

    Catches: becoming the deliverer, or ceasing to be, without the lock.
    """
    monkeypatch.setattr(stage, "RLock", YieldingLock)
    source, sink = Subject(), Sink()
    source.pipe(make(key)).subscribe(sink)
    pushed = storm(source, each=100, in_step=True)
    source.on_completed()
    assert sink.ended.wait(WAIT)
    assert (sink.overlaps, sink.late) == (0, 0)
    assert sorted(flat(sink.values)) == pushed


@pytest.mark.parametrize("leading", [False, True])
def test_debounce_among_threads(leading, frantic):
    """Every item came out once or is counted as superseded, and the last one came out.

    Catches: no lock in the fast path; `pending` not cleared when it is emitted.
    """
    source, sink, events = Subject(), Sink(), []
    source.pipe(ops.debounce(0.0002, leading=leading, monitor=events.append)).subscribe(sink)
    storm(source)
    source.on_next((9, 9))
    source.on_completed()
    assert sink.ended.wait(WAIT)
    assert (sink.overlaps, sink.late) == (0, 0)

    def total(name):
        return sum(event.value for event in events if event.name == name)

    assert len(set(sink.values)) == len(sink.values) == total("rxpool.debounce.emissions")
    assert len(sink.values) == 4 * 400 + 1 - total("rxpool.dropped")
    assert sink.values[-1] == (9, 9)


@pytest.mark.parametrize(("make", "key"), FLOWS.values(), ids=FLOWS)
def test_the_end_among_threads(make, key, frantic):
    """A completion in the middle of a storm comes last and comes once.

    Catches: an end that does not wait for the deliverer, or that is not delivered by it.
    """
    source, sink = Subject(), Sink()
    enough = threading.Event()

    def on_next(value):
        sink.on_next(value)
        if len(sink.values) == 20:
            enough.set()

    def end():
        assert enough.wait(WAIT)
        source.on_completed()

    source.pipe(make(key)).subscribe(on_next, sink.on_error, sink.on_completed)
    ender = start(end)
    storm(source)
    finish(ender)
    assert sink.ended.wait(WAIT)
    assert (sink.overlaps, sink.late) == (0, 0)
    items = flat(sink.values)
    assert len(set(items)) == len(items)


TIMED = {
    "batch": lambda: ops.batch(1000, 0.0001),
    "throttle": lambda: ops.throttle(10_000, burst=0),
    "debounce": lambda: ops.debounce(0.0001),
}


@pytest.mark.parametrize("make", TIMED.values(), ids=TIMED)
def test_no_alarm_is_lost(make, frantic):
    """Item after item comes out by the timer, however timer and producer meet.

    Catches: a deliverer that goes without setting the timer for what was left behind.
    """
    source, arrived = Subject(), threading.Semaphore(0)
    seen = []

    def on_next(value):
        seen.append(value)
        arrived.release()

    subscription = source.pipe(make()).subscribe(on_next)
    for i in range(300):
        source.on_next(i)
        assert arrived.acquire(timeout=WAIT), f"item {i} stays inside"
    assert flat(seen) == list(range(300))
    subscription.dispose()


def test_one_timer_among_threads(monkeypatch):
    """Threads that all bring the next time nearer leave one timer set, and none behind.

    Catches: replacing the timer without the lock, or not disposing the one replaced.
    """

    class Yielding(SingleAssignmentDisposable):
        def __init__(self):
            super().__init__()
            time.sleep(0)  # let others in, if they can get in

    monkeypatch.setattr(stage, "RLock", YieldingLock)
    monkeypatch.setattr(stage, "SingleAssignmentDisposable", Yielding)
    before = TimerScheduler.singleton().pending
    for _ in range(20):
        source = Subject()
        operator = ops.throttle(1, per=60, burst=0, key=whole, cost=lambda item: 99 - item[1])
        subscription = source.pipe(operator).subscribe()
        storm(source, each=10, in_step=True)
        assert TimerScheduler.singleton().pending == before + 1
        subscription.dispose()
        assert TimerScheduler.singleton().pending == before


# -- slow subscribers ----------------------------------------------------------


class Slow:
    """A subscriber that takes each value when it is told to."""

    def __init__(self):
        self.values = []
        self.entered = threading.Semaphore(0)
        self.go = threading.Semaphore(0)

    def on_next(self, value):
        self.entered.release()
        assert self.go.acquire(timeout=WAIT)
        self.values.append(value)

    def is_busy(self):
        assert self.entered.acquire(timeout=WAIT)


def push(source, *items):
    for item in items:
        source.on_next(item)


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


# -- exceptions of subscribers -------------------------------------------------


@pytest.mark.parametrize("make", TIMED.values(), ids=TIMED)
def test_an_exception_from_a_timer(make, caplog, monkeypatch):
    """It goes to the logger and to `threading.excepthook`; the subscriber gets no more.

    Catches: an exception that ends nowhere, or that ends the timer's thread.
    """
    hooked = []
    happened = threading.Event()

    def hook(args):
        hooked.append(args.exc_value)
        happened.set()

    def broken(value):
        seen.append(value)
        raise BOOM

    monkeypatch.setattr(threading, "excepthook", hook)
    source, seen = Subject(), []
    source.pipe(make()).subscribe(broken)
    source.on_next(1)
    assert happened.wait(WAIT)
    assert source.observers == []
    source.on_next(2)
    source.on_completed()
    assert flat(seen) == [1]
    assert hooked == [BOOM]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("rxpool", "ERROR")
    assert record.exc_info[1] is BOOM
    rung = threading.Event()
    TimerScheduler.singleton().schedule_relative(0.0, lambda *_: rung.set())
    assert rung.wait(WAIT)


def test_an_exception_goes_to_the_caller_and_frees_who_waits():
    """The thread that delivers gets the exception; others that wait are let go.

    Catches: not waking who waits when the subscriber raises.
    """
    source, entered, go = Subject(), threading.Event(), threading.Event()
    caught, seen = [], []

    def broken(batch):
        seen.append(batch)
        entered.set()
        assert go.wait(WAIT)
        raise BOOM

    def first():
        try:
            source.on_next(1)
        except RuntimeError as error:
            caught.append(error)

    source.pipe(ops.batch(1)).subscribe(broken, seen.append)
    deliverer = start(first)
    assert entered.wait(WAIT)
    finish(start(push, source, 2))
    producer = start(push, source, 3)
    until_blocked(producer)
    go.set()
    finish(deliverer, producer)
    assert (caught, seen) == ([BOOM], [[1]])
    assert source.observers == []


# -- locks of the application --------------------------------------------------


LOCKED = {
    "batch": lambda: ops.batch(100, 0.001),
    "throttle": lambda: ops.throttle(1000, burst=0),
    "debounce": lambda: ops.debounce(0.001),
}


@pytest.mark.parametrize("make", LOCKED.values(), ids=LOCKED)
def test_a_lock_that_producer_and_subscriber_share(make):
    """The timer's thread is in the subscriber, which wants the lock that the producer holds
    while it pushes: neither waits for the other.

    Catches: delivering with the operator's own lock held.
    """
    application = threading.Lock()
    source, inside, seen = Subject(), threading.Event(), []

    def on_next(value):
        inside.set()
        assert application.acquire(timeout=WAIT)
        seen.append(value)
        application.release()

    def produce():
        with application:
            source.on_next(1)
            assert inside.wait(WAIT)
            push(source, 2, 3)

    subscription = source.pipe(make()).subscribe(on_next)
    finish(start(produce))
    source.on_completed()
    deadline = time.monotonic() + WAIT
    while flat(seen)[-1:] != [3] and time.monotonic() < deadline:
        time.sleep(0.001)
    assert flat(seen)[0] == 1
    assert flat(seen)[-1] == 3
    subscription.dispose()


@pytest.mark.parametrize("make", LOCKED.values(), ids=LOCKED)
def test_a_busy_subscriber_can_be_left(make):
    """Dispose returns at once also while the subscriber is being given a value.

    Catches: disposing under a lock that is held while delivering.
    """
    source, slow = Subject(), Slow()
    subscription = source.pipe(make()).subscribe(slow.on_next)
    source.on_next(1)
    slow.is_busy()
    source.on_next(2)
    finish(start(subscription.dispose))
    slow.go.release()


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
