"""Cases in turn, several rounds, and ratios to one of them within each round."""

import gc
import os
import platform
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from importlib.util import find_spec
from statistics import median

__all__ = ("Case", "describe_machine", "failures", "installed", "table")

#: the rows that could not be measured
failures: list[str] = []

_missing: set[str] = set()


@dataclass(frozen=True)
class Case:
    """One row: *run* takes a number of items and answers the seconds they took."""

    name: str
    items: int
    run: Callable[[int], float]
    target: str = ""
    needs: str = ""  #: a package; without it the row is left out


def installed(package: str) -> bool:
    """Whether *package* is there; says so, once, if not."""
    if not package or find_spec(package) is not None:
        return True
    if package not in _missing:
        _missing.add(package)
        print(f"{package} is not installed: its rows are left out")
    return False


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
    speed changes all cases alike; the ratio is the median of the ratios within each round,
    the spread is the least and the most of these.
    A case that raises is a row that says so; the others go on.
    """
    cases = [case for case in cases if installed(case.needs)]
    micros: dict[str, list[float]] = {case.name: [] for case in cases}
    failed: dict[str, str] = {}
    for _ in range(1 if quick else rounds):
        for case in cases:
            if case.name in failed:
                continue
            items = max(1, case.items // (50 if quick else 1))
            gc.collect()
            try:
                micros[case.name].append(case.run(items) / items * 1e6)
            except Exception as error:
                failed[case.name] = f"{type(error).__name__}: {error}"[:80]
                failures.append(f"{title}: {case.name}: {failed[case.name]}")
            print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    base = micros[cases[0].name]
    width = max(len(case.name) for case in cases)
    print(f"\n### {title}\n")
    print(f"| {'case':<{width}} |   items | min µs | median µs | ratio | spread    | target |")
    print(f"| {'-' * width} | ------: | -----: | --------: | ----: | --------- | ------ |")
    for case in cases:
        if case.name in failed:
            print(f"| {case.name:<{width}} | {case.items:>7,} | | | | | {failed[case.name]} |")
            continue
        values = micros[case.name]
        ratios = [value / first for value, first in zip(values, base, strict=False)]
        spread = f"{min(ratios):.2f}–{max(ratios):.2f}"
        print(
            f"| {case.name:<{width}} | {case.items:>7,} | {min(values):6.2f} "
            f"| {median(values):9.2f} | {median(ratios):5.2f} | {spread:>9} | {case.target} |"
        )
