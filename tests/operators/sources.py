"""Sources and items in virtual time, for tests of operators."""

from reactivex.testing import ReactiveTest

on_next, on_error = ReactiveTest.on_next, ReactiveTest.on_error
on_completed, subscribe = ReactiveTest.on_completed, ReactiveTest.subscribe
BOOM = RuntimeError("boom")


def items(*times):
    """A hot source of 1, 2, 3, … at these ticks."""
    return [on_next(time, number) for number, time in enumerate(times, 1)]


def by_first(item):
    return item[0]
