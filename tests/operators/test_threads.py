"""The operators among threads: one notification at a time, and no alarm is lost.

Each docstring ends with the change that it catches.
"""

import threading
import time

import pytest
from reactivex.disposable import SingleAssignmentDisposable
from reactivex.subject import Subject

from rxpool import TimerScheduler
from rxpool import operators as ops
from rxpool._core import stage
from rxpool.operators import _batch, _debounce, _throttle
from tests.operators.crew import TIMED, Sink, finish, flat, start
from tests.waiting import WAIT


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
