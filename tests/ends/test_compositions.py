"""Graceful and hard ends of compositions in which what feeds what is not plain to see."""

import threading
import time
from concurrent.futures import Future

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.disposable import Disposable
from reactivex.scheduler import EventLoopScheduler, NewThreadScheduler
from reactivex.subject import Subject

from rxpool import BatchProcessor, PoolClosed, Retry, WorkerPool, iterate
from rxpool import operators as ops
from tests.ends import work
from tests.ends.opened import Sink, push
from tests.waiting import WAIT, eventually

bridge = Subject()


class App:
    """Two flows, of which the subscriber of the first pushes into the source of the second.

    As both subscribers are methods of one object, each flow seems to lead to the other.
    """

    def __init__(self, pool, below_first, ballast=0):
        self.ballast = {number: [number] for number in range(ballast)}
        self.first, self.second, self.sink = Subject(), Subject(), Sink(range(24))
        subscribe = [
            lambda: self.first.pipe(pool.map(work.slow)).subscribe(self.on_first),
            lambda: self.second.pipe(pool.map(work.slow)).subscribe(
                self.on_second, self.sink.on_error, self.sink.on_completed
            ),
        ]
        for call in reversed(subscribe) if below_first else subscribe:
            call()
        push(self.first)

    def on_first(self, value):
        """Hand it on."""
        self.second.on_next(value)

    def on_second(self, value):
        """Keep it."""
        self.sink.on_next(value)


@pytest.mark.parametrize("below_first", [False, True])
@pytest.mark.parametrize("ballast", [0, 100_000], ids=["small", "large"])
def test_flows_that_seem_to_feed_one_another(below_first, ballast):
    """They are cut once both are at rest."""
    with WorkerPool(2) as pool:
        app = App(pool, below_first, ballast)
    app.sink.check(graceful=True)


def test_flows_that_do_feed_one_another():
    """One that never comes to rest by itself is cut all the same."""
    got = []
    with WorkerPool(2) as pool:
        there, back = Subject(), Subject()
        there.pipe(pool.map(work.slow)).subscribe(lambda value: back.on_next(value))
        back.pipe(pool.map(work.slow)).subscribe(
            lambda value: (got.append(value), there.on_next(value))
        )
        there.on_next(1)
        eventually(lambda: len(got) > 3)
    assert set(got) == {1}


def nested(value):
    """Push, from a function inside this one."""
    (lambda: bridge.on_next(value))()


class Roundabout:
    """Pushes by way of another method."""

    def on_next(self, value):
        """Take a value."""
        self.forward(value)

    def forward(self, value):
        """Hand it on."""
        bridge.on_next(value)


@pytest.mark.parametrize("on_next", [nested, Roundabout().on_next], ids=["nested", "method"])
def test_a_bridge_that_is_hard_to_see(on_next):
    """It is named further inside."""
    source, sink = Subject(), Sink(range(24))
    with WorkerPool(2) as pool:
        bridge.pipe(pool.map(work.same)).subscribe(sink)
        source.pipe(pool.map(work.slow)).subscribe(on_next)
        push(source)
    sink.check(graceful=True)


def test_other_pools_are_left_alone():
    """A branch of a shared stream ends with its pool, the other goes on."""
    source, ending, staying = Subject(), Sink([1]), Sink([1, 2])
    pool, first, other = WorkerPool(1), WorkerPool(1), WorkerPool(1)
    shared = source.pipe(pool.map(work.same), ro.share())
    shared.pipe(first.map(work.same)).subscribe(ending)
    shared.pipe(other.map(work.same)).subscribe(staying)
    source.on_next(1)
    eventually(lambda: staying.values and ending.values)
    assert first.close()
    assert not staying.ends
    source.on_next(2)
    assert pool.close()
    assert other.close()
    ending.check(graceful=True)
    staying.check(graceful=True)


@pytest.mark.parametrize(
    "between",
    [ops.throttle(200), ops.batch(1000, 60), ops.batch(3, 60), ops.debounce(60)],
    ids=["throttle", "batch", "batches", "debounce"],
)
def test_flows_that_results_open(between):
    """What was accepted needs them, so a closing pool takes them."""
    source, values, ends = Subject(), [], []
    with WorkerPool(2) as pool:
        source.pipe(
            pool.map(work.slow, order="input"),
            between,
            ro.flat_map(lambda value: rx.of(value).pipe(pool.map(work.same))),
        ).subscribe(values.append, ends.append, lambda: ends.append(None))
        push(source)
    assert ends == [None]
    flat = [each for value in values for each in (value if type(value) is list else [value])]
    assert sorted(flat) == ([23] if len(values) == 1 and values == [23] else list(range(24)))


@pytest.mark.parametrize("how", ["close", "terminate"])
@pytest.mark.parametrize("more", [(), (ro.map(abs),)], ids=["retry", "and more"])
def test_a_retry_that_waits(how, more):
    """Another attempt would find the pool closed: the stream ends with the last error."""
    source, ends = Subject(), []
    pool = WorkerPool(2)
    failing = pool.map(lambda value: 1 // value)
    for tail in ((), (pool.map(abs),)):
        source.pipe(failing, ops.retry(Retry(5, delay=600)), *more, *tail).subscribe(
            None, ends.append, lambda: ends.append(None)
        )
    source.on_next(0)
    eventually(lambda: pool.report().failed == 2)
    getattr(pool, how)()
    eventually(lambda: len(ends) == 2)
    assert all(isinstance(error, ZeroDivisionError | PoolClosed) for error in ends)


@pytest.mark.parametrize("how", ["close", "terminate"])
def test_a_source_that_cannot_be_left(how):
    """What its subscription raises is on `faults`; all streams have their end."""

    def refuse():
        raise KeyError("refused")

    pool, faults, ends = WorkerPool(2), [], []
    pool.faults.subscribe(faults.append)
    for source in (rx.create(lambda observer, scheduler: Disposable(refuse)), rx.never()):
        source.pipe(pool.map(work.same)).subscribe(
            None, lambda error: ends.append(type(error)), lambda: ends.append(None)
        )
    getattr(pool, how)()
    assert ends == ([None, None] if how == "close" else [PoolClosed, PoolClosed])
    assert [type(error) for error in faults] == [KeyError]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_a_subscriber_that_raised_behind_observe_on():
    """Nothing is on its way there any more, and the pool does not wait for it."""
    source, below, sink = Subject(), Subject(), Sink(range(3))
    with WorkerPool(1) as pool:
        below.pipe(pool.map(work.same)).subscribe(sink)

        def hand_on(value):
            if value == 3:
                raise KeyError(value)
            below.on_next(value)

        source.pipe(
            pool.map(work.same, order="input"),
            ro.observe_on(EventLoopScheduler(exit_if_empty=True)),
        ).subscribe(hand_on)
        push(source, range(10))
        eventually(lambda: len(sink.values) == 3)
    sink.check(graceful=True)


def test_an_iterator_that_nobody_reads_on():
    """The block ends; what was accepted can be fetched afterwards."""
    with WorkerPool(2) as pool:
        source = rx.from_iterable(range(100)).pipe(ro.subscribe_on(NewThreadScheduler()))
        items = iterate(source.pipe(pool.map(work.same)), max_pending=3)
        first = [next(items) for _ in range(3)]
    rest = list(items)
    assert len({*first, *rest}) == len(first) + len(rest) >= 3


def test_a_loop_without_a_pool():
    """`pull` looks for what it feeds, and comes to an end of that."""
    source, got = Subject(), []
    source.pipe(ops.batch(2)).subscribe(
        lambda batch: (got.append(batch), len(batch) > 9 and source.on_next(1))
    )
    with WorkerPool(1) as pool:
        pool.pull([1, 2, 3]).subscribe(source)
    assert got == [[1, 2], [3]]


def test_threads_that_wait_for_room_in_a_face():
    """All of them are let go when it closes."""
    face = BatchProcessor(work.each, max_size=2, max_delay=60, max_pending=2)
    answers = []

    def add(number):
        try:
            answers.append(face.add(number))
        except PoolClosed as error:
            answers.append(error)

    threads = [threading.Thread(target=add, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    face.close()
    for thread in threads:
        thread.join(WAIT)
    assert len(answers) == 20


def test_nobody_says_too_early_that_it_is_over():
    """Of several who close the pool at once."""
    for _ in range(50):
        source, pool, states = Subject(), WorkerPool(2), []
        source.pipe(pool.map(work.same)).subscribe()
        push(source)

        def close(pool=pool, states=states):
            states.append((pool.close(), repr(pool)))

        threads = [threading.Thread(target=close) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT)
        assert [answer for answer, _ in states] == [True] * 4
        assert not [thread for thread in threading.enumerate() if pool.name in thread.name]


def _in_threads(n):
    future = Future()
    timer = threading.Timer(0.05, future.set_result, (n,))
    timer.start()
    return rx.from_future(future)


HOLDING = {
    "flat_map of futures": ro.flat_map(_in_threads),
    "delay_with_mapper": ro.delay_with_mapper(lambda n: rx.timer(0.05)),
    "buffer_with_time": lambda source: source.pipe(
        ro.buffer_with_time(0.1), ro.flat_map(rx.from_iterable)
    ),
    "concat of futures": lambda source: source.pipe(
        ro.map(_in_threads), ro.merge(max_concurrent=8)
    ),
}


@pytest.mark.parametrize("held", HOLDING.values(), ids=HOLDING)
def test_what_an_operator_between_two_flows_holds(held):
    """The lower flow gets it before it is cut, and its end with it."""
    subject, sink = Subject(), Sink(range(24))
    with WorkerPool(2) as pool:
        subject.pipe(pool.map(work.same), held, pool.map(work.same)).subscribe(
            sink.on_next, sink.on_error, sink.on_completed
        )
        push(subject)
    sink.check(True)


def test_a_lower_flow_that_nobody_tells_the_end():
    """What it is merged with never ends: it is not waited for long."""
    subject, sink = Subject(), Sink(range(24))
    began = time.monotonic()
    with WorkerPool(2) as pool:
        subject.pipe(pool.map(work.same), ro.merge(Subject()), pool.map(work.same)).subscribe(
            sink.on_next, sink.on_error, sink.on_completed
        )
        push(subject)
    assert time.monotonic() - began < WAIT
    sink.check(True)
