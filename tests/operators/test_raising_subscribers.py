"""Subscribers of the operators that raise.

Each docstring ends with the change that it catches.
"""

import threading

import pytest
from reactivex.subject import Subject

from rxpool import TimerScheduler
from rxpool import operators as ops
from tests.operators.crew import BOOM, TIMED, finish, flat, push, start, until_blocked
from tests.waiting import WAIT


@pytest.mark.parametrize("make", TIMED.values(), ids=TIMED)
def test_an_exception_from_a_timer(make, caplog, monkeypatch):
    """It goes to the logger and to `threading.excepthook`; the subscriber gets no more.

    Catches: an exception that ends nowhere, or that ends the timer's thread.
    """
    hooked = []
    happened = threading.Event()

    def hook(args):
        hooked.append(args.exc_value)
        happened.set()

    def broken(value):
        seen.append(value)
        raise BOOM

    monkeypatch.setattr(threading, "excepthook", hook)
    source, seen = Subject(), []
    source.pipe(make()).subscribe(broken)
    source.on_next(1)
    assert happened.wait(WAIT)
    assert source.observers == []
    source.on_next(2)
    source.on_completed()
    assert flat(seen) == [1]
    assert hooked == [BOOM]
    (record,) = caplog.records
    assert (record.name, record.levelname) == ("rxpool", "ERROR")
    assert record.exc_info[1] is BOOM
    rung = threading.Event()
    TimerScheduler.singleton().schedule_relative(0.0, lambda *_: rung.set())
    assert rung.wait(WAIT)


def test_an_exception_goes_to_the_caller_and_frees_who_waits():
    """The thread that delivers gets the exception; others that wait are let go.

    Catches: not waking who waits when the subscriber raises.
    """
    source, entered, go = Subject(), threading.Event(), threading.Event()
    caught, seen = [], []

    def broken(batch):
        seen.append(batch)
        entered.set()
        assert go.wait(WAIT)
        raise BOOM

    def first():
        try:
            source.on_next(1)
        except RuntimeError as error:
            caught.append(error)

    source.pipe(ops.batch(1)).subscribe(broken, seen.append)
    deliverer = start(first)
    assert entered.wait(WAIT)
    finish(start(push, source, 2))
    producer = start(push, source, 3)
    until_blocked(producer)
    go.set()
    finish(deliverer, producer)
    assert (caught, seen) == ([BOOM], [[1]])
    assert source.observers == []
