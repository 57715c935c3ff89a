"""Workers that go on without the lock, on threads that take turns every microsecond.

Input order, keys, priorities, limits and breakers: each test names the change of the code that
it was seen to catch.
"""

import random
import threading
import time
from collections import Counter, defaultdict

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import CircuitBreaker, Limit, Retry, WorkerPool
from rxpool.policies._breaker import breaker_door
from rxpool.policies._limit import limit_door
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.queues import SortedQueue
from rxpool.pool._state.results import InputOrder
from tests.pool import crew
from tests.pool.crew import Oops, Sink, collect
from tests.waiting import WAIT, eventually

ITEMS = 150
SEEDS = range(6)


class Work:
    """Notes who runs; some items fail at the first attempt, some last a little."""

    def __init__(self, seed, fails=True, key=lambda item: item):
        self.chance = random.Random(seed)
        self.failing = {n for n in range(ITEMS) if fails and self.chance.random() < 0.1}
        self.lasting = {n for n in range(ITEMS) if self.chance.random() < 0.03}
        self.lock = threading.Lock()
        self.key = key
        self.inside = Counter()
        self.most = Counter()  # at once, by key
        self.started = []
        self.made = Counter()

    def __call__(self, item):
        """One attempt."""
        key = self.key(item)
        with self.lock:
            self.started.append(item)
            self.made[item] += 1
            self.inside[key] += 1
            self.most[key] = max(self.most[key], self.inside[key])
            fails = item in self.failing and self.made[item] == 1
        if item in self.lasting:
            time.sleep(0.001)
        with self.lock:
            self.inside[key] -= 1
        if fails:
            raise Oops(item)
        return item


def balanced(pool):
    """The books, when the flows have ended."""
    eventually(lambda: not pool.report().flows)
    crew.balanced(pool)


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("workers", [4, 8])
def test_results_come_in_the_order_of_the_input(frantic, seed, workers):
    """Whole, with attempts that are repeated and a subscriber that is slow now and then.

    Catches a line that is changed without its guard, and a result that is left at a token
    which is taken.
    """
    work = Work(seed)

    def slowly(item):
        if item % 41 == 0:
            time.sleep(0.001)

    with WorkerPool(workers) as pool:
        through = pool.map(work, order="input", retry=Retry(3, delay=0, on=Oops))
        assert Sink(slowly).to(pool.pull(range(ITEMS)).pipe(through)).wait() == [*range(ITEMS)]
        balanced(pool)


@pytest.mark.parametrize("seed", SEEDS)
def test_imap_yields_in_the_order_of_the_input(frantic, seed):
    """Catches a consumer that waits though a worker has seen nobody wait."""
    with WorkerPool(4) as pool:
        work = Work(seed)
        retry = Retry(3, delay=0, on=Oops)
        assert list(pool.imap(work, range(ITEMS), order="input", retry=retry)) == [
            *range(ITEMS)
        ]
        balanced(pool)


@pytest.mark.parametrize("most", [1, 2, 5])
@pytest.mark.parametrize("seed", range(4))
def test_a_bound_on_what_is_started_and_not_emitted_holds(frantic, most, seed):
    """However many workers there are.

    Catches a task that is taken without a second look at the bound.
    """
    work, most_seen, emitted = Work(seed, fails=False), [0], []

    def counted(item):
        value = work(item)
        # The one that is being emitted has left its place already.
        most_seen[0] = max(most_seen[0], len(work.started) - len(emitted) - 1)
        return value

    with WorkerPool(6) as pool:
        through = pool.map(counted, order="input", max_reorder=most)
        values = Sink(emitted.append).to(pool.pull(range(ITEMS)).pipe(through)).wait()
        assert values == [*range(ITEMS)]
        balanced(pool)
    assert most_seen[0] <= most


def test_others_work_while_the_subscriber_has_a_result():
    """It may even wait for them: there is room as soon as it has it.

    Catches room that is only looked for when all that was ready is delivered.
    """
    started = defaultdict(threading.Event)

    def work(item):
        started[item].set()
        return item

    def wait_for_the_next(item):
        if item < 20:
            assert started[item + 1].wait(WAIT)

    with WorkerPool(2) as pool:
        through = pool.map(work, order="input", max_reorder=1)
        sink = Sink(wait_for_the_next).to(pool.pull(range(ITEMS)).pipe(through))
        assert sink.wait() == [*range(ITEMS)]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("options", [{"order": "input"}, {"order": "key"}, {"priority": abs}])
def test_left_in_the_midst(frantic, seed, options):
    """What comes out before is in order; no slot is lost.

    Catches a task that is forgotten when a flow ends while it is being taken.
    """
    if options.get("order") == "key":
        options = {**options, "key": lambda item: item % 5}
    work, after = Work(seed), random.Random(seed).randrange(1, 100)
    with WorkerPool(4) as pool:
        seen, reached = [], threading.Event()

        def note(value):
            seen.append(value)
            if len(seen) == after:
                reached.set()

        through = pool.map(work, retry=Retry(3, delay=0, on=Oops), **options)
        subscription = pool.pull(range(ITEMS)).pipe(through).subscribe(note, print)
        assert reached.wait(WAIT)
        subscription.dispose()
        eventually(lambda: not pool.report().flows)
        eventually(lambda: pool._engine.slots.free == 4)
        if "order" in options and options["order"] == "input":
            assert seen == [*range(len(seen))]


@pytest.mark.parametrize("seed", SEEDS)
def test_a_pool_that_closes_while_it_works_finishes_in_order(frantic, seed):
    """What was accepted comes out."""
    pool, source, sink = WorkerPool(4), Subject(), Sink()
    sink.to(source.pipe(pool.map(Work(seed, fails=False), order="input")))
    pushed = []

    def push():
        for item in range(ITEMS):
            pushed.append(item)
            source.on_next(item)

    thread = threading.Thread(target=push)
    thread.start()
    eventually(lambda: len(pushed) > seed * 20)
    pool.close()
    thread.join(WAIT)
    values = sink.wait()
    assert values == [*range(len(values))]
    assert len(values) >= seed * 20


@pytest.mark.parametrize("order", ["input", "completion"])
@pytest.mark.parametrize("seed", range(4))
def test_a_flow_learns_late_what_it_feeds(frantic, seed, order):
    """`merge` subscribes later; from then on the lower flow's room is looked at.

    Catches a worker that goes on to deliver without a look at the inlet.
    """
    with WorkerPool(4) as pool:
        upper = pool.pull(range(ITEMS)).pipe(pool.map(Work(seed), order=order, retry=3))
        lower = pool.map(Work(seed + 1, fails=False), order="input", max_pending=2)
        values = collect(upper.pipe(ro.map(rx.just), ro.merge(max_concurrent=1), lower))
        assert values == [*range(ITEMS)] if order == "input" else len(values) == ITEMS
        balanced(pool)


@pytest.mark.parametrize("seed", range(4))
def test_a_subscriber_that_pushes_into_the_source(frantic, seed):
    """All comes out, what one thread has pushed in its order."""
    source = Subject()

    def feed(item):
        if item + 50 < ITEMS:
            source.on_next(item + 50)
        elif item == ITEMS - 1:
            source.on_completed()

    with WorkerPool(4) as pool:
        sink = Sink(feed)
        through = pool.map(Work(seed, fails=False), order="input", max_pending=8)
        sink.to(source.pipe(through))
        for item in range(50):
            source.on_next(item)
        values = sink.wait()
        balanced(pool)
    assert sorted(values) == [*range(ITEMS)]
    assert [item for item in values if item < 50] == [*range(50)]
    assert [item for item in values if item >= 50] == [n + 50 for n in values if n + 50 < ITEMS]


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("workers", [4, 8])
def test_one_of_a_key_at_a_time_and_in_its_order(frantic, seed, workers):
    """Whatever fails and comes again; outcomes of a key come out in its order, too.

    Catches a key that is let go before its result is left, with the lock or without, and a
    queue that is changed without its guard.
    """
    work = Work(seed, key=lambda item: item % 7)
    with WorkerPool(workers) as pool:
        stream = pool.pull(range(ITEMS)).pipe(
            pool.outcomes(work, order="key", key=lambda item: item % 7)
        )
        items = [record.item for record in collect(stream)]
        balanced(pool)
    assert max(work.most.values()) == 1
    for found in (items, work.started):
        assert sorted(found) == [*range(ITEMS)]
        for key in range(7):
            assert [n for n in found if n % 7 == key] == [*range(key, ITEMS, 7)]


@pytest.mark.parametrize(
    ("fails", "options"), [(False, {}), (True, {}), (True, {"retry": Retry(1)})]
)
def test_a_key_is_free_when_its_result_is_left_and_not_before(monkeypatch, fails, options):
    """Also where a task is settled under the lock, which who takes the next does not need.

    Catches a key that is let go first.
    """
    left = []
    release = FlowState.release_key

    def seen(flow, task):
        left.append(task in flow.results.done)
        release(flow, task)

    monkeypatch.setattr(FlowState, "release_key", seen)

    def work(item):
        if fails:
            raise Oops(item)
        return rx.just(item)

    with WorkerPool(2) as pool:
        through = pool.outcomes(work, order="key", key=lambda item: 0, **options)
        assert len(collect(pool.pull(range(20)).pipe(through))) == 20
    assert left
    assert all(left)


def test_a_worker_lets_a_key_go_when_its_result_is_out(monkeypatch):
    """Without the lock, too.

    Catches a key that is let go before.
    """
    out, values, release = [], [], SortedQueue.release

    def seen(queue, task):
        out.append(task.item in values)
        release(queue, task)

    monkeypatch.setattr(SortedQueue, "release", seen)
    hold = threading.Event()

    def work(item):
        assert item or hold.wait(WAIT)
        return item

    source = Subject()
    with WorkerPool(1) as pool:
        sink = Sink(values.append).to(source.pipe(pool.map(work, order="key", key=abs)))
        for item in range(20):
            source.on_next(item)
        source.on_completed()
        hold.set()
        sink.wait()
    assert len(out) == 20
    assert sum(out) >= 19  # the last one may be settled under the lock


def test_a_result_that_was_left_at_a_token_which_is_taken_comes_out(monkeypatch):
    """At once, and not when the worker that has left it is done with the next item.

    Catches one who gives the token back without another look.
    """
    looks, go, next_began, emitted = (threading.Event() for _ in range(4))
    fetch = InputOrder.fetch

    def work(item):
        if item == 0:
            assert go.wait(WAIT)
        else:
            next_began.set()
            assert emitted.wait(5.0)
        return item

    def meanwhile(order):
        found = fetch(order)
        if found is None and looks.is_set() and not go.is_set():
            go.set()
            assert next_began.wait(WAIT)
        return found

    monkeypatch.setattr(InputOrder, "fetch", meanwhile)
    source = Subject()
    with WorkerPool(1) as pool:
        sink = Sink(lambda _: emitted.set())
        sink.to(source.pipe(pool.map(work, order="input")))
        source.on_next(0)
        source.on_next(1)
        (flow,) = pool._engine.registry.states()
        looks.set()
        pool._engine.dispatcher.deliver_ready(flow)
        assert emitted.wait(WAIT)
        source.on_completed()
        assert sink.wait() == [0, 1]


def test_a_worker_looks_again_when_it_has_given_the_token_back(monkeypatch):
    """The other one found it taken, and is busy with the next item since.

    Catches one who does not.
    """
    second_began, go, third_began, emitted = (threading.Event() for _ in range(4))
    fetch, values = InputOrder.fetch, []

    def work(item):
        if item == 0:
            assert second_began.wait(WAIT)
        elif item == 1:
            second_began.set()
            assert go.wait(WAIT)
        else:
            third_began.set()
            assert emitted.wait(5.0)
        return item

    def meanwhile(order):
        found = fetch(order)
        if found is None and values == [0] and not go.is_set():
            go.set()
            assert third_began.wait(WAIT)
        return found

    def note(value):
        values.append(value)
        if value == 1:
            emitted.set()

    monkeypatch.setattr(InputOrder, "fetch", meanwhile)
    with WorkerPool(2) as pool:
        through = pool.map(work, order="input")
        assert Sink(note).to(rx.from_iterable(range(4)).pipe(through)).wait() == [0, 1, 2, 3]


@pytest.mark.parametrize("seed", SEEDS)
def test_the_most_urgent_of_those_that_wait_starts_first(frantic, seed):
    """Whoever comes meanwhile: it is behind what runs, and before all that are less urgent.

    Catches a worker that takes whoever came first.
    """
    begun, hold, order = threading.Semaphore(0), threading.Event(), []
    source, chance = Subject(), random.Random(seed)

    def work(item):
        order.append(item)
        if item == 0:
            begun.release()
            assert hold.wait(WAIT)
        elif item % 10 == 0 and item < 1000:
            source.on_next(item + 1)  # more urgent than all that wait
        return item

    items = [*range(10, 10 * ITEMS, 10)]
    chance.shuffle(items)
    with WorkerPool(1) as pool:
        sink = Sink().to(source.pipe(pool.map(work, priority=lambda n: n)))
        source.on_next(0)
        assert begun.acquire(timeout=WAIT)
        for item in items:
            source.on_next(item)
        hold.set()
        eventually(lambda: len(order) == ITEMS + 99)
        source.on_completed()
        assert sorted(sink.wait()) == sorted(order)
    assert order == sorted(order)


@pytest.mark.parametrize("seed", range(4))
def test_a_limit_that_two_flows_share(frantic, seed):
    """No more start than burst and rate allow in any time, and both go on.

    Catches looking and taking under two locks, and a flow that passes one who waits.
    """
    rate, burst, starts = 2000, 10, []
    limit, lock = Limit(rate, burst=burst), threading.Lock()

    def work(item):
        with lock:
            starts.append((time.monotonic(), item % 2))
        return item

    with WorkerPool(4) as pool, WorkerPool(2) as other:
        sinks = [
            Sink().to(each.pull(range(n, 2 * ITEMS, 2)).pipe(each.map(work, limit=limit, **kw)))
            for n, (each, kw) in enumerate([(pool, {"order": "input"}), (other, {})])
        ]
        for n, sink in enumerate(sinks):
            assert sorted(sink.wait()) == [*range(n, 2 * ITEMS, 2)]
        eventually(lambda: not limit_door(limit).state.lines)
    times = [at for at, _ in starts]
    late = 0.05  # between the token and the note
    for first in range(0, len(times), 7):
        for last in range(first, len(times)):
            allowed = burst + rate * (times[last] - times[first] + late)
            assert last - first + 1 <= allowed


@pytest.mark.parametrize("_", range(10))
def test_tokens_are_neither_made_nor_lost(frantic, _):
    """With a rate of next to nothing just the burst starts, whatever workers give back.

    Catches a bucket that is read and written under two locks.
    """
    limit, starts = Limit(1, per=10_000, burst=40), []
    with WorkerPool(6) as pool:
        for _ in range(4):  # each ends with permits that were not needed
            stream = pool.pull(range(9)).pipe(pool.map(starts.append, limit=limit))
            assert len(collect(stream)) == 9
        assert len(starts) == 36
        sink = Sink().to(pool.pull(range(9)).pipe(pool.map(starts.append, limit=limit)))
        eventually(lambda: limit_door(limit).state.lines)
        eventually(lambda: len(starts) == 40)
        sink.subscription.dispose()
    assert len(starts) == 40
    assert not limit_door(limit).state.lines


def test_one_that_a_worker_takes_as_it_begins_to_wait_leaves_the_line(monkeypatch):
    """The worker had the last token already; nobody is left in line, and the flow goes on.

    Catches a permit that says nothing to the ticket.
    """
    limit, pop_next, hooked = Limit(1, per=10_000, burst=2), FlowState.pop_next, []

    def once_another_slot_has_asked(flow):
        pop = pop_next(flow)

        def meanwhile():
            if not hooked:
                hooked.append(True)
                pool.resize(2)
                assert limit_door(limit).state.lines
            return pop()

        return meanwhile

    monkeypatch.setattr(FlowState, "pop_next", once_another_slot_has_asked)
    with WorkerPool(1) as pool:
        work = Sink().to(pool.pull([1, 2]).pipe(pool.map(abs, limit=limit)))
        assert sorted(work.wait()) == [1, 2]
        assert hooked
        assert not limit_door(limit).state.lines


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("seed", range(4))
def test_probes_are_as_many_as_there_may_be(frantic, seed, order):
    """With a limit beside the breaker, which may let nobody through just then.

    Catches a permit of the breaker that is not given back when the limit refuses.
    """
    breaker = CircuitBreaker(
        minimum_number_of_calls=10,
        sliding_window_size=10,
        permitted_number_of_calls_in_half_open_state=3,
        wait_duration_in_open_state=0.005,
    )
    limit = Limit(3000, burst=2)
    most, inside, lock, good = [0], [0], threading.Lock(), []

    def work(item):
        probing = breaker.state == "half_open"
        with lock:
            inside[0] += probing
            most[0] = max(most[0], inside[0])
        time.sleep(0.0005)
        with lock:
            inside[0] -= probing
            good.append(item)
            if len(good) % 40 < 20:
                raise Oops(item)
        return item

    with WorkerPool(6) as pool:
        through = pool.outcomes(work, breaker=breaker, limit=limit, order=order, fallback=None)
        assert len(collect(pool.pull(range(ITEMS)).pipe(through))) == ITEMS
        balanced(pool)
    assert most[0] <= 3 + 6  # those that began before it opened may look at it now
    assert len(breaker_door(breaker)._state._probes) == 0


def test_as_many_as_there_are_tokens_pass_without_a_ticket(frantic):
    """Whoever asks, on however many threads.

    Catches a bucket that is asked without the lock of the limits.
    """
    door, passed = limit_door(Limit(1, per=10_000, burst=1000)), Counter()

    def ask(name):
        for _ in range(400):
            passed[name] += door.enter_now(time.monotonic())

    threads = [threading.Thread(target=ask, args=(name,)) for name in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT)
    assert sum(passed.values()) == 1000
