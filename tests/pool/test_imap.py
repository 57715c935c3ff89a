"""`imap` on threads: how far it reads, its order, its failures and its end."""

import asyncio
import threading
from collections import Counter

import pytest
import reactivex as rx
from reactivex.observer import Observer

from rxpool import WorkerPool
from tests.pool.crew import balanced, open_gate
from tests.waiting import WAIT


@pytest.mark.parametrize("order", ["completion", "input"])
def test_imap_reads_its_input_lazily(order):
    """Never more is read ahead than the workers and `max_pending` hold."""
    state = Counter()

    def source():
        for n in range(500):
            state["read"] += 1
            state["most"] = max(state["most"], state["read"] - state["returned"])
            yield n

    with WorkerPool(2) as pool:
        got = []
        options = {"max_reorder": 4} if order == "input" else {}
        for value in pool.imap(lambda n: n, source(), order=order, max_pending=5, **options):
            got.append(value)
            state["returned"] += 1
    assert sorted(got) == list(range(500))
    # Those whose result has not been returned: running, waiting, done, one in hand.
    assert state["most"] <= {"completion": 2 + 5 + 1, "input": 4 + 5 + 1}[order]


def test_imap_reads_nothing_before_it_is_asked():
    """Making the iterator reads no input."""
    with WorkerPool(1) as pool:
        source = iter(range(5))
        results = pool.imap(str, source)
        assert next(source) == 0
        assert list(results) == ["1", "2", "3", "4"]


@pytest.mark.parametrize("pending", [0, 2, 1024])
@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.usefixtures("frantic")
def test_imap_under_stress(workers, pending):
    """However waiting for results races with results, each comes once, and nobody waits on."""
    with WorkerPool(workers, max_pending=pending) as pool:
        for _ in range(20):
            assert sorted(pool.imap(lambda n: n, range(60))) == list(range(60))


def test_imap_in_input_order():
    """Results in the order of the input."""
    with WorkerPool(4) as pool:
        assert list(pool.imap(lambda n: n * n, range(1000), order="input")) == [
            n * n for n in range(1000)
        ]


def test_imap_of_nothing():
    """An empty input gives an empty iterator."""
    with WorkerPool(1) as pool:
        assert list(pool.imap(str, [])) == []


@pytest.mark.parametrize("way", ["break", "del", "close", "with"])
def test_leaving_imap_cancels_the_rest(way):
    """Leaving the loop, dropping the iterator and closing it cancel what is not done."""
    gate = threading.Event()
    with WorkerPool(1) as pool:

        def fn(n):
            return open_gate(gate) if n == 3 else n

        match way:
            case "break":
                for value in pool.imap(fn, range(100), max_pending=5, order="input"):
                    if value == 2:
                        break
            case "del":
                results = pool.imap(fn, range(100), max_pending=5)
                assert [next(results) for _ in range(3)] == [0, 1, 2]
                del results
            case "close":
                results = pool.imap(fn, range(100), max_pending=5)
                assert [next(results) for _ in range(3)] == [0, 1, 2]
                results.close()
                assert list(results) == []
            case "with":
                with pool.imap(fn, range(100), max_pending=5) as results:
                    assert [next(results) for _ in range(3)] == [0, 1, 2]
                assert list(results) == []
        report = balanced(pool)
        assert report.succeeded == 3
        assert report.cancelled == report.accepted - 3 > 0
        # A replaced thread serves others while the old one still hangs.
        assert pool.submit(str, 1).result(WAIT) == "1"
        gate.set()


def test_imap_raises_the_first_failure_and_ends():
    """By default a failed item ends the iteration with its error."""
    with WorkerPool(1) as pool:
        results = pool.imap(lambda n: 1 // n, [1, 0, 1, 1])
        assert next(results) == 1
        with pytest.raises(ZeroDivisionError):
            next(results)
        assert list(results) == []
    balanced(pool)


def test_imap_with_failures_left_out_or_put_aside():
    """`on_failure` is that of `map`."""
    letters = []
    with WorkerPool(2) as pool:
        options = {"on_failure": "skip", "order": "input"}
        assert list(pool.imap(lambda n: 6 // n, [1, 0, 2], **options)) == [6, 3]
        results = pool.imap(lambda n: 6 // n, [1, 0, 2], on_failure=Observer(letters.append))
        assert sorted(results) == [3, 6]
    assert [failure.item for failure in letters] == [0]


def test_imap_of_functions_that_give_several_results():
    """The items of an Observable are results one by one."""
    with WorkerPool(1) as pool:
        assert list(pool.imap(lambda n: rx.of(n, -n), [1, 2])) == [1, -1, 2, -2]


def test_imap_from_asyncio():
    """``async for`` over results leaves the loop free and ends as the loop does."""

    async def main():
        ticks = 0

        async def tick():
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        clock = asyncio.create_task(tick())
        async with WorkerPool(2) as pool:
            got = [value async for value in pool.imap(lambda n: n + 1, range(100))]
            assert sorted(got) == list(range(1, 101))
            with pytest.raises(ZeroDivisionError):
                async for _ in pool.imap(lambda n: 1 // n, [1, 0], concurrency=1):
                    pass
            gate = threading.Event()
            results = aiter(pool.imap(lambda n: n and open_gate(gate), range(9), concurrency=1))
            assert await anext(results) == 0
            await results.aclose()
            gate.set()
        clock.cancel()
        assert ticks > 0
        assert balanced(pool).cancelled == 8

    asyncio.run(main())
