"""What every backend keeps, and what is refused where one is made."""

import os
from math import inf
from types import SimpleNamespace

import pytest

from rxpool import WorkerPool
from rxpool.backends import Backend, Job, LocalBackend, SchedulerBackend, ThreadBackend, Traits
from rxpool.backends._inline import InlineBackend
from rxpool.backends.event_loop import AsyncioBackend
from rxpool.backends.executors import ExecutorBackend, ThreadExecutorBackend
from rxpool.backends.processes import ProcessBackend
from rxpool.errors import InvalidArgument, InvalidArgumentType
from rxpool.pool._state.flow_state import FlowState
from rxpool.pool._state.slots import Slots
from rxpool.pool._state.task import Task

ALL = (
    AsyncioBackend,
    ExecutorBackend,
    InlineBackend,
    ProcessBackend,
    SchedulerBackend,
    ThreadBackend,
    ThreadExecutorBackend,
)


class Least(Backend):
    """What is abstract, and no more."""

    traits = Traits()

    def bind(self, runner, slots):
        """Nothing is run."""

    def start(self, jobs):
        """Nothing is run."""

    def abandon(self, jobs):
        """Nothing is run."""

    def resize(self, slots):
        """Nothing is run."""

    def stop(self, wait):
        """Nothing is run."""


@pytest.mark.parametrize(
    "flags",
    [
        {"runs_here": True},
        {"runs_here": True, "in_this_process": True, "helps": True},
        {"runs_here": True, "in_this_process": True, "ends_itself": True},
        {"waits_out": True},
        {"in_this_process": True, "waits_out": True},
    ],
)
def test_traits_that_contradict_each_other_are_refused(flags):
    """Whoever makes them is told which."""
    with pytest.raises(InvalidArgument, match="needs"):
        Traits(**flags)


def test_traits_cannot_be_changed():
    """The pool asks for them whenever it likes."""
    with pytest.raises(AttributeError):
        Traits().helps = True


@pytest.mark.parametrize(("flag", "method"), [("helps", "help"), ("ends_itself", "end")])
def test_a_trait_goes_with_its_method(flag, method):
    """One without the other is refused where the class is made."""
    with pytest.raises(InvalidArgument, match=f"no method {method}"):
        type("Claims", (Least,), {"traits": Traits(**{flag: True})})
    with pytest.raises(InvalidArgument, match=f"a method {method}"):
        type("Hides", (Least,), {method: lambda *_: None})


def test_what_lacks_a_method_is_no_backend():
    """It cannot be made."""
    with pytest.raises(TypeError, match="abstract"):
        type("Half", (LocalBackend,), {})()


def test_what_is_not_derived_from_backend_is_no_place_for_work():
    """However many methods of one it has."""
    methods = ("bind", "start", "abandon", "resize", "stop")
    like_one = SimpleNamespace(**dict.fromkeys(methods, lambda *_: None))
    with pytest.raises(InvalidArgumentType, match="a backend object"):
        WorkerPool(on=like_one)


def test_defaults_are_those_of_a_place_without_workers_of_its_own():
    """Nothing is asked for by name and missed."""
    backend = Least()
    assert backend.abandoned == 0
    assert backend.default_slots >= 1
    assert backend.lane(None) is None
    assert backend.max_bytes is None
    assert backend.pids() == [os.getpid()]
    assert backend.dismiss(lambda: None) is None
    assert Least.dismiss is backend.dismiss, "kept by a finaliser, it must not keep the backend"


@pytest.mark.parametrize("kind", ALL)
def test_each_backend_keeps_the_contract(kind):
    """There is no abstract method left."""
    assert issubclass(kind, Backend)
    assert not kind.__abstractmethods__


def test_a_job_is_what_a_task_is():
    """Backends see no field that tasks do not have."""
    task = Task(None, 1, 0.0)
    assert all(hasattr(task, name) for name in Job.__annotations__)
    methods = [name for name in vars(Job) if not name.startswith("_")]
    assert methods
    assert all(callable(getattr(task, name)) for name in methods)
    assert [task.killed_worker(), task.killed_worker()] == [1, 2]


@pytest.mark.parametrize(
    ("most", "sizes", "asks"),
    [(None, (), False), (1 << 20, (), True), (1 << 20, (10,), False), (1 << 20, (5000,), True)],
)
def test_sizes_are_told_as_long_as_they_matter(most, sizes, asks):
    """Items that are small by far need not be weighed again; a large one is always told."""
    slots = Slots(1)
    slots.max_bytes = most
    flow = FlowState(slots)
    for size in sizes:
        flow.capacity.weigh(1, size)
    with WorkerPool(1, on="inline") as pool:
        flow.binding = SimpleNamespace(job=lambda task: (abs, task.item))
        chunk = pool._engine.runner.next_chunk(Task(flow, 1, 0.0), 1)
    assert (chunk.function, chunk.items) == (abs, [1])
    assert (chunk.weighs_from == 0.0) is asks
    assert (chunk.weighs_from == inf) is (most is None)
