"""The kinds of functions that a pool on an event loop takes."""

import asyncio
import functools
import threading

import pytest
import reactivex as rx
from reactivex.subject import Subject

from rxpool import TaskTimeout
from tests.backends.loop_pools import Oops, collect, increment
from tests.waiting import WAIT


class Doubler:
    """Callable, bound, static: all async."""

    async def __call__(self, number):
        return 2 * number

    async def method(self, number):
        """Bound."""
        return 2 * number


def thread_of(number):
    """A plain function."""
    return threading.current_thread()


async def thread_later(number):
    """An async one."""
    return threading.current_thread()


@functools.wraps(thread_later)
def wrapped(number):
    """An async function inside another."""
    return thread_later(number)


async def double(number):
    """Async."""
    return 2 * number


@pytest.mark.parametrize(
    "function",
    [
        Doubler(),
        Doubler().method,
        functools.partial(double),
        functools.partial(Doubler().method),
        lambda number: 2 * number,
        lambda number: double(number),
        lambda number: asyncio.wait_for(double(number), 1),
        functools.partial(int.__mul__, 2),
    ],
    ids=["object", "method", "partial", "bound partial", "plain", "lambda", "wait_for", "C"],
)
def test_any_function_will_do(run, function):
    """What it returns is awaited if it can be."""
    assert sorted(run(lambda pool: list(pool.imap(function, range(5))), 2)) == [0, 2, 4, 6, 8]
    assert run(lambda pool: pool.submit(function, 4).result(WAIT), 2) == 8


def test_plain_functions_run_on_threads(run):
    """And others, however wrapped, on the loop."""

    def use(pool):
        return [
            pool.submit(function, 1).result(WAIT)
            for function in (thread_of, thread_later, wrapped, functools.partial(thread_later))
        ]

    plain, *others = run(use, 2)
    assert plain not in others
    assert len(set(others)) == 1


def test_plain_functions_run_at_once(run):
    """As many as there are workers."""
    meet = threading.Barrier(3, timeout=WAIT)
    assert len(run(lambda pool: list(pool.imap(lambda n: meet.wait(), range(6))), 3)) == 6


def test_items_of_observables(run):
    """They are results; of `submit` the list of them is."""

    def use(pool):
        several = list(pool.imap(lambda n: rx.from_iterable(range(n)), [1, 2, 3]))
        return sorted(several), pool.submit(lambda: rx.of(1, 2)).result(WAIT)

    assert run(use, 2) == ([0, 0, 0, 1, 1, 2], [1, 2])


def test_an_observable_that_fails(run):
    """Its error is the item's."""
    failed = rx.throw(Oops("no"))
    with pytest.raises(Oops):
        run(lambda pool: pool.submit(lambda: failed).result(WAIT), 2)


def test_an_observable_is_disposed_when_its_task_is_cancelled(run):
    """Its source is let go."""
    source = Subject()

    def use(pool):
        seen = []
        pool.pull([1]).pipe(pool.outcomes(lambda n: source, timeout=0.05)).subscribe(
            seen.append
        )
        while not seen:
            threading.Event().wait(0.001)
        return seen[0].error, source.observers

    error, observers = run(use, 1)
    assert isinstance(error, TaskTimeout)
    assert observers == []


@pytest.mark.parametrize(
    "error", [Oops("x"), SystemExit(3), StopIteration(1), KeyboardInterrupt()]
)
@pytest.mark.parametrize("how", ["async", "plain"])
def test_whatever_it_raises_is_the_failure_of_the_item(run, error, how):
    """The loop lives on."""

    def plain(number):
        raise error

    async def later(number):
        raise error

    def use(pool):
        outcomes, _ = collect(rx.of(1).pipe(pool.outcomes(plain if how == "plain" else later)))
        return outcomes[0].error, pool.submit(increment, 1).result(WAIT)

    found, after = run(use, 1)
    assert after == 2
    expected = RuntimeError if isinstance(error, StopIteration) else type(error)
    assert isinstance(found, expected)
