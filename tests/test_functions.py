"""``is_async``: whether calling a thing gives a coroutine, however it is dressed."""

import asyncio
import functools
import inspect
from unittest.mock import AsyncMock

import pytest

from rxpool import PerformanceMonitor, guarded
from rxpool._core.functions import is_async


async def coroutine(item=None):
    """The plain case."""
    return item


def plain(item=None):
    """No coroutine."""
    return item


async def generator():
    """Gives an async iterator, which nobody awaits."""
    yield 1


class Calls:
    """Objects whose call is async, and other methods of both kinds."""

    async def __call__(self, item=None):
        return item

    async def method(self):
        """Bound."""

    @classmethod
    async def of_class(cls):
        """Bound to the class."""

    @staticmethod
    async def static():
        """Not bound."""

    def plain(self):
        """No coroutine."""


class Plain:
    """Objects whose call is not async, whatever else they have."""

    def __call__(self, item=None):
        return item

    async def method(self):
        """Not what is called."""


class Slotted(Plain):
    """An attribute of an object is not what a call looks at."""

    def __init__(self):
        self.__call__ = coroutine


class Meta(type):
    """Whatever it is: its classes make objects."""


@functools.wraps(coroutine)
def returns_it(*args):
    """The wrapper of most decorators."""
    return coroutine(*args)


@functools.wraps(coroutine)
def runs_it(*args):
    """That of some."""
    return asyncio.run(coroutine(*args))


@functools.wraps(plain)
async def wraps_plain(*args):
    """The other way round."""
    return plain(*args)


def endless():
    """A wrapper of itself."""


endless.__wrapped__ = endless


async def answer():
    """A coroutine function."""
    return 7


class Answer:
    """An object that is one."""

    async def __call__(self):
        return 7


CASES = [
    # what is called                              async  with wrapped=True
    (coroutine, True, True),
    (plain, False, False),
    (generator, False, False),
    (lambda: coroutine(), False, False),
    (Calls(), True, True),
    (Calls, False, False),
    (Calls().method, True, True),
    (Calls.method, True, True),
    (Calls.of_class, True, True),
    (Calls.static, True, True),
    (Calls().plain, False, False),
    (Plain(), False, False),
    (Plain().method, True, True),
    (Slotted(), False, False),
    (Meta("Made", (), {}), False, False),
    (functools.partial(coroutine, 1), True, True),
    (functools.partial(functools.partial(coroutine), 1), True, True),
    (functools.partial(plain, 1), False, False),
    (functools.partial(Calls(), 1), True, True),
    (functools.partial(Calls().method), True, True),
    (returns_it, False, True),
    (runs_it, False, True),
    (functools.partial(returns_it, 1), False, True),
    (wraps_plain, True, True),
    (AsyncMock(), True, True),
    (endless, False, False),
    (len, False, False),
    (str.upper, False, False),
    (dict, False, False),
    (None, False, False),
    (7, False, False),
]


@pytest.mark.parametrize(("function", "found", "wrapped"), CASES)
def test_is_async(function, found, wrapped):
    """The table."""
    assert is_async(function) is found
    assert is_async(function, wrapped=True) is wrapped


ASYNC = [functools.partial(coroutine, 7), functools.partial(Calls(), 7), Answer(), answer]


@pytest.mark.parametrize("function", ASYNC)
def test_all_who_ask_agree(function):
    """What is dressed in something is async as before, and gives the same."""
    for dressed in (guarded(function, retry=2), PerformanceMonitor().timed("call")(function)):
        assert inspect.iscoroutinefunction(dressed)
        assert asyncio.run(dressed()) == 7


def test_a_class_is_called_for_its_objects():
    """Whatever those do when they are called in turn."""
    assert isinstance(guarded(Calls)(), Calls)
