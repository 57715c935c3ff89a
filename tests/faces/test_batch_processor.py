"""`BatchProcessor`: one regression test per known defect of hand-written ones, B1 to B18.

Virtual time: ticks are seconds, and plain functions run at the tick at which they start.
"""

import pytest

from rxpool.errors import (
    BatchSizeError,
    InvalidArgument,
    InvalidArgumentType,
    PoolClosed,
    TaskCancelled,
    WouldBlock,
)
from rxpool.faces import BatchProcessor
from tests.faces.bench import BOOM, Bench


def test_b1_the_function_gets_the_items():
    """Not what they are wrapped in; and each future gets its own result."""
    bench = Bench(max_size=2)
    bench.at((1, 1), (2, 2))
    bench.scheduler.advance_to(9)
    assert bench.begun == [(2, [1, 2])]
    assert bench.settled == [(2, 1, 10), (2, 2, 20)]
    assert bench.books().succeeded == 2


def test_b2_an_error_reaches_every_caller():
    """All of the batch, and nobody else: the next batch is not touched."""

    def answer(items):
        if 1 in items:
            raise BOOM
        return items

    bench = Bench(answer, max_size=2)
    bench.at((1, 1), (2, 2), (3, 3), (4, 4))
    bench.scheduler.advance_to(9)
    assert bench.settled == [(2, 1, BOOM), (2, 2, BOOM), (4, 3, 3), (4, 4, 4)]
    m = bench.books()
    assert (m.succeeded, m.failed, m.attempts, m.failed_attempts) == (2, 2, 2, 1)


def test_b3_it_never_stalls():
    """The timer is set again for every batch, also for one opened while another ran."""
    bench = Bench(takes=5, max_size=2, max_delay=3)
    bench.at((1, 1), (2, 2), (4, 3), (20, 4))
    bench.scheduler.advance_to(60)
    assert bench.begun == [(2, [1, 2]), (7, [3]), (23, [4])]
    assert [tick for tick, _, _ in bench.settled] == [7, 7, 12, 28]


def test_b4_no_batch_is_over_the_maximum():
    """What came while another ran is cut into batches, and the next one starts at once."""
    bench = Bench(takes=10, max_size=2, max_delay=100)
    bench.at(*[(1 + i / 10, i) for i in range(7)])
    bench.scheduler.advance_to(200)
    assert [items for _, items in bench.begun] == [[0, 1], [2, 3], [4, 5], [6]]
    assert [tick for tick, _ in bench.begun] == pytest.approx([1.1, 11.1, 21.1, 101.6])


def test_b5_the_delay_is_a_bound_from_the_first_item():
    """A slow batch before does not start the delay of the next one anew."""
    bench = Bench(takes=10, max_size=100, max_delay=4)
    bench.at((1, 1), (5.5, 2), (6, 3), (14, 4))
    bench.scheduler.advance_to(60)
    # 2 and 3 are overdue when the first batch ends at 15, and 4 goes along.
    assert bench.begun == [(5, [1]), (15, [2, 3, 4])]


@pytest.mark.parametrize(("retry", "attempts"), [(None, 1), (1, 1), (3, 3)])
def test_b6_so_many_attempts(retry, attempts):
    """The function is called once at least, and as often as told."""

    def answer(items):
        raise BOOM

    bench = Bench(answer, max_size=1, retry=retry)
    bench.at((1, 1))
    bench.scheduler.advance_to(9)
    assert bench.begun == [(1, [1])] * attempts
    assert bench.settled == [(1, 1, BOOM)]


class Waits:
    """Waits 2, 4, 6, … seconds; gives up after *most* attempts."""

    def __init__(self, most):
        self.most = most
        self.asked = []

    def wait_before_next(self, attempts, error, elapsed, random):
        assert 0 <= random < 1
        self.asked.append((attempts, error, elapsed))
        return None if attempts == self.most else 2.0 * attempts


def test_b7_no_wait_after_the_last_attempt():
    """Attempts at 1, 3 and 7; the failure is known at 7."""

    def answer(items):
        raise BOOM

    waits = Waits(3)
    bench = Bench(answer, max_size=2, retry=waits)
    bench.at((0, 1), (1, 2))
    bench.scheduler.advance_to(60)
    assert [tick for tick, _ in bench.begun] == [1, 3, 7]
    assert bench.settled == [(7, 1, BOOM), (7, 2, BOOM)]
    assert waits.asked == [(1, BOOM, 0), (2, BOOM, 2), (3, BOOM, 6)]
    assert bench.books().retry_wait_seconds == 6


def test_b8_only_what_failed_is_repeated():
    """And while it waits for that, other batches run."""
    flaky = {1: 2, 3: 9}  # item: how often it fails

    def answer(items):
        results = []
        for item in items:
            left = flaky.get(item, 0)
            flaky[item] = left - 1
            results.append(ValueError(item) if left > 0 else item)
        return results

    bench = Bench(answer, max_size=3, retry=Waits(3))
    bench.at(*[(1, i) for i in range(6)])
    bench.scheduler.advance_to(60)
    assert bench.begun == [
        (1, [0, 1, 2]),
        (1, [3, 4, 5]),
        (3, [1]),
        (3, [3]),
        (7, [1]),
        (7, [3]),
    ]
    ends = [(tick, item, type(end)) for tick, item, end in bench.settled]
    assert ends[:4] == [(1, 0, int), (1, 2, int), (1, 4, int), (1, 5, int)]
    assert ends[4:] == [(7, 1, int), (7, 3, ValueError)]
    assert (bench.books().batches, bench.books().attempts) == (2, 6)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ([1], "got 1 results for a batch of 2"),
        ([1, 2, 3], "got 3 results for a batch of 2"),
        ([], "got 0 results for a batch of 2"),
        (None, "must return a list, got None"),
        ("ab", "must return a list, got 'ab'"),
        ({1: 2, 3: 4}, "must return a list"),
    ],
)
def test_b9_another_number_of_results_is_an_error(given, words):
    """For every item of the batch, naming both numbers; and it is not tried again."""
    bench = Bench(lambda items: given, max_size=2, retry=5)
    bench.at((1, 1), (1, 2))
    bench.scheduler.advance_to(9)
    assert [type(end) for _, _, end in bench.settled] == [BatchSizeError] * 2
    assert words in str(bench.settled[0][2])
    assert bench.books().attempts == 1


def test_b10_one_bad_item_fails_alone():
    """An exception in the place of a result is that item's failure; None is a result."""
    bench = Bench(lambda items: [None, BOOM, 3], max_size=3)
    bench.at((1, 1), (1, 2), (1, 3))
    bench.scheduler.advance_to(9)
    assert bench.settled == [(1, 1, None), (1, 2, BOOM), (1, 3, 3)]


def test_b11_a_failing_observer_changes_no_result(caplog):
    """It is logged."""

    def on_progress(progress):
        raise BOOM

    bench = Bench(max_size=2, on_progress=on_progress)
    bench.at((1, 1), (1, 2), (2, 3), (2, 4))
    bench.scheduler.advance_to(3)
    assert [end for _, _, end in bench.settled] == [10, 20, 30, 40]
    assert "on_progress raised" in caplog.text


def test_b12_figures_tell_attempts_from_waits():
    """Failed attempts are counted, and their time is not mixed with that of waits."""
    left = [1]

    def answer(items):
        return [BOOM if left and left.pop() else 1]

    bench = Bench(answer, takes=5, max_size=1, retry=Waits(3))
    bench.at((1, 1))
    bench.scheduler.advance_to(60)
    m = bench.books()
    assert (m.attempts, m.attempt_seconds, m.retry_wait_seconds) == (2, 10, 2)
    assert (m.batches, m.failed_attempts, m.succeeded) == (1, 0, 1)


def test_b13_progress_is_told():
    """After each batch: what is settled, of how many."""
    told = []
    bench = Bench(
        lambda items: [BOOM if item == 2 else item for item in items],
        max_size=2,
        max_delay=5,
        on_progress=lambda p: told.append((p.succeeded, p.failed, p.accepted, p.fraction)),
    )
    bench.at((1, 1), (1, 2), (1, 3))
    bench.scheduler.advance_to(9)
    assert told == [(1, 1, 3, 2 / 3), (2, 1, 3, 1.0)]


def test_b14_so_many_at_once_and_so_many_waiting():
    """`max_in_flight` batches run; with `max_pending` items waiting nobody gets in."""
    bench = Bench(takes=10, max_size=1, max_in_flight=2, max_pending=3)
    bench.at(*[(1, i) for i in range(5)])
    assert (bench.books().running, bench.processor.pending) == (2, 3)
    with pytest.raises(WouldBlock, match=r"3 calls wait already.*add_async"):
        bench.processor.add(9)
    bench.scheduler.advance_to(60)
    assert [tick for tick, _ in bench.begun] == [1, 1, 11, 11, 21]


def test_b15_flush_and_close():
    """`flush` starts the open batch; `close` does too, then refuses more."""
    bench = Bench(takes=5, max_size=9, max_delay=100)
    bench.at((1, 1))
    bench.processor.flush()
    bench.at((3, 2))
    assert bench.processor.close() is False  # nobody can wait in virtual time
    with pytest.raises(PoolClosed, match="BatchProcessor is closed"):
        bench.processor.add(3)
    bench.scheduler.advance_to(90)
    assert bench.begun == [(1, [1]), (6, [2])]
    assert bench.settled == [(6, 1, 10), (11, 2, 20)]
    assert bench.processor.close() is True


def test_b15_leaving_by_an_error_settles_every_caller():
    """What waits is cancelled, what runs fails; a late end of it changes nothing."""
    bench = Bench(takes=5, max_size=1)

    def leave():
        with bench.processor:
            bench.at((1, 1), (2, 2))
            raise KeyError

    with pytest.raises(KeyError):
        leave()
    assert [(item, end) for _, item, end in bench.settled if item == 2] == [(2, "cancelled")]
    assert isinstance(bench.settled[-1][2], TaskCancelled)
    bench.scheduler.advance_to(90)
    assert len(bench.settled) == 2
    m = bench.books()
    assert (m.cancelled, m.failed) == (1, 1)


def test_b16_the_clock_is_the_schedulers():
    """No wall clock: in virtual time the figures are whole ticks."""
    bench = Bench(takes=7, max_size=1)
    bench.at((1, 1))
    bench.scheduler.advance_to(50)
    assert bench.books().attempt_seconds == 7


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"max_size": 0}, "max_size must be 1 or more, got 0"),
        ({"max_delay": 0}, "max_delay must be finite and greater than 0, got 0"),
        ({"max_delay": float("nan")}, "max_delay must be finite"),
        ({"max_in_flight": 0}, "max_in_flight must be 1 or more, got 0"),
        ({"max_pending": 0}, "max_pending must be 1 or more, got 0"),
        ({"retry": 0}, "retry must be 1 or more, got 0"),
        ({"retry": 1.5}, "retry must be a whole number or have wait_before_next, got 1.5"),
        ({"on_progress": 1}, "on_progress must be callable, got 1"),
        ({"scheduler": 1}, "scheduler must be a reactivex scheduler, got 1"),
        ({"pool": 1}, "pool must be a WorkerPool, got 1"),
    ],
)
def test_b18_bad_options_are_refused_at_once(options, words):
    """With the value in the message."""
    with pytest.raises(InvalidArgument, match=words):
        BatchProcessor(list, **options)


def test_no_function():
    """Nor is what cannot be called taken."""
    with pytest.raises(InvalidArgumentType, match="fn must be callable, got 3"):
        BatchProcessor(3)


# -- cancelling ---------------------------------------------------------------------------


def test_cancelling_takes_an_item_out():
    """Before its batch began; afterwards it cannot be cancelled."""
    bench = Bench(takes=5, max_size=3, max_delay=4)
    futures = bench.at((1, 1), (2, 2))
    assert futures[1].cancel()
    assert futures[1].cancel()  # twice is no mistake
    bench.scheduler.advance_to(6)
    assert not futures[2].cancel()
    assert futures[2].running()
    bench.scheduler.advance_to(30)
    assert bench.begun == [(5, [2])]
    assert bench.settled == [(2, 1, "cancelled"), (10, 2, 20)]
    assert bench.books().cancelled == 1


def test_a_batch_of_cancelled_items_is_none():
    """It takes no place and no call."""
    bench = Bench(takes=9, max_size=2, max_delay=50)
    futures = bench.at((1, 1), (1, 2), (1, 3), (1, 4), (1, 5))
    futures[3].cancel()
    futures[4].cancel()
    bench.scheduler.advance_to(99)
    assert bench.begun == [(1, [1, 2]), (51, [5])]


def test_cancelled_items_leave_nothing_behind():
    """While a batch hangs, added and cancelled items do not pile up."""
    bench = Bench(takes=999, max_size=2)
    bench.at((1, 1), (1, 2))
    for item in range(2000):
        bench.processor.add(item).cancel()
    bench.at((2, "last"))
    queue = bench.processor._batching._queue
    assert sum(map(len, queue._full)) < 140
    bench.scheduler.advance_to(1001)
    assert bench.begun[1:] == [(1000, ["last"])]


# -- threads and loops ----------------------------------------------------------------------


def test_waiting_in_virtual_time_is_refused():
    """Time stands still there, so the result would never come."""
    bench = Bench(max_size=2)
    future = bench.add(1)
    with pytest.raises(WouldBlock, match="advance the scheduler"):
        future.result()
