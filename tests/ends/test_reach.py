"""What an observer leads to, and what holds items on the way there."""

import functools
import weakref

import pytest
import reactivex as rx
from reactivex import operators as ro
from reactivex.scheduler import EventLoopScheduler
from reactivex.subject import Subject
from reactivex.testing import TestScheduler

from rxpool import WorkerPool
from rxpool import operators as ops
from rxpool._core import reach

outer = Subject()


class Node:
    """Stands for a flow or a stage."""

    rxpool_node = True
    ended = False

    def on_next(self, value):
        """Take a value."""


class Forwarder:
    """Pushes on what it is given."""

    __slots__ = ("to",)

    def __init__(self, to):
        self.to = to

    def on_next(self, value):
        """Take a value."""
        self.to.on_next(value)


def to_outer(value):
    """Push into a subject of the module."""
    outer.on_next(value)


def through(*operators):
    """What leads to a node by way of these operators."""

    def build(node):
        subject = Subject()
        subject.pipe(*operators).subscribe(node.on_next)
        return subject

    return build


def two_branches(share):
    """A source of which the node is the second subscriber."""

    def build(node):
        subject = Subject()
        shared = subject.pipe(*share)
        shared.subscribe()
        shared.subscribe(node.on_next)
        return subject

    return build


def by_module(node):
    """A function that names a variable of its module."""
    outer.subscribe(node.on_next)
    return to_outer


WAYS = {
    "itself": lambda node: node,
    "method": lambda node: node.on_next,
    "closure": lambda node: lambda value: node.on_next(value),
    "default": lambda node: lambda value, to=node: to.on_next(value),
    "keyword": lambda node: functools.partial(print, file=node),
    "slots": lambda node: Forwarder(node).on_next,
    "list": lambda node: [{"key": (node,)}],
    "subject": through(),
    "map": through(ro.map(abs), ro.filter(bool)),
    "merge": through(ro.merge(rx.never())),
    "delay": through(ro.delay(1.0, scheduler=TestScheduler())),
    "observe_on": through(ro.observe_on(TestScheduler())),
    "group_by": through(ro.flat_map(lambda value: rx.of(value))),
    "share": two_branches([ro.share()]),
    "replay": two_branches([ro.replay(), ro.ref_count()]),
    "module": by_module,
}


@pytest.mark.parametrize("way", WAYS)
def test_a_node_is_found(way):
    """However it is referred to."""
    node = Node()
    assert reach.way_from(WAYS[way](node)).nodes == [node]


@pytest.mark.parametrize(
    "build",
    [
        lambda node: rx.of(1).pipe(ro.do_action(node.on_next)),  # a source
        lambda node: rx.never().subscribe(node.on_next),  # a subscription
        lambda node: weakref.proxy(node),
        lambda node: TestScheduler().schedule_relative(1.0, lambda *_: node.on_next(1)),
        lambda node: type("Strange", (), {"x": 1})(),
    ],
)
def test_what_leads_upstream_or_nowhere(build):
    """Sources, subscriptions and schedulers are not followed."""
    node = Node()
    built = build(node)
    assert reach.way_from(built).nodes == []


def test_nodes_behind_a_node_are_not_looked_for():
    """Each says itself where it leads."""
    first, second = Node(), Node()
    first.next = second
    assert reach.way_from([first]).nodes == [first]


def test_a_pool_is_not_followed():
    """It would lead to all of its flows."""
    with WorkerPool(1) as pool:
        subject = Subject()
        subject.pipe(pool.map(abs)).subscribe()
        assert reach.way_from(lambda: pool).nodes == []


def test_a_class_that_cannot_be_asked():
    """Whatever is in the way of looking does not raise."""

    class Meta(type):
        def __getattr__(cls, name):
            raise RuntimeError(name)

    class Odd(metaclass=Meta):
        pass

    assert reach.way_from([Odd()]).nodes == []


@pytest.mark.parametrize(
    ("operator", "pushed"),
    [
        (lambda clock: ro.delay(5.0, scheduler=clock), 1),
        (lambda clock: ro.debounce(5.0, scheduler=clock), 1),
        (lambda clock: ro.observe_on(clock), 1),
    ],
)
def test_what_holds_items(operator, pushed):
    """It says so as long as it does."""
    clock, subject, node = TestScheduler(), Subject(), Node()
    subject.pipe(operator(clock)).subscribe(node.on_next)
    way = reach.way_from(subject)
    assert way.nodes == [node]
    assert not way.holds
    subject.on_next(pushed)
    assert way.holds
    clock.advance_by(10.0)
    assert not way.holds


def test_ways_that_are_left_behind_are_forgotten():
    """Once nothing is on them."""
    clock, subject, node = TestScheduler(), Subject(), Node()
    subject.pipe(ro.delay(5.0, scheduler=clock)).subscribe(node.on_next)
    way = reach.way_from(subject)
    reach.leave_behind(way)
    assert way not in reach.left_behind()
    subject.on_next(1)
    reach.leave_behind(way)
    assert way in reach.left_behind()
    clock.advance_by(10.0)
    assert way not in reach.left_behind()


def test_a_way_to_what_has_ended_holds_nothing():
    """What is on it is lost, whatever the operator says."""
    clock, subject, node = TestScheduler(), Subject(), Node()
    subject.pipe(ro.delay(5.0, scheduler=clock)).subscribe(node.on_next)
    way = reach.way_from(subject)
    subject.on_next(1)
    reach.leave_behind(way)
    node.ended = True
    assert way not in reach.left_behind()


def test_stages_lead_on():
    """A stage is a node, and so is a flow."""
    with WorkerPool(1) as pool:
        subject = Subject()
        stream = subject.pipe(
            ro.map(abs), ops.batch(3), ro.observe_on(EventLoopScheduler(exit_if_empty=True))
        )
        stream.pipe(pool.map(len)).subscribe()
        (stage,) = reach.way_from(subject).nodes
        (flow,) = reach.way_from(stage.feeds).nodes
        assert type(stage).__name__ == "Stage"
        assert type(flow).__name__ == "MapFlow"
