"""What can be open when a pool ends: each is built, filled, and asked how it came out."""

import threading
from collections import Counter

import reactivex as rx
from reactivex import Observer
from reactivex import operators as ro
from reactivex.scheduler import EventLoopScheduler
from reactivex.subject import Subject

from rxpool import (
    BatchProcessor,
    DebounceManager,
    Failure,
    RxPoolError,
    Success,
    ThrottleManager,
    iterate,
)
from rxpool import operators as ops
from tests.ends import work
from tests.waiting import WAIT, eventually

ITEMS = 24


class Sink:
    """A subscriber that keeps what it is given, and finds breaches of the grammar."""

    def __init__(self, expected=()):
        self.expected = Counter(expected)
        self.values, self.ends, self.breaches = [], [], []

    def on_next(self, value):
        """Take an item, a list of items or an outcome."""
        if self.ends:
            self.breaches.append(value)
        self.values += flat(value)

    def on_error(self, error):
        """Take the end."""
        self.ends.append(error)

    def on_completed(self):
        """Take the end."""
        self.ends.append(None)

    def check(self, graceful):
        """Whether that was the law: told one end, and the truth."""
        assert not self.breaches
        assert len(self.ends) == 1, f"{len(self.ends)} ends"
        (error,) = self.ends
        got = Counter(self.values)
        assert not got - self.expected, "too many"
        if error is None:
            assert got == self.expected, f"lost {self.expected - got}, and completed"
        else:
            assert not graceful, repr(error)
            assert isinstance(error, RxPoolError)


def flat(value):
    """The items that a value stands for."""
    if isinstance(value, Success | Failure):
        return flat(value.item)
    return [each for part in value for each in flat(part)] if type(value) is list else [value]


class Calls:
    """Futures; each has its value, or an error that is told."""

    def __init__(self):
        self.futures = []

    def check(self, graceful):
        """Whether all are done."""
        for value, future in self.futures:
            assert future.done(), f"{value}: {future}"
            if graceful:
                assert future.result(0) == value
            elif not future.cancelled():
                error = future.exception(0)
                assert error is None or isinstance(error, RxPoolError)


class Iteration:
    """An iterator, of which a thread takes the rest."""

    def __init__(self, items, expected):
        self.values, self.error, self.expected = [], None, Counter(expected)
        self._thread = threading.Thread(target=self._read, args=(items,), daemon=True)
        self._thread.start()

    def _read(self, items):
        try:
            for item in items:
                self.values.append(item)
        except Exception as error:
            self.error = error

    def check(self, graceful):
        """Whether it ended, and did not stop early in silence."""
        self._thread.join(WAIT)
        assert not self._thread.is_alive()
        if self.error is None:
            assert Counter(self.values) == self.expected
        else:
            assert isinstance(self.error, RxPoolError), repr(self.error)


def push(subject, items=range(ITEMS)):
    """Push items into a subject, on this thread."""
    for item in items:
        subject.on_next(item)


def _sinks(pool, fn, build, *, times=1, maps=2):
    """A source, and as many sinks below the graph that *build* makes of it."""
    subject, sinks = Subject(), []
    for stream in build(subject, pool, fn):
        sink = Sink(list(range(ITEMS)) * times)
        sinks.append(sink)
        stream.subscribe(sink)
    push(subject)
    return sinks


def one(*between, **options):
    """A graph with one end: what is between the source and the sink, made of the pool."""

    def opened(pool, fn):
        return _sinks(pool, fn, lambda s, p, f: [s.pipe(*(make(p, f) for make in between))])

    return opened


def branches(share):
    """A flow whose results two others take."""

    def build(subject, pool, fn):
        shared = share(subject.pipe(pool.map(fn)))
        return [shared.pipe(pool.map(work.same)) for _ in range(2)]

    return lambda pool, fn: _sinks(pool, fn, build)


def bridged(top_first, completes):
    """A flow that pushes into a Subject, which another flow is subscribed to."""

    def opened(pool, fn):
        source, bridge = Subject(), Subject()
        sink = Sink(range(ITEMS))
        end = bridge.on_completed if completes else None

        def top():
            source.pipe(pool.map(fn)).subscribe(bridge.on_next, bridge.on_error, end)

        if top_first:
            top()
        bridge.pipe(pool.map(work.same)).subscribe(sink)
        if not top_first:
            top()
        push(source)
        return [sink]

    return opened


def idle(pool, fn):
    """Two flows of sources that say nothing."""
    sinks = [Sink(), Sink()]
    for sink in sinks:
        Subject().pipe(pool.map(fn)).subscribe(sink)
    return sinks


def published(pool, fn):
    """A selector that uses what it is given twice."""

    def both(shared):
        return rx.merge(shared.pipe(pool.map(work.same)), shared.pipe(pool.map(work.same)))

    return _sinks(
        pool, fn, lambda s, p, f: [s.pipe(p.map(f), ro.publish(mapper=both))], times=2
    )


def merged(pool, fn):
    """Two flows into one, beside a source that never ends."""
    return _sinks(
        pool,
        fn,
        lambda s, p, f: [
            rx.merge(s.pipe(p.map(f)), s.pipe(p.map(work.same)), rx.never()).pipe(
                p.map(work.same)
            )
        ],
        times=2,
    )


def dead_letters(pool, fn):
    """Failures go to an observer."""
    return one(lambda p, f: p.map(f, on_failure=Observer(lambda _: None)))(pool, fn)


def pulled(pool, fn):
    """A finite input that is read on a thread of its own."""
    sink = Sink(range(400))
    stream = pool.pull(range(400)).pipe(pool.map(fn))
    threading.Thread(target=stream.subscribe, args=(sink,), daemon=True).start()
    eventually(lambda: sink.values or sink.ends)
    return [sink]


def futures(pool, fn):
    """Single calls."""
    calls = Calls()
    calls.futures = [(n, pool.submit(fn, n)) for n in range(ITEMS)]
    return [calls]


def worker(pool, fn):
    """A handle of one function."""
    calls, handle = Calls(), pool.worker(fn)
    calls.futures = [(n, handle.execute(n)) for n in range(ITEMS)]
    calls.futures.append(([1, 2, 3], handle.execute_batch([1, 2, 3])))
    return [calls]


def faces(pool, fn):
    """Faces with calls that wait, on this pool."""
    calls = Calls()
    batches = BatchProcessor(work.each, max_size=100, max_delay=60, pool=pool)
    throttle = ThrottleManager(rate=50, pool=pool)
    debounce = DebounceManager(60, pool=pool)
    calls.futures = [(n, batches.add(n)) for n in range(3)]
    calls.futures += [(n, throttle.execute(work.same, n)) for n in range(5)]
    calls.futures.append((7, debounce.execute(work.same, 7)))
    calls.faces = batches, throttle, debounce  # or nobody would keep them
    return [calls]


def iterator(pool, fn):
    """An `imap` that somebody reads."""
    return [Iteration(pool.imap(fn, range(2000)), range(2000))]


def iterated(pool, fn):
    """A stream that somebody iterates over."""
    subject = Subject()
    reading = Iteration(iterate(subject.pipe(pool.map(fn))), range(ITEMS))
    eventually(lambda: subject.observers)
    push(subject)
    return [reading]


OPEN = {
    "idle": idle,
    "map": one(lambda p, f: p.map(f)),
    "input order": one(lambda p, f: p.map(f, order="input")),
    "key order": one(lambda p, f: p.map(f, order="key", key=lambda n: n % 5)),
    "outcomes": one(lambda p, f: p.outcomes(f)),
    "skip": one(lambda p, f: p.map(f, on_failure="skip")),
    "dead letters": dead_letters,
    "retry": one(lambda p, f: p.map(f, retry=3, timeout=30)),
    "chain": one(lambda p, f: p.map(f), lambda p, f: p.map(work.same)),
    "chain to outcomes": one(lambda p, f: p.map(f), lambda p, f: p.outcomes(work.same)),
    "batch above": one(lambda p, f: ops.batch(1000, 60), lambda p, f: p.map(work.each)),
    "batch above outcomes": one(
        lambda p, f: ops.batch(1000, 60), lambda p, f: p.outcomes(work.each)
    ),
    "map_batches": one(lambda p, f: ops.batch(5), lambda p, f: p.map_batches(work.each)),
    "throttle above": one(lambda p, f: ops.throttle(rate=100), lambda p, f: p.map(f)),
    "batch below": one(lambda p, f: p.map(f), lambda p, f: ops.batch(1000, 60)),
    "throttle below": one(lambda p, f: p.map(f), lambda p, f: ops.throttle(rate=100)),
    "between": one(
        lambda p, f: p.map(f),
        lambda p, f: ops.batch(7, 60),
        lambda p, f: ops.throttle(rate=50),
        lambda p, f: p.map(work.each),
    ),
    "observe_on": one(
        lambda p, f: p.map(f),
        lambda p, f: ro.observe_on(EventLoopScheduler(exit_if_empty=True)),
        lambda p, f: p.map(work.same),
    ),
    "delay": one(
        lambda p, f: p.map(f), lambda p, f: ro.delay(0.1), lambda p, f: p.map(work.same)
    ),
    "share": branches(lambda stream: stream.pipe(ro.share())),
    "share later": branches(
        lambda stream: stream.pipe(
            ro.share(), ro.observe_on(EventLoopScheduler(exit_if_empty=True))
        )
    ),
    "replay": branches(lambda stream: stream.pipe(ro.replay(), ro.ref_count())),
    "publish": published,
    "merge": merged,
    "bridge": bridged(True, True),
    "bridge below": bridged(False, True),
    "push": bridged(True, False),
    "push below": bridged(False, False),
    "pull": pulled,
    "futures": futures,
    "worker": worker,
    "faces": faces,
    "imap": iterator,
    "iterate": iterated,
}
