"""``python -m benchmarks [group ...] [--rounds N] [--quick] [--backend NAME]``."""

import argparse
import sys
from importlib import import_module

from benchmarks.harness import describe_machine, failures

# Memory first: the resident set that `threads` looks at is the largest so far.
GROUPS = {
    "threads": "threads",
    "operators": "operators",
    "pacing": "pacing",
    "options": "options",
    "policies": "policies",
    "metrics": "metrics",
    "asyncio": "aio",
    "processes": "processes",
    "data": "data",
    "latency": "latency",
    "imports": "imports",
    "memory": "memory",
    "footprint": "footprint",
    "faults": "faults",
}


def main() -> None:
    """Run the groups that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("groups", nargs="*", metavar="group", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="see that it runs; no figures")
    parser.add_argument("--backend", help="the one that `options` is for, instead of all")
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    print(describe_machine())
    for name, module in GROUPS.items():
        if not options.groups or name in options.groups:
            # Not at the top: worker processes import this module too.
            more = {"backend": options.backend} if name == "options" else {}
            import_module(f"benchmarks.{module}").main(options.rounds, options.quick, **more)
    if failures:
        sys.exit("\n".join(("could not be measured:", *failures)))


if __name__ == "__main__":
    main()
