"""``timeout`` and ``deadline``: what takes too long fails, and nothing else suffers."""

import threading
import time
from datetime import timedelta

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject

from rxpool import Failure, RxPoolError, WorkerPool, current_task
from rxpool.errors import DeadlineExceeded, TaskTimeout
from tests.alarms import Alarms
from tests.pool.crew import Sink, balanced, collect, joined, passed, started
from tests.pool.marbles import Run, counts, outcome, row, shown, work
from tests.waiting import eventually

INPUT = {"order": "input"}
KEY = {"order": "key", "key": lambda item: item[0]}

# workers, options, source, result, failures as an observer is given them, settings of the run
MARBLES = {
    "timeout: what is done in time comes out": (
        2, {"timeout": 20}, "a10@210 b30@211 |@220", "a@220 |@231",
        "-b30:TaskTimeout*1@231", {},
    ),
    "timeout counts from the start, not from acceptance": (
        1, {"timeout": 20}, "a15@210 b15@210 c15@210 |@220", "a@225 b@240 c@255 |@255", "", {},
    ),
    "timeout: the worker is free for others then": (
        1, {"timeout": 20}, "a90@210 b10@211 c90@212 d10@213 |@220", "b@240 d@270 |@270",
        "-a90:TaskTimeout*1@230 -c90:TaskTimeout*1@260", {},
    ),
    "timeout: an alarm for each, long after the last": (
        1, {"timeout": 20}, "a30@210 b10@245 c30@250 |@300", "b@255 |@300",
        "-a30:TaskTimeout*1@230 -c30:TaskTimeout*1@275", {},
    ),
    "timeout in input order: the failure in its turn, the next result after it": (
        2, {"timeout": 20} | INPUT, "a90@210 b5@210 c15@212 |@300", "b@230 c@230 |@300",
        "-a90:TaskTimeout*1@230", {},
    ),
    "timeout of an Observable: what it gave before stands": (
        1, {"timeout": 22, "fn": lambda _: rx.timer(5.0, 10.0)}, "a@210 |@211",
        "0@215 1@225 |@232", "-a:TaskTimeout*1@232", {},
    ),
    "a timedelta": (
        1, {"timeout": timedelta(seconds=20)}, "a30@210 |@211", "|@230",
        "-a30:TaskTimeout*1@230", {},
    ),
    "timeout: the source has failed": (
        1, {"timeout": 20}, "a90@210 b90@211 #@212", "#RuntimeError@250",
        "-a90:TaskTimeout*1@230 -b90:TaskTimeout*1@250", {},
    ),
    "deadline counts from acceptance": (
        1, {"deadline": 20}, "a15@210 b10@210 c10@211 d10@212 |@300", "a@225 |@300",
        "-b10:DeadlineExceeded*1@230 -c10:DeadlineExceeded*1@231 -d10:DeadlineExceeded*1@232",
        {},
    ),
    "deadline: what waits fails too, without an attempt": (
        1, {"deadline": 20}, "a10@210 b10@215 c5@240 |@300", "c@255 |@300",
        "-a10:DeadlineExceeded*0@230 -b10:DeadlineExceeded*0@235", {"other": "z150"},
    ),
    "deadline in input order": (
        1, {"deadline": 20} | INPUT, "a10@210 b10@215 c5@240 |@300", "c@255 |@300",
        "-a10:DeadlineExceeded*0@230 -b10:DeadlineExceeded*0@235", {"other": "z150"},
    ),
    "deadline with keys: what waits for its key fails too": (
        2, {"deadline": 25} | KEY, "a90@210 a10@211 b5@212 a10@229 |@300", "b@217 a@246 |@300",
        "-a90:DeadlineExceeded*1@235 -a10:DeadlineExceeded*1@236", {},
    ),
    "deadline with priorities": (
        1, {"deadline": 45, "priority": lambda item: -ord(item[0])},
        "a30@210 b10@211 c10@212 |@300", "a@240 c@250 |@300",
        "-b10:DeadlineExceeded*1@256", {},
    ),
    "deadline beside a policy that drops": (
        1, {"deadline": 25, "max_pending": 1, "overflow": "drop_oldest"},
        "a30@210 b10@211 c10@212 |@300", "|@300",
        "-b10:ItemDropped*0@212 -a30:DeadlineExceeded*1@235 -c10:DeadlineExceeded*1@237", {},
    ),
    "both: a task that waited long has its whole timeout": (
        1, {"deadline": 100, "timeout": 20}, "a15@210 |@300", "a@235 |@300", "",
        {"other": "z120"},
    ),
    "both: the timeout of a task that waited is kept to the tick": (
        1, {"deadline": 100, "timeout": 20}, "a90@210 |@300", "|@300",
        "-a90:TaskTimeout*1@245", {"other": "z125"},
    ),
    "both: the deadline, if it comes first": (
        1, {"deadline": 30, "timeout": 20}, "a90@210 |@300", "|@300",
        "-a90:DeadlineExceeded*1@240", {"other": "z125"},
    ),
}  # fmt: skip


@pytest.mark.parametrize(
    ("workers", "options", "source", "expected", "letters", "how"),
    MARBLES.values(),
    ids=MARBLES,
)
def test_marbles(workers, options, source, expected, letters, how):
    """Values, failures and ticks are exact, the books balance, no timer is left."""
    options = {"fn": work} | options
    run = Run(
        source,
        lambda run: run.pool.map(on_failure=run.letters, **options),
        workers=workers,
        **how,
    )
    assert run.text == expected
    assert shown(run.letters.messages, outcome) == letters
    assert run.let_go == [float(source.split("@")[-1])]


@pytest.mark.parametrize(
    ("options", "source", "expected", "let_go", "counts"),
    [
        (
            {"timeout": 20}, "a90@210 b10@211 c40@212 |@300", "b@221 #TaskTimeout@230", 230,
            {"accepted": 3, "succeeded": 1, "failed": 1, "cancelled": 1},
        ),
        (
            {"timeout": 20} | INPUT, "a15@210 b90@210 c15@210 d10@211 |@300",
            "a@225 #TaskTimeout@230", 230,
            {"accepted": 4, "succeeded": 1, "failed": 1, "cancelled": 2},
        ),
        (
            {"deadline": 20}, "a15@210 b15@210 c10@211 d10@212 |@300",
            "a@225 b@225 #DeadlineExceeded@231", 231,
            {"accepted": 4, "succeeded": 2, "failed": 1, "cancelled": 1},
        ),
    ],
)  # fmt: skip
def test_a_limit_ends_the_stream(options, source, expected, let_go, counts):
    """With ``on_failure="raise"`` a limit ends the stream: the rest is cancelled."""
    slow = source.replace("c10@211", "c30@211")
    run = Run(slow, lambda run: run.pool.map(work, **options), workers=2)
    assert (run.text, run.let_go, run.counts) == (expected, [let_go], counts)


@pytest.mark.parametrize(
    ("options", "kind", "text"),
    [
        ({"timeout": 20}, TaskTimeout, "map: ran longer than timeout=20 s"),
        ({"deadline": 0.25}, DeadlineExceeded, "map: was not done within deadline=0.25 s"),
    ],
)
def test_the_errors(options, kind, text):
    """They are `TimeoutError` and `RxPoolError`, and name the flow and the limit."""
    run = Run("a90@210 |@300", lambda run: run.pool.map(work, **options))
    error = run.messages[-1].value.exception
    assert isinstance(error, kind)
    assert isinstance(error, TimeoutError)
    assert isinstance(error, RxPoolError)
    assert str(error) == f"{run.pool.name}.{text}"


def test_the_times_of_what_took_too_long():
    """`took` is the time the attempt ran, `waited` the time before it."""
    run = Run("a90@210 |@300", lambda run: run.pool.outcomes(work, timeout=20), other="z115")
    record = run.messages[0].value.value
    assert (record.attempts, record.waited, record.took) == (1, 5, 20)
    run = Run("a90@210 |@300", lambda run: run.pool.outcomes(work, deadline=20), other="z150")
    record = run.messages[0].value.value
    assert (record.attempts, record.waited, record.took) == (0, 20, 0)


def test_work_is_disposed_when_its_time_is_over():
    """The subscription to what the function returned is let go at that tick."""
    scheduler = Alarms()
    pool = WorkerPool(1, on=scheduler)
    job = scheduler.create_cold_observable(*row("x@90 |@90"))
    through = pool.map(lambda _: job, timeout=20, on_failure="skip")
    xs = scheduler.create_hot_observable(*row("a@210 |@220"))
    scheduler.start(lambda: xs.pipe(through))
    assert [(s.subscribe, s.unsubscribe) for s in job.subscriptions] == [(210, 230)]


def test_one_alarm_for_a_flow():
    """However many tasks there are, one timer is set; none when they are done or disposed."""
    scheduler = Alarms()
    pool = WorkerPool(50, on=scheduler)
    xs = Subject()
    for options in ({"timeout": 20}, {"deadline": 20}, {"timeout": 20, "deadline": 30}):
        through = pool.map(lambda _: rx.never(), on_failure="skip", **options)
        ended = xs.pipe(through).subscribe()
        for n in range(100):
            xs.on_next(n)
            scheduler.advance_by(0.1)
            assert scheduler.pending == 1
        ended.dispose()
        assert scheduler.pending == 0


def test_a_flow_that_is_idle_sets_no_alarm():
    """With nothing inside nothing is due: an alarm that has rung is not set again."""
    scheduler = Alarms()
    pool = WorkerPool(1, on=scheduler)
    xs = Subject()
    flow = xs.pipe(pool.map(work, timeout=50)).subscribe()
    xs.on_next("a10")
    scheduler.advance_by(200.0)
    assert scheduler.pending == 0
    flow.dispose()


@pytest.mark.parametrize("way", ["dispose", "terminate"])
def test_no_timer_is_left(way):
    """Who leaves before the limit takes the alarm along."""
    at = {230: lambda run: run.pool.terminate()} if way == "terminate" else {}
    run = Run(
        "a90@210 b90@211 |@300",
        lambda run: run.pool.map(work, timeout=100, deadline=150),
        disposed=230.0 if way == "dispose" else 1000.0,
        at=at,
    )
    assert run.counts == {"accepted": 2, "cancelled": 2}


def test_closing_waits_for_limits():
    """A closing pool ends when what hangs has timed out."""
    run = Run(
        "a900@210 b10@211 c10@250 |@400",
        lambda run: run.pool.map(work, timeout=30, on_failure="skip"),
        at={220: lambda run: run.pool.close()},
    )
    assert (run.text, run.let_go) == ("b@250 |@250", [220])


def test_a_timeout_inside_a_chain():
    """A timeout of one flow of a chain does not touch the others."""

    def operator(run):
        first = run.pool.map(work, timeout=20, on_failure="skip")
        second = run.pool.map(work, timeout=40)
        return rx.compose(first, ro.map(lambda name: f"{name}30"), second)

    run = Run("a90@210 b10@211 c10@212 |@220", operator, workers=2)
    assert run.text == "b@260 c@261 |@261"
    assert run.counts == {"accepted": 5, "succeeded": 4, "failed": 1}


def test_an_observable_that_ends_late_is_not_heard():
    """A result that comes after the limit is dropped, whatever its source does."""
    scheduler = Alarms()
    pool = WorkerPool(1, on=scheduler)
    late = []

    def subscribe(observer, _=None):  # that cannot be disposed
        late.append(observer)

    got = []
    through = pool.map(lambda _: rx.create(subscribe), timeout=20, on_failure="skip")
    rx.of("a").pipe(through).subscribe(got.append)
    scheduler.advance_by(25.0)
    late[0].on_next("too late")
    late[0].on_completed()
    scheduler.advance_by(25.0)
    assert got == []
    assert counts(pool) == {"accepted": 1, "failed": 1}


# -- threads -----------------------------------------------------------------------------

SOON = 0.03  #: seconds: a limit that will be over soon


def hang(item):
    """Hang until nobody wants the result any more."""
    task = current_task()
    eventually(lambda: task.cancelled)
    return item


@pytest.mark.parametrize("limit", ["timeout", "deadline"])
@pytest.mark.parametrize("order", ["completion", "input", "key"])
def test_a_thread_that_hangs_is_replaced(limit, order):
    """The only worker hangs: the item fails in time, and others run on another thread."""
    gate, released = threading.Event(), threading.Event()

    def fn(item):
        if item:
            return item
        task = current_task()
        passed(gate)
        assert task.cancelled
        released.set()
        return item

    options = {"order": order} | ({"key": lambda item: item} if order == "key" else {})
    with WorkerPool(1) as pool:
        letters = Sink()
        failures = Subject()
        failures.subscribe(letters.on_next)
        xs = Subject()
        through = pool.map(fn, on_failure=failures, **options, **{limit: SOON})
        sink = Sink().to(xs.pipe(through))
        xs.on_next(0)
        eventually(lambda: letters.values)
        xs.on_next(1)
        xs.on_completed()
        assert sink.wait() == [1]
        (failure,) = letters.values
        assert isinstance(failure, Failure)
        assert (failure.item, failure.attempts) == (0, 1)
        assert isinstance(
            failure.error, TaskTimeout if limit == "timeout" else DeadlineExceeded
        )
        assert failure.took >= SOON or limit == "deadline"
        gate.set()
        passed(released)
        assert (balanced(pool).succeeded, balanced(pool).failed) == (1, 1)


def test_a_thread_is_given_up_only_for_what_it_runs():
    """An Observable times out on whose thread another item runs: that thread stays."""
    gate, running = threading.Event(), threading.Event()
    entered, go = threading.Event(), threading.Event()

    def fn(item):
        if item == "stream":
            entered.set()
            passed(go)
            return rx.never()
        running.set()
        passed(gate)
        return item

    with WorkerPool(1) as pool:
        failed = threading.Event()
        failures = Subject()
        failures.subscribe(lambda _: failed.set())
        with_limit = pool.map(fn, timeout=0.3, on_failure=failures)
        first = Sink().to(rx.of("stream").pipe(with_limit))
        passed(entered)
        second = Sink().to(rx.of("item").pipe(pool.map(fn)))
        go.set()  # the thread goes on to the other item without a rest
        passed(running)
        passed(failed)
        assert first.wait() == []
        assert pool._engine.backend.abandoned == 0
        gate.set()
        assert second.wait() == ["item"]


@pytest.mark.parametrize("kind", ["map", "imap"])
def test_what_waits_behind_a_hung_task_expires(kind):
    """Items that could not start before their deadline fail without an attempt."""
    gate = threading.Event()
    with WorkerPool(1) as pool:
        blocker = pool.submit(passed, gate)
        options = {"deadline": SOON, "on_failure": Subject()}
        letters = []
        options["on_failure"].subscribe(letters.append)
        if kind == "map":
            assert collect(rx.of(1, 2, 3).pipe(pool.map(str, **options))) == []
        else:
            assert list(pool.imap(str, [1, 2, 3], **options)) == []
        assert [(failure.item, failure.attempts) for failure in letters] == [
            (1, 0), (2, 0), (3, 0)
        ]  # fmt: skip
        gate.set()
        blocker.result()
    assert balanced(pool).failed == 3


def test_imap_raises_the_timeout():
    """`imap` raises the failure of the item that hangs."""
    with WorkerPool(2) as pool, pytest.raises(TaskTimeout):
        list(pool.imap(hang, range(3), timeout=SOON))


async def hang_later(item):
    """The same in a coroutine: on threads it has a thread of its own."""
    return hang(item)


@pytest.mark.parametrize("fn", [hang, hang_later])
def test_many_that_hang(fn):
    """Each fails in turn; all hung threads end once they are told."""
    with WorkerPool(2) as pool:
        through = pool.outcomes(fn, timeout=SOON)
        records = collect(rx.from_iterable(range(8)).pipe(through))
    assert sorted(record.item for record in records) == list(range(8))
    assert {type(record.error) for record in records} == {TaskTimeout}
    assert balanced(pool).failed == 8


def test_a_task_that_hangs_while_it_helps():
    """A nested task that hangs fails in time, wherever it runs; its outer task goes on."""

    def outer(item):
        through = pool.map(hang, timeout=SOON, on_failure="skip", max_pending=1)
        collect(rx.of(1, 2, 3).pipe(through))
        return item

    with WorkerPool(1) as pool:
        assert sorted(collect(rx.of("a", "b").pipe(pool.map(outer)))) == ["a", "b"]
    report = balanced(pool)
    assert (report.succeeded, report.failed) == (2, 6)


@pytest.mark.usefixtures("frantic")
@pytest.mark.parametrize(
    "options", [{"timeout": 0.002}, {"deadline": 0.004}, {"timeout": 0.002, "deadline": 0.004}]
)
@pytest.mark.parametrize("kind", ["outcomes", "input", "key"])
def test_limits_race_with_results(options, kind):
    """Whether result or limit comes first, each item has one outcome, at every instant.

    Catches an alarm that looks at tasks while workers change them, that settles a task which
    its worker has settled, or that misses one which was due between two looks.
    """
    spans = [0, 0, 0, 0, 0.001, 0.002, 0.003]

    def fn(item):
        time.sleep(spans[item % len(spans)])
        return item

    more = {"order": kind} if kind in ("input", "key") else {}
    if kind == "key":
        more["key"] = lambda item: item % 5
    stop = threading.Event()
    with WorkerPool(3, max_pending=32) as pool:

        def look():
            while not stop.is_set():
                report = pool.report()
                for part in (report, *report.flows):
                    ends = part.succeeded + part.failed + part.dropped + part.cancelled
                    assert part.accepted == ends + part.in_flight

        watcher = started(look)
        records = collect(
            rx.from_iterable(range(400)).pipe(pool.outcomes(fn, **options, **more))
        )
        stop.set()
        joined(watcher)
    items = [record.item for record in records]
    assert (items if kind == "input" else sorted(items)) == list(range(400))
    good = [r for r in records if not isinstance(r, Failure)]
    assert all(isinstance(r.error, TimeoutError) for r in records if isinstance(r, Failure))
    report = balanced(pool)
    assert (report.succeeded, report.failed) == (len(good), 400 - len(good))


@pytest.mark.usefixtures("frantic")
def test_nothing_that_hangs_is_missed():
    """Tasks that start at nearly the same time are all ended: no alarm comes between them.

    Catches a next alarm that is not set for what became due since the last look.
    """
    for _ in range(10):
        with WorkerPool(8) as pool:
            through = pool.outcomes(hang, timeout=0.005)
            records = collect(rx.from_iterable(range(16)).pipe(through))
        assert len(records) == 16


@pytest.mark.usefixtures("frantic")
def test_leaving_races_with_limits():
    """No timer outlives a flow that is disposed while its alarm is set or rings."""
    with WorkerPool(4) as pool:
        for n in range(60):
            xs = Subject()
            through = pool.map(hang, timeout=0.0005 * (n % 4 + 1), on_failure="skip")
            sink = Sink().to(xs.pipe(through))
            for item in range(4):
                xs.on_next(item)
            for _ in range(n % 7 * 100):
                pass
            sink.subscription.dispose()
    assert balanced(pool).succeeded == 0


def test_a_limit_that_is_not_reached_costs_no_thread():
    """Tasks in time leave neither timers nor threads, however many there are."""
    with WorkerPool(2) as pool:
        through = pool.map(lambda n: n, timeout=60, deadline=60)
        assert sorted(collect(rx.from_iterable(range(2000)).pipe(through))) == list(range(2000))
    # The leak check of all tests does the rest.
