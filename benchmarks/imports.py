"""CPU time of importing rxpool, against importing reactivex: fresh interpreters in turn."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable

from benchmarks.harness import Case, table

#: what is imported; the first is the base
IMPORTS = {
    "import reactivex": "",
    "import rxpool": "≤ 1.3",
    "from rxpool import operators as ops; ops.batch": "≤ 1.3",
    "from rxpool import WorkerPool": "≤ 1.3",
    "from rxpool import *": "",
    "pass": "",
}


def spent() -> float:
    """The CPU seconds of all children that have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def fresh(code: str) -> Callable[[int], float]:
    """Run *code* in so many interpreters, one after another; the bytecode is there."""
    environment = {
        name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"
    }

    def interpreter() -> None:
        subprocess.run([sys.executable, "-c", code], env=environment, check=True)

    def run(items: int) -> float:
        interpreter()  # writes the bytecode
        before = spent()
        for _ in range(items):
            interpreter()
        return spent() - before

    return run


def main(rounds: int, quick: bool) -> None:
    """Print the table."""
    table(
        "Imports, CPU time of the interpreter (base: import reactivex)",
        [Case(code, 5, fresh(code), target) for code, target in IMPORTS.items()],
        rounds,
        quick,
    )
