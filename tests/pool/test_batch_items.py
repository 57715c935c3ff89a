"""`map_batches` and policies: results that are exceptions are failures of their items."""

import pytest
import reactivex as rx
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import CircuitBreaker, Failure, Limit, Retry, WorkerPool
from tests.pool.crew import Oops, collect

QUICK = {"delay": 1, "jitter": 0, "backoff": "constant"}


class Busy(Oops):
    """Comes with the time that the other side asks to wait."""

    retry_after = 50.0


class Letters:
    """An observer that keeps failures."""

    def __init__(self):
        self.failures = []

    def on_next(self, failure):
        """Keep it."""
        assert isinstance(failure, Failure)
        self.failures.append((failure.item, type(failure.error).__name__, failure.attempts))


class Work:
    """A function of batches; items fail so many times as it is told, others are good."""

    def __init__(self, error=Oops, /, **times):
        self.calls, self.times, self.error = [], times, error

    def __call__(self, batch):
        """One attempt; an item in capitals makes it raise."""
        self.calls.append("".join(batch))
        for item in batch:
            if item.isupper():
                raise self.error(item)
        return [self._result(item) for item in batch]

    def _result(self, item):
        left = self.times.get(item, 0)
        self.times[item] = left - 1
        return self.error(item) if left > 0 else item


def run(work, *batches, workers=1, for_=1000.0, **options):
    """What comes out of batches of letters, in virtual time."""
    scheduler = TestScheduler()
    with WorkerPool(workers, on=scheduler) as pool:
        through = pool.map_batches(work, **options)
        source = rx.of(*map(list, batches))
        out = scheduler.start(lambda: source.pipe(through), disposed=200.0 + for_)
        assert pool.report().in_flight == 0
    return [message.value for message in out.messages]


def text(messages):
    """Values in a row, and the end."""
    *values, end = messages
    return "".join(value.value for value in values) + {"C": "|", "E": "#"}[end.kind]


@pytest.mark.parametrize(
    ("order", "expected", "calls"),
    [
        ("completion", "acefbd|", ["abcd", "ef", "bd", "bd"]),
        ("input", "abcdef|", ["abcd", "ef", "b", "d", "b", "d"]),
        ("key", "acefbd|", ["abcd", "ef", "bd", "bd"]),
    ],
)
def test_those_items_alone_are_tried_again(order, expected, calls):
    """The others come out, and nothing is run twice that was good."""
    work = Work(b=2, d=2)
    key = {"key": lambda batch: batch[0]} if order == "key" else {}
    found = run(work, "abcd", "ef", order=order, retry=Retry(3, **QUICK), **key)
    assert text(found) == expected
    assert work.calls == calls


def test_until_there_are_no_more_attempts():
    """Then they have failed, each with its own error and as many attempts."""
    work, letters = Work(b=9, c=1), Letters()
    found = run(work, "abc", on_failure=letters, retry=Retry(3, **QUICK))
    assert text(found) == "ac|"
    assert work.calls == ["abc", "bc", "b"]
    assert letters.failures == [("b", "Oops", 3)]


def test_only_those_that_the_policy_is_for():
    """An error that it does not name is final at once."""
    work, letters = Work(b=1, c=1), Letters()
    chosen = Retry(3, **QUICK, on=lambda error: "b" in str(error))
    assert text(run(work, "abc", on_failure=letters, retry=chosen)) == "ab|"
    assert work.calls == ["abc", "b"]
    assert letters.failures == [("c", "Oops", 1)]


def test_what_the_policy_raises_is_the_failure():
    """Of the item that it was asked about."""
    letters = Letters()

    def on(error):
        if "b" in str(error):
            raise LookupError("mine")
        return True

    work = Work(b=1, c=1)
    assert text(run(work, "abc", on_failure=letters, retry=Retry(2, **QUICK, on=on))) == "ac|"
    assert letters.failures == [("b", "LookupError", 1)]


def test_a_batch_of_those_items_that_raises_is_halved():
    """As any other."""

    class Later(Work):
        def __call__(self, batch):
            if self.calls and "c" in batch:
                self.calls.append("".join(batch))
                raise Oops("c")
            return super().__call__(batch)

    work, letters = Later(b=1, c=9, d=1), Letters()
    options = {"bisect": True, "retry": Retry(2, **QUICK)}
    assert text(run(work, "abcd", on_failure=letters, **options)) in ("adb|", "abd|")
    assert letters.failures == [("c", "Oops", 2)]


def test_the_deadline_holds_for_them_alone():
    """What was good has come out before."""
    work, letters = Work(b=99), Letters()
    endless = Retry(max_attempts=None, delay=10, jitter=0, backoff="constant")
    found = run(work, "abc", on_failure=letters, retry=endless, deadline=35)
    assert text(found) == "ac|"
    assert letters.failures == [("b", "Oops", 4)]


def test_the_longest_wait_that_an_error_asks_for():
    """Of the item, and for all who share the limit."""
    work = Work(Busy, b=1)
    scheduler, limit = TestScheduler(), Limit(100, burst=100, jitter=0)
    with WorkerPool(2, on=scheduler) as pool:
        source, times = Subject(), []
        source.pipe(pool.map_batches(work, limit=limit, retry=2)).subscribe(
            lambda value: times.append((value, scheduler.clock))
        )
        source.on_next(["a", "b"])
        source.on_next(["c"])
        scheduler.advance_to(49.0)
        assert [value for value, _ in times] == ["a", "c"]
        scheduler.advance_to(60.0)
        assert times[-1][0] == "b"
        assert times[-1][1] >= 50.0


@pytest.mark.parametrize("shared", [False, True])
def test_the_longest_wait_of_several(shared):
    """Wherever in the batch it is asked for."""

    def busy(item):
        error = Oops(item)
        error.retry_after = {"a": 10.0, "b": 50.0, "c": 20.0}[item]
        return error

    scheduler = TestScheduler()
    options = {"limit": Limit(100, burst=100, jitter=0)} if shared else {}
    with WorkerPool(2, on=scheduler) as pool:
        source, times = Subject(), {}
        through = pool.map_batches(Work(busy, a=1, b=1, c=1), retry=2, **options)
        source.pipe(through).subscribe(lambda value: times.setdefault(value, scheduler.clock))
        source.on_next(["a", "b", "c"])
        scheduler.advance_to(1.0)
        source.on_next(["d"])
        scheduler.advance_to(49.0)
        assert list(times) == ([] if shared else ["d"])
        scheduler.advance_to(60.0)
        assert sorted(times) == ["a", "b", "c", "d"]
        assert min(times[each] for each in "abc") >= 50.0


def test_an_item_pauses_the_limit_where_nothing_is_tried_again():
    """What it asks for is heard without a retry, too."""
    work, scheduler = Work(Busy, b=9), TestScheduler()
    with WorkerPool(1, on=scheduler) as pool:
        source, times = Subject(), {}
        through = pool.map_batches(
            work, limit=Limit(100, burst=100, jitter=0), on_failure="skip"
        )
        source.pipe(through).subscribe(lambda value: times.setdefault(value, scheduler.clock))
        source.on_next(["a", "b"])
        scheduler.advance_to(1.0)
        source.on_next(["c"])
        scheduler.advance_to(60.0)
    assert sorted(times) == ["a", "c"]
    assert times["a"] < 1.0
    assert times["c"] >= 50.0


def test_a_budget_is_asked_once_for_each_batch():
    """It counts calls, and that is one more of them."""
    work = Work(**dict.fromkeys("abcdefgh", 1))
    found = run(work, "abcdefgh", retry=Retry(2, **QUICK, budget=0.0))
    assert text(found) == "abcdefgh|"
    assert work.calls == ["abcdefgh"] * 2


@pytest.mark.parametrize(("bad", "state"), [("ab", "open"), ("a", "closed")])
def test_a_breaker_counts_items(bad, state):
    """Half of the items of each batch, or a quarter."""
    breaker = CircuitBreaker(minimum_number_of_calls=20, sliding_window_size=20)
    work = Work(**dict.fromkeys(bad, 99))
    run(work, *["abcd"] * 6, breaker=breaker, on_failure="skip")
    assert breaker.state == state


def test_a_batch_that_raises_counts_as_its_items():
    """A good one of the same size outweighs it."""
    breaker = CircuitBreaker(minimum_number_of_calls=8, sliding_window_size=100)
    run(Work(), "abcdef", "A", breaker=breaker, on_failure="skip")
    assert breaker.metrics().failed == 1
    assert breaker.metrics().calls == 7
    run(Work(), "ABCDEF", breaker=breaker, on_failure="skip")
    assert breaker.state == "open"


@pytest.mark.parametrize(("bad", "state"), [("bc", "open"), ("b", "closed")])
def test_a_probe_is_what_most_of_its_items_are(bad, state):
    """It reports once, however many items it is for."""
    breaker = CircuitBreaker(
        minimum_number_of_calls=1,
        permitted_number_of_calls_in_half_open_state=1,
        wait_duration_in_open_state=10,
    )
    scheduler = TestScheduler()
    with WorkerPool(1, on=scheduler) as pool:
        source = Subject()
        work = Work(**dict.fromkeys(bad, 99))
        source.pipe(pool.map_batches(work, breaker=breaker, on_failure="skip")).subscribe()
        source.on_next(["A"])
        scheduler.advance_to(5.0)
        assert breaker.state == "open"
        scheduler.advance_to(11.0)
        source.on_next(["a", "b", "c"])
        scheduler.advance_to(12.0)
        assert work.calls == ["A", "abc"]
        assert breaker.state == state


def test_on_threads_and_processes_nothing_is_lost():
    """Many batches at once, each with items that fail once."""
    for on in ("threads", "processes", "asyncio"):
        with WorkerPool(3, on=on) as pool:
            batches = rx.from_iterable([[n, n + 1] for n in range(0, 200, 2)])
            through = pool.map_batches(odd_ones_fail_once, retry=Retry(3, delay=0.001))
            assert sorted(collect(batches.pipe(through))) == list(range(200))


def odd_ones_fail_once(batch):
    """Fail those that come with others."""
    return [Oops(n) if n % 2 and len(batch) > 1 else n for n in batch]


def test_the_error_of_a_whole_batch_is_asked_once_for_a_pause():
    """Not once for each item: that is the user's code."""
    asked = []

    class Busy(Exception):
        @property
        def retry_after(self):
            asked.append(1)
            return 0.001

    failures = [Busy()]

    def fn(batch):
        if failures:
            raise failures.pop()
        return batch

    with WorkerPool(1) as pool:
        given = rx.of(list(range(50)))
        found = collect(given.pipe(pool.map_batches(fn, limit=Limit(1000), retry=2)))
    assert found == list(range(50))
    assert len(asked) == 2  # by the limit, and by the retry


def test_what_some_items_failed_with_is_the_type_that_is_told():
    """Not a name of our own for that."""
    kinds = []
    with WorkerPool(1) as pool:
        pool.attempts.subscribe(lambda attempt: kinds.append(attempt.error))
        given = rx.of([1, 2])
        collect(
            given.pipe(
                pool.map_batches(
                    lambda batch: [batch[0], ValueError("odd")], retry=1, on_failure="skip"
                )
            )
        )
    assert kinds == ["ValueError: odd"]
