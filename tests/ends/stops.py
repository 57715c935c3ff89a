"""Errors that mean an end to Python itself, and what becomes of them."""

import asyncio

from rxpool.errors import RemoteError
from tests import jobs

STOPS = (StopIteration, StopAsyncIteration)
FATES = (*STOPS, GeneratorExit, KeyboardInterrupt, SystemExit, asyncio.CancelledError)


def check(error, kind, lane=None):
    """*error* is what a user is to see where *kind* was raised."""
    if issubclass(kind, STOPS):
        assert type(error) is RuntimeError
        assert f"raised {kind.__name__}" in str(error)
        causes = []
        while error.__cause__ is not None:
            error = error.__cause__
            causes.append(error)
        assert any(isinstance(each, kind) or kind.__name__ in str(each) for each in causes)
    elif isinstance(error, RemoteError):
        # Stands for what would end the worker of somebody else's executor.
        assert not lane.sends_all
        assert error.type_name.rpartition(".")[2] == kind.__name__
    else:
        assert type(error) is kind


def raised(call, *args):
    """What *call* raises."""
    try:
        value = call(*args)
    except BaseException as error:
        return error
    raise AssertionError(f"nothing was raised, got {value!r}")


async def raised_by(awaitable):
    """What waiting for *awaitable* raises; it is told apart from the end of this task."""
    try:
        value = await awaitable
    except BaseException as error:
        return error
    raise AssertionError(f"nothing was raised, got {value!r}")


def drain(step):
    """The values that calling *step* gives before it raises, and what it raises."""
    values = []
    try:
        while True:
            values.append(step())
    except BaseException as error:
        return values, error


def leave(*_):
    """What coroutines and generators are left with."""
    raise GeneratorExit


def give_all(kinds):
    """Exceptions as results of a batch: those items failed."""
    return [jobs.FATES.get(kind, str)(kind) for kind in kinds]
