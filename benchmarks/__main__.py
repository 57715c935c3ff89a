"""``python -m benchmarks [operators] [pacing] [threads] [--rounds N] [--quick]``."""

import argparse

from benchmarks import operators, pacing, threads
from benchmarks.harness import describe_machine

GROUPS = {"operators": operators.main, "pacing": pacing.main, "threads": threads.main}


def main() -> None:
    """Run the groups that are named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("groups", nargs="*", metavar="group", help=", ".join(GROUPS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--quick", action="store_true", help="see that it runs; no figures")
    options = parser.parse_args()
    unknown = set(options.groups) - set(GROUPS)
    if unknown:
        parser.error(f"no such group: {', '.join(sorted(unknown))}")
    print(describe_machine())
    # Memory first: the resident set is the largest so far.
    for name in sorted(options.groups or GROUPS, key=lambda name: name != "threads"):
        GROUPS[name](options.rounds, options.quick)


if __name__ == "__main__":
    main()
