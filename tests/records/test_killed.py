"""What a program has recorded is there when it is killed, once."""

import os
import random
import signal
import subprocess
import sys
from collections import Counter
from contextlib import contextmanager
from pathlib import Path

import pytest

from rxpool.records import Journal, read

SCRIPT = Path(__file__).with_name("killed.py")
ROOT = SCRIPT.parents[2]
KILLS = 20


@contextmanager
def programs(folder):
    """Gives a function that lets the program run until it has said so many lines."""
    command = [sys.executable, str(SCRIPT), str(folder)]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, env=env) as parent:

        def run_and_kill(first, lines):
            """All items that it said it had recorded."""
            parent.stdin.write(b"%d\n" % first)
            parent.stdin.flush()
            child = int(parent.stdout.readline())
            said = [parent.stdout.readline() for _ in range(lines)]
            os.kill(child, signal.SIGKILL)
            said += iter(parent.stdout.readline, b"dead\n")  # what was in the pipe
            return [int(line) for line in said]

        yield run_and_kill


def work(n):
    """Stands for the function of the program, as the fingerprint is given."""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9")
def test_what_was_recorded_is_there_after_a_kill(tmp_path):
    """Killed at random instants, on the same files: everything that was said, once."""
    rng = random.Random(1)
    said, first = [], 0
    with programs(tmp_path) as run_and_kill:
        for kills in range(1, KILLS + 1):
            said += run_and_kill(first, rng.randint(1, 100))
            first = said[-1] + 1000  # it may have done one more than it said

            for name in ("lines", "table"):
                found = Counter(letter.item["n"] for letter in read(tmp_path / name))
                assert set(found.values()) == {1}
                assert set(said) <= set(found)
                assert len(found) <= len(said) + kills

            with Journal(tmp_path / "journal", fingerprint="1") as journal:
                run = journal.open(work, {})
                assert all(run.stored(run.identify(n)) == ([n] * 50,) for n in said)
                assert len(said) <= journal.finished() <= len(said) + kills
                assert run.stored(run.identify(said[-1] + 2)) is None
