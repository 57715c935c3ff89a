"""`BatchProcessor(bisect=True)` and `@batched(bisect=True)`: only the bad items fail."""

import asyncio

import pytest

from rxpool import BatchProcessor, InvalidArgument, batched
from rxpool.errors import BatchSizeError
from rxpool.faces._queue import QueueState
from tests.faces.bench import Bench


class Bad(Exception):
    """What the function raises."""


def all_or_nothing(bad):
    """A function that raises if one of *bad* is among the items."""

    def answer(items):
        if hit := [item for item in items if item in bad]:
            raise Bad(hit)
        return [item * 10 for item in items]

    return answer


def ends(bench):
    """By item: its result, or its error as text."""
    return {item: str(end) if isinstance(end, Bad) else end for _, item, end in bench.settled}


@pytest.mark.parametrize("bad", [(), (1,), (4,), (2, 5), (1, 2, 3, 4, 5, 6)])
def test_only_bad_items_fail(bad):
    """Each with its own error; the books add up."""
    bench = Bench(all_or_nothing(bad), max_size=6, bisect=True)
    bench.at(*[(1, n) for n in range(1, 7)])
    bench.scheduler.advance_to(50)
    assert ends(bench) == {n: f"[{n}]" if n in bad else n * 10 for n in range(1, 7)}
    books = bench.books()
    assert (books.failed, books.succeeded, books.running) == (len(bad), 6 - len(bad), 0)
    assert books.batches == 1
    assert books.retry_wait_seconds == 0


def test_halves_come_at_once_and_in_order():
    """Before batches that wait, left before right."""
    bench = Bench(all_or_nothing({2}), max_size=4, bisect=True)
    bench.at(*[(1, n) for n in range(1, 9)])
    bench.scheduler.advance_to(50)
    assert [items for _, items in bench.begun] == [
        [1, 2, 3, 4],
        [1, 2],
        [1],
        [2],
        [3, 4],
        [5, 6, 7, 8],
    ]


def test_without_it_all_fail():
    """As before."""
    bench = Bench(all_or_nothing({2}), max_size=4)
    bench.at(*[(1, n) for n in range(1, 5)])
    bench.scheduler.advance_to(50)
    assert set(ends(bench).values()) == {"[2]"}


def test_retries_come_first():
    """The whole batch, all attempts; then each half has as many."""
    bench = Bench(all_or_nothing({2}), max_size=2, bisect=True, retry=2)
    bench.at((1, 1), (1, 2))
    bench.scheduler.advance_to(50)
    assert [items for _, items in bench.begun] == [[1, 2], [1, 2], [1], [2], [2]]
    assert ends(bench) == {1: 10, 2: "[2]"}


def test_items_that_fail_by_themselves_are_not_halved():
    """The function has told which; those alone are tried again."""
    bench = Bench(
        lambda items: [Bad(items) if n == 2 else n for n in items], max_size=4, bisect=True
    )
    bench.at(*[(1, n) for n in range(1, 5)])
    bench.scheduler.advance_to(50)
    assert len(bench.begun) == 1


def test_a_wrong_number_of_results():
    """Is found down to the item that gives none."""
    bench = Bench(lambda items: [n for n in items if n != 3], max_size=4, bisect=True)
    bench.at(*[(1, n) for n in range(1, 5)])
    bench.scheduler.advance_to(50)
    found = {item: end for _, item, end in bench.settled}
    assert isinstance(found.pop(3), BatchSizeError)
    assert found == {1: 1, 2: 2, 4: 4}


def test_what_is_no_exception_is_for_all():
    """The end of the program is not asked for again and again."""
    tried = []

    def fail(items):
        tried.append(items)
        raise SystemExit

    with BatchProcessor(fail, max_size=4, bisect=True) as processor:
        futures = [processor.add(n) for n in range(4)]
        assert all(isinstance(future.exception(10), SystemExit) for future in futures)
    assert len(tried) == 1


def test_terminated_between_the_halves():
    """Those that wait for their turn fail like others."""
    from rxpool import PoolClosed, TaskCancelled

    def answer(items):
        if items == [1, 2]:
            raise Bad
        bench.processor.__exit__(KeyError, KeyError(), None)
        return items

    bench = Bench(answer, max_size=2, bisect=True)
    bench.at((1, 1), (1, 2))
    bench.scheduler.advance_to(50)
    assert {type(end) for _, _, end in bench.settled} <= {PoolClosed, TaskCancelled}
    assert len(bench.settled) == 2


def test_batched():
    """The decorator, for both kinds of functions."""

    @batched(max_size=3, max_delay=1, bisect=True)
    def now(items: list[int]) -> list[int]:
        return all_or_nothing({2})(items)

    @batched(max_size=3, max_delay=1, bisect=True)
    async def later(items: list[int]) -> list[int]:
        return all_or_nothing({2})(items)

    async def main():
        calls = [later(n) for n in (1, 2, 3)]
        results = await asyncio.gather(*calls, return_exceptions=True)
        await later.processor.aclose()
        return results

    calls = [now(n) for n in (1, 2, 3)]
    assert [calls[0].result(10), calls[2].result(10)] == [10, 30]
    assert isinstance(calls[1].exception(10), Bad)
    now.close()
    first, second, third = asyncio.run(main())
    assert (first, third) == (10, 30)
    assert isinstance(second, Bad)


def test_it_is_a_flag():
    """Refused where it is written."""
    with pytest.raises(InvalidArgument, match="bisect must be"):
        BatchProcessor(list, bisect=2)
    with pytest.raises(InvalidArgument, match="bisect must be"):
        batched(bisect="yes")(list)


def test_the_state():
    """Halves keep the calls and their time, and come before all others."""
    queue = QueueState(3, 1.0, 1)
    for call in range(6):
        queue.filling.offer(call, 0.0, None, True)
    whole = queue.take(2.0)
    whole.begun = True
    queue.end(whole)
    queue.halve(whole)
    halves = []
    while (batch := queue.take(3.0)) is not None:
        halves.append((batch.calls, batch.attempts, batch.begun, batch.since))
        queue.end(batch)
    assert halves == [
        ([0], 1, True, 2.0),
        ([1, 2], 1, True, 2.0),
        ([3, 4, 5], 1, False, 3.0),
    ]
