"""Random graphs of flows on virtual time, and what the law says of how they end.

A graph is a plan, made of numbers, so that it can be drawn by hypothesis or from a seed:
sources, then nodes that take what one or several of those before them give, be it through a
subscription, through `share` or `replay`, or through a Subject that is pushed into.  How often
an item comes to a sink is the number of ways that lead there.
"""

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import reactivex as rx
from reactivex import operators as ro
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import Failure, RxPoolError, Success, WorkerPool
from rxpool import operators as ops

END = 100_000.0  #: by then everything has ended
NODES = ("map", "outcomes", "batch", "throttle", "delay", "retry", "keyed", "ordered")
WAYS = ("plain", "share", "replay", "bridge", "push", "publish")
ENDINGS = ("close", "block", "terminate", "exception", "timeout")


@dataclass(frozen=True)
class Node:
    """What a node is, which of those before it feed it, and how it hands its results on."""

    kind: str
    inputs: tuple[int, ...]
    way: str


@dataclass(frozen=True)
class Plan:
    """A graph, when items come, and when and how the pool ends."""

    workers: int
    subjects: int
    pulled: tuple[int, ...]  #: lengths of inputs that are pulled
    nodes: tuple[Node, ...]
    pushes: tuple[tuple[int, int], ...]  #: tick, subject
    order: tuple[int, ...]  #: which subscription is made when, as indices of what is left
    end: int  #: tick
    how: str


@dataclass
class Sink:
    """What came out at one end of the graph."""

    name: str
    expected: Counter[Any]
    values: list[Any] = field(default_factory=list[Any])
    ends: list[Exception | None] = field(default_factory=list["Exception | None"])

    def on_next(self, value: Any) -> None:
        """Take a value: an item, a list of them, or an outcome."""
        assert not self.ends, f"{self.name}: {value} came after the end"
        self.values += flat(value)

    def on_error(self, error: Exception) -> None:
        """Take the end."""
        self.ends.append(error)

    def on_completed(self) -> None:
        """Take the end."""
        self.ends.append(None)


def flat(value: Any) -> list[Any]:
    """The items that a value stands for; a cancelled one counts as told."""
    if isinstance(value, Success | Failure):
        return flat(value.item)
    return [each for part in value for each in flat(part)] if type(value) is list else [value]


def run(plan: Plan) -> list[Sink]:
    """Build the graph, let it run and end; what came out.  Breaches of the law are asserted."""
    scheduler = TestScheduler()
    pool = WorkerPool(plan.workers, on=scheduler, max_pending=10_000)
    faults: list[BaseException] = []
    pool.faults.subscribe(faults.append)
    subjects = [Subject[Any]() for _ in range(plan.subjects)]
    outs: list[rx.Observable[Any]] = list(subjects)
    counts = [Counter[Any]() for _ in subjects]
    for number, length in enumerate(plan.pulled):
        items = [("pulled", number, index) for index in range(length)]
        # Not before all else is subscribed: `merge` does that in virtual time, too.
        outs.append(pool.pull(items).pipe(ro.delay_subscription(0.5, scheduler=scheduler)))
        counts.append(Counter(items))
    for number, (tick, _) in enumerate(plan.pushes):
        if tick < plan.end:
            counts[plan.pushes[number][1] % plan.subjects][number, tick] += 1
    waiting: list[Any] = []  # subscriptions to be made
    used = set[int]()
    for node in plan.nodes:
        chosen = [index % len(outs) for index in node.inputs]
        used.update(chosen)
        sources = [outs[index] for index in chosen]
        joined = sources[0] if len(sources) == 1 else rx.merge(*sources)
        total = sum((counts[index] for index in chosen), Counter[Any]())
        out = _hand_on(
            joined.pipe(*_operators(node.kind, pool, scheduler)), node, pool, waiting
        )
        outs.append(out)
        counts.append(total)
    sinks: list[Sink] = []
    for number, (out, expected) in enumerate(zip(outs, counts, strict=True)):
        # Every end of a graph goes through a flow, as what does not is not the pool's to end.
        if number not in used and number >= len(outs) - len(plan.nodes):
            sink = Sink(f"sink of {number}", expected)
            sinks.append(sink)
            last = out.pipe(pool.map(lambda value: value))
            waiting.append(lambda last=last, sink=sink: last.subscribe(sink))
    for index in plan.order:
        if waiting:
            waiting.pop(index % len(waiting))()
    for subscribe in waiting:
        subscribe()
    for number, (tick, subject) in enumerate(plan.pushes):
        _at(
            scheduler,
            tick,
            lambda n=number, t=tick, s=subject: subjects[s % len(subjects)].on_next((n, t)),
        )
    _at(scheduler, plan.end, lambda: _end(pool, plan.how))
    if plan.how == "timeout":
        _at(scheduler, plan.end + 5, pool.terminate)
    scheduler.advance_to(END)
    _check(plan, pool, sinks, faults)
    return sinks


def _operators(kind: str, pool: WorkerPool, scheduler: TestScheduler) -> list[Any]:
    def work(value: Any) -> Any:
        return rx.timer(3.0, scheduler=scheduler).pipe(ro.map(lambda _: value))

    match kind:
        case "map":
            return [pool.map(work)]
        case "ordered":
            return [pool.map(work, order="input")]
        case "keyed":
            return [pool.map(work, order="key", key=str)]
        case "retry":
            return [pool.map(work, retry=2, timeout=50.0)]
        case "outcomes":
            return [pool.outcomes(work), ro.map(lambda outcome: outcome)]
        case "batch":
            return [ops.batch(3, 40.0, scheduler=scheduler)]
        case "throttle":
            return [ops.throttle(1, per=2.0, scheduler=scheduler)]
        case "delay":
            # What it holds of others than the pool was not accepted by anything of ours.
            return [pool.map(work), ro.delay(7.0, scheduler=scheduler)]
    raise ValueError(kind)


def _hand_on(
    out: rx.Observable[Any], node: Node, pool: WorkerPool, waiting: list[Any]
) -> rx.Observable[Any]:
    match node.way:
        case "share":
            return out.pipe(ro.share())
        case "replay":
            return out.pipe(ro.replay(), ro.ref_count())
        case "publish":
            return out.pipe(
                ro.publish(mapper=lambda shared: shared.pipe(pool.map(lambda v: v)))
            )
        case "bridge":
            bridge = Subject[Any]()
            waiting.append(lambda: out.subscribe(bridge))
            return bridge
        case "push":  # nobody tells the completion
            subject = Subject[Any]()
            waiting.append(
                lambda: out.subscribe(lambda value: subject.on_next(value), subject.on_error)
            )
            return subject
    return out


def _at(scheduler: TestScheduler, tick: int, action: Any) -> None:
    scheduler.schedule_absolute(float(tick), lambda *_: action() and None)


def _end(pool: WorkerPool, how: str) -> None:
    if how == "terminate":
        pool.terminate()
    elif how == "exception":
        try:
            with pool:
                raise KeyError(how)
        except KeyError:
            pass
    elif how == "block":
        with pool:
            pass
    else:
        pool.close()


def _check(
    plan: Plan, pool: WorkerPool, sinks: list[Sink], faults: list[BaseException]
) -> None:
    assert not faults, faults
    assert pool.close()
    report = pool.report()
    assert not report.flows
    ended = report.succeeded + report.failed + report.dropped + report.cancelled
    assert (report.accepted, report.in_flight) == (ended, 0)
    for sink in sinks:
        assert len(sink.ends) == 1, f"{sink.name} was told {len(sink.ends)} ends"
        (error,) = sink.ends
        got = Counter(sink.values)
        assert not got - sink.expected - _late(plan, got), f"{sink.name}: too many"
        if error is None:
            assert not sink.expected - got, f"{sink.name}: lost {sink.expected - got}"
        else:
            assert plan.how not in ("close", "block"), f"{sink.name}: {error!r}"
            assert isinstance(error, RxPoolError), error


def _late(plan: Plan, got: Counter[Any]) -> Counter[Any]:
    """What came after the end had begun, and may have been accepted all the same."""
    return Counter(
        {item: n for item, n in got.items() if item[0] != "pulled" and item[1] >= plan.end}
    )
