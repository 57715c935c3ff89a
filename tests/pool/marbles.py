"""Streams in virtual time as text, for the tests of the pool.

An item has a name and a duration: the work of ``"a30"`` or ``"a1-30"`` lasts 30 ticks and
gives ``"a"`` or ``"a1"``; that of ``"a30!"`` fails then, with `Oops`.  Sources and results are
written as ``"a30@210 |@220"``: ``|`` is the completion, ``#`` an error with its type.
"""

import reactivex as rx
from reactivex import operators as ro
from reactivex.testing import ReactiveTest

from rxpool import Failure, Success, WorkerPool
from tests.alarms import Alarms

BOOM = RuntimeError("boom")


class Oops(Exception):
    """What failing work raises."""


def name_of(item):
    """The name of an item."""
    name, dash, _ = item.partition("-")
    return name if dash else item[0]


def work(item):
    """Last as long as the item says, then give its name or fail."""
    name = name_of(item)
    ticks = item[len(name) :].strip("-!")

    def end(_):
        if item.endswith("!"):
            raise Oops(item)
        return name

    return rx.timer(float(ticks)).pipe(ro.map(end))


def row(text):
    """The messages that *text* stands for."""
    messages = []
    for token in text.split():
        value, tick = token.split("@")
        if value == "|":
            messages.append(ReactiveTest.on_completed(float(tick)))
        elif value == "#":
            messages.append(ReactiveTest.on_error(float(tick), BOOM))
        else:
            messages.append(ReactiveTest.on_next(float(tick), value))
    return messages


def shown(messages, show=str):
    """Messages as `row` reads them."""

    def text(notification):
        match notification.kind:
            case "N":
                return show(notification.value)
            case "E":
                return f"#{type(notification.exception).__name__}"
        return "|"

    return " ".join(f"{text(m.value)}@{m.time:g}" for m in messages)


def outcome(record):
    """``a`` for a success, ``-a30:Oops*1`` for "a30" that failed at its first attempt."""
    match record:
        case Success(value=[value]) | Success(value=value):
            return str(value)
        case Failure(item=item, error=error, attempts=attempts):
            return f"-{item}:{type(error).__name__}*{attempts}"


def windows(source):
    """When a test source was subscribed and let go."""
    return [(s.subscribe, s.unsubscribe) for s in source.subscriptions]


def counts(pool):
    """The terms of the report that are not 0."""
    report = pool.report()
    names = ("accepted", "succeeded", "failed", "dropped", "cancelled", "in_flight", "waiting")
    return {name: value for name in names if (value := getattr(report, name))}


def conserved(pool):
    """The pool's books, after checking that they balance: in sum and in each flow."""
    report = pool.report()
    for part in (report, *report.flows):
        known = part.succeeded + part.failed + part.dropped + part.cancelled + part.in_flight
        assert part.accepted == known
        assert 0 <= part.waiting <= part.in_flight
    return report


class Run:
    """What came of an operator of a pool on a hot source.

    ``operator(pool)`` makes it; the books are looked at at every tick.  In the end nothing is
    in flight, and no timer is set.
    """

    def __init__(self, source, operator, *, workers=1, disposed=1000.0, other=None, at=()):
        self.scheduler = scheduler = Alarms()
        self.pool = pool = WorkerPool(workers, on=scheduler)
        self.xs = scheduler.create_hot_observable(*row(source))
        self.letters = scheduler.create_observer()  # for failures, if wanted
        for tick in range(201, 600):
            scheduler.schedule_absolute(float(tick), lambda *_: conserved(pool) and None)
        for tick, action in dict(at).items():
            scheduler.schedule_absolute(float(tick), lambda *_, act=action: act(self) and None)
        if other is not None:  # work that keeps a worker busy from tick 100 on
            scheduler.schedule_absolute(
                100.0, lambda *_: rx.of(other).pipe(pool.map(work)).subscribe() and None
            )
        stream = scheduler.start(lambda: self.xs.pipe(operator(self)), disposed=disposed)
        self.messages = stream.messages
        self.text = shown(stream.messages)
        self.let_go = [s.unsubscribe for s in self.xs.subscriptions]
        report = conserved(pool)
        assert (report.in_flight, report.flows) == (0, ())
        assert scheduler.pending == 0
        self.counts = counts(pool)
