"""What a profile finds out, in virtual time and on threads, and the file it writes."""

import json
import os
import threading
from itertools import count
from time import monotonic, process_time, sleep, thread_time

import pytest
import reactivex as rx
from hypothesis import given
from hypothesis import strategies as st
from reactivex.subject import Subject

from rxpool import InvalidArgument, Limit, WorkerPool
from rxpool.pool._engine.trace_lanes import TraceLanes
from rxpool.pool._profile import Shares
from tests.alarms import Alarms
from tests.metrics.test_trace import check
from tests.pool.marbles import work
from tests.waiting import WAIT

NOTHING = {"busy": 0, "starved": False, "full": False, "limited": False, "slow": False}


def profiled(items, workers=1, end=None, **options):
    """The bottleneck of items, pairs of a tick and an item, in virtual time."""
    time = Alarms()
    pool = WorkerPool(workers, on=time, name="p")
    source, profiles = Subject(), []
    source.pipe(pool.map(work, **options)).subscribe()
    profiles.append(pool.profile(every=1))
    for tick, item in items:
        time.schedule_absolute(tick, lambda *_, item=item: source.on_next(item))
    end = end or items[-1][0] + 1
    time.schedule_absolute(end, lambda *_: source.on_completed())
    time.start()
    assert time.pending == 0
    return profiles[0]


MARBLES = {
    "always busy": ([(1, "a50"), (2, "b50")], {}, "workers"),
    "one of two workers is always busy": ([(1, "a50"), (2, "b50")], {"workers": 2}, "workers"),
    "the source gives one now and then": (
        [(10, "a1"), (30, "b1"), (50, "c1"), (70, "d1")],
        {},
        "source",
    ),
    "a limit": (
        [(1, "a1"), (2, "b1"), (3, "c1")],
        {"limit": Limit(1, per=50)},
        "limit",
    ),
    "a limit of keys": (
        [(1, "a1"), (2, "b1"), (3, "c1")],
        {"limit": Limit(1, per=50, key=lambda item: "k")},
        "limit",
    ),
    "more workers than the head of the line lets start": (
        [(1, "a90"), (2, "b1"), (3, "c1"), (4, "d1")],
        {"workers": 4, "order": "input", "max_reorder": 2, "max_pending": 2, "end": 85},
        "bounds",
    ),
}


@pytest.mark.parametrize(("items", "options", "culprit"), MARBLES.values(), ids=MARBLES)
def test_what_limits(items, options, culprit):
    """The culprit, with a share that the numbers bear out."""
    found = profiled(items, **options).bottleneck()
    assert found.culprit == culprit
    assert 0.5 <= found.share <= 1


def test_a_subscriber_that_takes_its_time():
    """On threads: the look comes while it is being given a value."""
    looked = threading.Event()
    with WorkerPool(2) as pool:
        profile = pool.profile(every=0.001)
        look = profile._ring

        def ring(now):
            look(now)
            if profile._shares.subscriber_busy:
                looked.set()

        profile._ring = ring  # from the next look but one on
        rx.range(2).pipe(pool.map(abs)).subscribe(lambda value: looked.wait(10))
        assert looked.wait(10)
        profile.close()
    assert profile._shares.subscriber_busy > 0


def test_who_waits_for_results_is_not_busy(monkeypatch):
    """Woken and not running yet, as behind others on one interpreter: it does not hold back."""
    from rxpool.pool._flows import imap_flow as _feed

    waited, flows, seen = _feed.pass_gate, [], []

    def woken(gate):
        flows.extend(pool._engine.registry.flows)  # before it has ended
        waited(gate)
        seen.append((flows[0].state.undelivered, flows[0].delivering()))

    monkeypatch.setattr(_feed, "pass_gate", woken)
    go = threading.Event()
    with WorkerPool(1) as pool:
        results = pool.imap(lambda n: go.wait(10) and n, [1, 2])
        timer = threading.Timer(0.05, go.set)
        timer.start()
        assert list(results) == [1, 2]
        timer.join()
    assert seen[0][0]
    assert not any(busy for _, busy in seen)


def test_who_does_not_fetch_results_is_busy():
    """Results are there, and whoever iterates does something else."""
    done = threading.Event()
    with WorkerPool(1) as pool:
        results = pool.imap(lambda n: n == 2 and done.set(), [1, 2, 3], max_pending=3)
        next(results)
        assert done.wait(10)
        (flow,) = pool._engine.registry.flows
        assert flow.delivering()
        results.close()


def test_before_anything_ran():
    """It says so."""
    with WorkerPool(1) as pool, pool.profile() as profile:
        assert profile.bottleneck().culprit == "nothing"
        assert str(profile) == "Nothing was measured yet."


@pytest.mark.parametrize("every", [0, -1, float("nan")])
def test_every_is_checked(every):
    """With the value in the message."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgument, match="every"):
        pool.profile(every=every)


def test_the_trace(tmp_path):
    """A lane for each worker, a slice for each attempt; closed with the block."""
    path = tmp_path / "trace.json"
    barrier = threading.Barrier(2, timeout=10)
    with WorkerPool(2, name="p") as pool:
        with pool.profile(trace=path):
            assert sorted(pool.imap(lambda n: (barrier.wait() and n) or n, [1, 2])) == [1, 2]
        list(pool.imap(abs, [3]))  # not in the file any more
    events = json.loads(path.read_text())
    check(events)
    lanes = {e["args"]["name"] for e in events if e["name"] == "thread_name"}
    assert lanes == {"p-0", "p-1"}
    assert [e["name"] for e in events if e["ph"] == "X"] == ["imap", "imap"]


def test_the_end_of_the_pool_closes_the_trace(tmp_path):
    """Who forgets to close has a whole file."""
    path = tmp_path / "trace.json"
    with WorkerPool(1) as pool:
        pool.profile(trace=path)
        list(pool.imap(abs, [3]))
    check(json.loads(path.read_text()))


def test_resources():
    """Those of worker processes, else of this process; told to subscribers."""
    events = []
    with WorkerPool(1, on="processes", monitor=events.append) as pool:
        pid = pool.submit(os.getpid).result()
        found = pool.resources()
        assert list(found) == [pid]
        assert found[pid].memory > 1_000_000
        pool.resources()
    told = [event for event in events if event.name.startswith("rxpool.worker.")]
    assert [event.name for event in told] == ["rxpool.worker.cpu", "rxpool.worker.memory"] * 2
    assert {event.attributes["worker"] for event in told} == {str(pid)}
    assert told[0].value == found[pid].cpu
    assert told[2].value <= told[0].value + 1  # what came since, not all of it
    with WorkerPool(1) as pool:
        assert list(pool.resources()) == [os.getpid()]


# -- the parts ---------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 10), st.integers(0, 3), st.booleans()), min_size=1))
def test_shares_are_no_more_than_all_of_the_time(looks):
    """Whatever is seen, each part is within the time measured."""
    shares, now = Shares(0.0), 0.0
    for passed, busy, seen in looks:
        now += passed
        shares.add(now, busy=busy, starved=seen, full=seen, limited=not seen, slow=seen)
    assert shares.elapsed == pytest.approx(now)
    assert shares.source_waiting + shares.limit_wait == pytest.approx(now)
    assert shares.workers_busy <= 3 * now + 1e-9


def test_a_pause_is_not_measured():
    """While there are no flows."""
    shares = Shares(0.0)
    shares.add(1.0, **NOTHING)
    shares.pause(5.0)
    shares.add(6.0, **NOTHING | {"starved": True})
    assert (shares.elapsed, shares.source_waiting) == (2.0, 1.0)


@given(st.lists(st.tuples(st.floats(0, 100), st.floats(0, 10))))
def test_lanes_never_overlap(spans):
    """Spans that come in as they end."""
    lanes, busy = TraceLanes("p"), {}
    for started, took in sorted(spans, key=sum):
        name = lanes.lane(started, started + took)
        assert busy.get(name, 0.0) <= started
        busy[name] = started + took


def compute(_):
    """Pure Python, for a few milliseconds of CPU time."""
    until = thread_time() + 0.005
    while thread_time() < until:
        pass


def nap(_):
    """The same without computing."""
    sleep(0.005)


def until_measured(profile, seconds=0.05):
    """Items, until a profile has measured so long: looks come late where all compute."""
    give_up = monotonic() + 60
    while profile._shares.elapsed < seconds:
        assert monotonic() < give_up, "a profile that does not look"
        yield 0


def until_found(profile, culprit):
    """The same, and until it has found *culprit*, for half a minute at most.

    On a busy machine the thread that brings items may be the one that waits, for a while.
    """
    yield from until_measured(profile)
    give_up = monotonic() + WAIT
    while profile.bottleneck().culprit != culprit and monotonic() < give_up:
        yield 0


@pytest.mark.parametrize("on", ["threads", "asyncio", "inline"])
def test_computing_in_python_on_one_interpreter(on, monkeypatch):
    """The limit is the interpreter, and processes are named; told by CPU time against time."""
    # As if all the time was computed, and nobody else used the machine.
    monkeypatch.setattr("rxpool.pool._profile.process_time", monotonic)
    workers = 1 if on == "inline" else 3
    with WorkerPool(workers, on=on) as pool, pool.profile(every=0.002) as profile:
        pool.collect(compute, until_found(profile, "interpreter"), max_pending=4)
    found = profile.bottleneck()
    assert found.culprit == "interpreter"
    assert "on='processes'" in found.sentence


@pytest.mark.parametrize("on", ["threads", "processes"])
def test_waiting_is_not_computing(on, monkeypatch):
    """Nor is what is computed elsewhere, however busy this process is."""
    if on == "processes":
        monkeypatch.setattr("rxpool.pool._profile.process_time", monotonic)
    with WorkerPool(2, on=on) as pool:
        pool.submit(nap, 1).result()
        with pool.profile(every=0.002) as profile:
            pool.collect(nap, until_measured(profile), max_pending=4)
    assert profile.bottleneck().culprit != "interpreter"


def test_without_a_global_lock_it_is_not_the_limit(monkeypatch):
    """Threads compute at the same time then."""
    monkeypatch.setattr("sys._is_gil_enabled", lambda: False, raising=False)
    monkeypatch.setattr("rxpool.pool._profile.process_time", monotonic)
    with WorkerPool(3) as pool, pool.profile(every=0.002) as profile:
        pool.collect(compute, until_measured(profile), max_pending=4)
    assert profile.bottleneck().culprit != "interpreter"


def test_cpu_time_says_nothing_in_virtual_time(monkeypatch):
    """However much of it there was."""
    monkeypatch.setattr("rxpool.pool._profile.process_time", count().__next__)
    assert profiled([(1, "a50"), (2, "b50")]).bottleneck().culprit == "workers"


def test_what_is_computed_between_flows_does_not_count(monkeypatch):
    """It is of something else."""
    cpu = [0.0]
    monkeypatch.setattr("rxpool.pool._profile.process_time", lambda: cpu[0])

    def look():
        cpu[0] += 10.0
        profile._ring(pool._engine.now())

    with WorkerPool(1) as pool, pool.profile(every=1000.0) as profile:
        look()
        source = Subject()
        source.pipe(pool.map(abs)).subscribe()
        look()
        source.on_completed()
        look()
    assert profile._shares.interpreter_cpu == 10.0


def test_computing_for_real():
    """The CPU time that is measured is that of all threads of the process."""
    with WorkerPool(3) as pool:
        before = process_time()
        with pool.profile(every=0.002) as profile:
            pool.collect(compute, until_measured(profile, 0.2), max_pending=4)
        used = process_time() - before
    assert 0.0 < profile._shares.interpreter_cpu <= used
