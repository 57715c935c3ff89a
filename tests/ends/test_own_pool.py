"""What is called while a pool delivers or decides may use that pool, and wait for it.

It runs, or raises `WouldBlock`; nothing hangs, and the stream that called it goes on.
"""

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import reactivex as rx
from reactivex import Observer
from reactivex import operators as ro
from reactivex.scheduler import EventLoopScheduler, ImmediateScheduler, ThreadPoolScheduler
from reactivex.subject import Subject

from rxpool import Retry, WorkerPool, WouldBlock, iterate
from rxpool import operators as ops
from tests.waiting import WAIT

ITEMS = range(1, 5)


def same(n):
    """Give *n*."""
    return n


def minus(n):
    """Give the negative of *n*."""
    return -n


def failing(n):
    """Fail, always."""
    raise ValueError(n)


ACTIONS = {
    "submit": (lambda pool: pool.submit(minus, 5).result(WAIT), -5),
    "two calls": (lambda pool: sum(f.result(WAIT) for f in calls(pool)), -3),
    "imap": (lambda pool: sorted(pool.imap(minus, range(3))), [-2, -1, 0]),
    "run": (lambda pool: sorted(stream(pool).pipe(ro.to_list()).run()), [-3, -2, -1]),
    "an event": (lambda pool: waiting(pool), [-3, -2, -1]),
    "iterate": (lambda pool: sorted(iterate(stream(pool))), [-3, -2, -1]),
    "batches": (
        lambda pool: stream(pool).pipe(ops.batch(3, 60), pool.map(len), ro.to_list()).run(),
        [3],
    ),
}


def calls(pool):
    """Two calls at once."""
    return [pool.submit(minus, n) for n in (1, 2)]


def waiting(pool):
    """Wait in a way that a pool cannot see."""
    got, over = [], threading.Event()
    stream(pool).subscribe(got.append, on_completed=over.set)
    assert over.wait(WAIT)
    return sorted(got)


def stream(pool):
    """A small flow."""
    return rx.of(1, 2, 3).pipe(pool.map(minus))


class Where:
    """Subscribes so that `call` is called while the pool delivers or decides.

    Each method answers what the stream is to give in the end, in any order.
    """

    def __init__(self, pool, action):
        self.pool, self.action = pool, action
        self.said, self.values, self.ends = [], [], []
        self.over = threading.Event()

    def call(self, *given):
        """Use the pool, once."""
        if not self.said:
            self.said.append(None)
            try:
                self.said[0] = self.action(self.pool)
            except BaseException as error:
                self.said[0] = error
        return given[0] if given else None

    def end(self, error=None):
        """Note the end of the stream."""
        self.ends.append(error)
        self.over.set()

    def listen(self, *stages, on_next=None):
        """Subscribe to items that go through *stages*."""
        source = rx.from_iterable(ITEMS).pipe(*stages)
        source.subscribe(on_next or self.values.append, self.end, self.end)

    def a_fallback(self):
        """What stands in for a failure."""
        self.listen(self.pool.map(failing, fallback=lambda item, error: self.call(item)))
        return list(ITEMS)

    def a_fallback_behind_retries(self):
        """The same, from the thread of a timer."""
        retry = Retry(2, delay=0.001)
        fallback = lambda item, error: self.call(item)  # noqa: E731
        self.listen(self.pool.map(failing, retry=retry, fallback=fallback))
        return list(ITEMS)

    def dead_letters(self):
        """The observer of failures."""
        self.listen(self.pool.map(failing, on_failure=Observer(self.call)))
        return []

    def a_subscriber(self):
        """`on_next`."""
        self.listen(self.pool.map(same), on_next=lambda n: self.values.append(self.call(n)))
        return list(ITEMS)

    def a_subscriber_in_order(self):
        """`on_next` of a flow that goes through the books for each item."""
        flow = self.pool.map(same, order="input")
        self.listen(flow, on_next=lambda n: self.values.append(self.call(n)))
        return list(ITEMS)

    def a_step_below(self):
        """A function of an operator of RxPY."""
        self.listen(self.pool.map(same), ro.map(self.call))
        return list(ITEMS)

    def below_a_batch(self):
        """The same behind a stage of rxpool."""
        self.listen(self.pool.map(same), ops.batch(1, 60), ro.map(self.call), ro.flat_map(list))
        return list(ITEMS)

    def between_two_flows(self):
        """The same with a flow of the pool below."""
        self.listen(self.pool.map(same), ro.map(self.call), self.pool.map(same))
        return list(ITEMS)

    def on_completed(self):
        """The end."""
        self.listen(self.pool.map(same), ro.do_action(on_completed=self.call))
        return list(ITEMS)

    def on_error(self):
        """The end by an error."""
        self.listen(
            self.pool.map(failing), ro.do_action(on_error=self.call), ro.catch(rx.of(7))
        )
        return [7]

    def a_callback(self):
        """The callback of a future."""
        self.listen(self.pool.map(same))
        self.pool.submit(same, 1).add_done_callback(self.call)
        return list(ITEMS)

    def metrics(self):
        """A monitor."""
        self.pool.metrics.subscribe(self.call)
        self.listen(self.pool.map(same))
        return list(ITEMS)

    def a_key(self):
        """What sorts items of a second flow below the first."""
        self.listen(self.pool.map(same), self.pool.map(same, order="key", key=self.call))
        return list(ITEMS)

    def a_push(self):
        """A source that another flow's subscriber pushes into."""
        subject = Subject()
        subject.pipe(self.pool.map(same), ro.map(self.call)).subscribe(
            self.values.append, self.end, self.end
        )
        feed = Observer(subject.on_next, None, subject.on_completed)
        rx.from_iterable(ITEMS).pipe(self.pool.map(same)).subscribe(feed)
        return list(ITEMS)


BACKENDS = {
    "threads": lambda stack: "threads",
    "asyncio": lambda stack: "asyncio",
    "processes": lambda stack: "processes",
    "executor": lambda stack: stack(ThreadPoolExecutor(1)),
    "here": lambda stack: ImmediateScheduler(),
    "scheduler": lambda stack: ThreadPoolScheduler(1),
    "loop": lambda stack: EventLoopScheduler(),
}
RUNS = [
    (on, workers, action)
    for on in BACKENDS
    for workers in (1, 2)
    for action in ACTIONS
    # Two processes show the same as one, at a price.  Elsewhere the source of `stream` is
    # queued behind the caller by RxPY's trampoline, or runs on the loop that is blocked.
    if (on, workers) != ("processes", 2)
    and (action != "an event" or on in ("threads", "executor"))
]
PLACES = [name for name, value in vars(Where).items() if value.__doc__ and name[0] != "_"]
PLACES = [name for name in PLACES if name not in ("call", "end", "listen")]


@pytest.fixture
def opened(request):
    """A context manager's value, left when the test is over."""
    left = []

    def enter(manager):
        left.append(manager)
        return manager

    yield enter
    for manager in left:
        manager.shutdown()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(("on", "workers", "action"), RUNS, ids=str)
def test_using_the_pool(on, workers, place, action, opened):
    """It has its result or `WouldBlock`; all that was accepted comes out."""
    act, result = ACTIONS[action]
    where_it_runs = BACKENDS[on](opened)
    pool = WorkerPool(workers, on=where_it_runs)
    try:
        where = Where(pool, act)
        expected = getattr(where, place)()
        assert where.over.wait(WAIT), "the stream never ends"
        assert pool.close(timeout=WAIT)
        assert sorted(where.values) == expected
        assert where.ends == [None]
        said = where.said[0]
        if isinstance(said, WouldBlock):
            assert on == "asyncio", said  # there the caller may be the thread of all work
        else:
            assert said == result
    finally:
        pool.terminate()
        if isinstance(where_it_runs, EventLoopScheduler):
            where_it_runs.dispose()
        if isinstance(where_it_runs, ThreadPoolScheduler):
            where_it_runs.executor.shutdown()


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("on", ["threads", "asyncio", "processes"])
def test_closing_the_pool(on, place):
    """It does not wait for itself, and what was accepted comes out."""
    pool = WorkerPool(1, on=on)
    try:
        where = Where(pool, lambda pool: pool.close())
        getattr(where, place)()
        assert where.over.wait(WAIT), "the stream never ends"
        assert where.said[0] in (True, False)
    finally:
        assert pool.close(timeout=WAIT)


@pytest.mark.parametrize("on", ["threads", "scheduler", "executor"])
def test_a_bound_holds_beside_threads_that_wait(on, opened):
    """A thread that stepped aside runs no more tasks of its flow than its slot allows."""
    running, most = [], []

    def work(n):
        running.append(n)
        most.append(len(running))
        time.sleep(0.0005)
        running.remove(n)
        return n

    where_it_runs = BACKENDS[on](opened)
    got = []
    with WorkerPool(1, on=where_it_runs) as pool:

        def take(n):
            got.append(n)
            if n % 20 == 0:
                stream(pool).pipe(ro.to_list()).run()

        rx.range(200).pipe(pool.map(work)).subscribe(take)
    if on == "scheduler":
        where_it_runs.executor.shutdown()
    assert sorted(got) == list(range(200))
    assert max(most) == 1
