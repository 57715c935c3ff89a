"""Cases in turn, several rounds, and ratios to one of them within each round."""

import gc
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from statistics import median

__all__ = ("Case", "describe_machine", "table")


@dataclass(frozen=True)
class Case:
    """One row: *run* takes a number of items and answers the seconds they took."""

    name: str
    items: int
    run: Callable[[int], float]
    target: str = ""


def describe_machine() -> str:
    """One line on what the figures were measured with."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"{platform.system()} {platform.machine()}, {cpus} CPUs, "
        f"{platform.python_implementation()} {platform.python_version()}, "
        f"reactivex {version('reactivex')}, rxpool {version('rxpool')}"
    )


def table(title: str, cases: list[Case], rounds: int, quick: bool) -> None:
    """Run *cases* in turn and print a Markdown table.

    The first case is the base.  Rounds are interleaved, so that a machine that changes its
    speed changes all cases alike; the ratio is the median of the ratios within each round.
    """
    micros: dict[str, list[float]] = {case.name: [] for case in cases}
    for _ in range(1 if quick else rounds):
        for case in cases:
            items = max(1, case.items // (50 if quick else 1))
            gc.collect()
            micros[case.name].append(case.run(items) / items * 1e6)
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    base = micros[cases[0].name]
    width = max(len(case.name) for case in cases)
    print(f"\n### {title}\n")
    print(f"| {'case':<{width}} |   items | min µs | median µs | ratio | target |")
    print(f"| {'-' * width} | ------: | -----: | --------: | ----: | ------ |")
    for case in cases:
        values = micros[case.name]
        ratio = median(value / first for value, first in zip(values, base, strict=True))
        print(
            f"| {case.name:<{width}} | {case.items:>7,} | {min(values):6.2f} "
            f"| {median(values):9.2f} | {ratio:5.2f} | {case.target} |"
        )
