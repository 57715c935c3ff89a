"""Operators against RxPY's own: cost of an item while no timer fires, and of a storm."""

import time
from collections.abc import Callable
from threading import Event, Lock
from typing import Any

from reactivex import Observable
from reactivex import operators as rx_ops
from reactivex.subject import Subject
from reactivex.testing import ReactiveTest, TestScheduler

from benchmarks.harness import Case, table
from rxpool import operators as ops

Operator = Callable[[Observable[Any]], Observable[Any]]


def push(operator: Operator | None) -> Callable[[int], float]:
    """Push through *operator* from a Subject on this thread."""

    def run(items: int) -> float:
        source: Subject[int] = Subject()
        stream = source if operator is None else source.pipe(operator)
        subscription = stream.subscribe(lambda _: None)
        on_next, numbers = source.on_next, range(items)
        began = time.perf_counter()
        for number in numbers:
            on_next(number)
        took = time.perf_counter() - began
        subscription.dispose()
        return took

    return run


def floor(items: int) -> float:
    """The least that a thread-safe batch needs: a call, a lock, an append, a comparison."""
    lock, held = Lock(), list[int]()

    def on_next(number: int) -> None:
        with lock:
            held.append(number)
            if len(held) >= 100:
                held.clear()

    began = time.perf_counter()
    for number in range(items):
        on_next(number)
    return time.perf_counter() - began


def storm(operator: Operator, bursts: int = 10) -> Callable[[int], float]:
    """Items in *bursts*, each followed by silence; the pauses are not counted."""

    def run(items: int) -> float:
        source: Subject[int] = Subject()
        out = Event()
        count = 0

        def sink(_: int) -> None:
            nonlocal count
            count += 1
            out.set()

        subscription = source.pipe(operator).subscribe(sink)
        took = 0.0
        for _ in range(bursts):
            out.clear()
            began = time.perf_counter()
            for number in range(items // bursts):
                source.on_next(number)
            took += time.perf_counter() - began
            out.wait(10)
        subscription.dispose()
        if count != bursts:
            raise AssertionError(f"{count} items out of {bursts} bursts")
        return took

    return run


def bare_storm(items: int) -> float:
    """The same pushes without an operator."""
    return push(None)(items)


def virtual(make: Callable[[], Operator]) -> Callable[[int], float]:
    """A storm in virtual time: hot items one tick apart, ten bursts."""

    def run(items: int) -> float:
        scheduler = TestScheduler()
        gap = items // 10
        messages = [
            ReactiveTest.on_next(201.0 + number + 100 * (number // gap), number)
            for number in range(items)
        ]
        source = scheduler.create_hot_observable(*messages)
        began = time.perf_counter()
        result = scheduler.start(lambda: source.pipe(make()), disposed=1e7)
        took = time.perf_counter() - began
        if len(result.messages) != 10:
            raise AssertionError(f"{len(result.messages)} items of 10 bursts")
        return took

    return run


def main(rounds: int, quick: bool) -> None:
    """Print the tables."""
    n = 200_000
    table(
        "Operators, an item, no timer firing (base: a Subject and a subscriber)",
        [
            Case("bare subscribe", n, push(None)),
            Case("floor: call, lock, append", n, floor),
            Case("rxpool batch(100, 1.0)", n, push(ops.batch(100, 1.0)), "≤ 1.5"),
            Case(
                "rxpool throttle, never limited",
                n,
                push(ops.throttle(1e9, burst=1e9)),
                "≤ 1.6",
            ),
            Case("rxpool debounce(1.0)", n, push(ops.debounce(1.0)), "≤ 1.5"),
            Case("RxPY map(identity)", n, push(rx_ops.map(lambda x: x))),
            Case(
                "RxPY buffer_with_time_or_count(1.0, 100)",
                n // 4,
                push(rx_ops.buffer_with_time_or_count(1.0, 100)),
            ),
            Case("RxPY throttle_first(0.01)", n // 4, push(rx_ops.throttle_first(0.01))),
            Case("RxPY debounce(0.2)", n // 100, push(rx_ops.debounce(0.2))),
        ],
        rounds,
        quick,
    )
    table(
        "Debounce, a storm in ten bursts (base: the same pushes, no operator)",
        [
            Case("bare subscribe", n, bare_storm),
            Case("rxpool debounce(0.05)", n, storm(ops.debounce(0.05)), "≤ 1.5"),
            Case(
                "RxPY debounce(0.05)", n // 40, storm(rx_ops.debounce(0.05)), "≥ 100 × rxpool"
            ),
        ],
        rounds,
        quick,
    )
    table(
        "Debounce in virtual time (base: RxPY's)",
        [
            Case("RxPY debounce(50)", n // 20, virtual(lambda: rx_ops.debounce(50.0))),
            Case("rxpool debounce(50)", n // 20, virtual(lambda: ops.debounce(50.0)), "≤ 0.6"),
        ],
        rounds,
        quick,
    )
