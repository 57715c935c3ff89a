"""``examples/shipper.py`` as a user runs it: whatever the instant, SIGTERM loses no line."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from rxpool.records import read_items

ROOT = Path(__file__).parents[2]


def start(folder, *arguments):
    """The program."""
    return subprocess.Popen(
        [sys.executable, "-u", ROOT / "examples" / "shipper.py", folder, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )


def check(folder, out):
    """Every line that was pushed is in one of the two files, once."""
    shipped = [json.loads(line) for line in (folder / "shipped.jsonl").read_text().splitlines()]
    dead = list(read_items(folder / "dead.jsonl"))
    found = Counter((line["producer"], line["number"]) for line in [*shipped, *dead])
    pushed = {name: int(count) for name, count in re.findall(r"^(\w): (\d+) lines$", out, re.M)}
    assert set(pushed) == {"a", "b", "c"}
    assert found == Counter(
        {(name, number): 1 for name, count in pushed.items() for number in range(count)}
    )
    assert {line["text"] for line in dead} <= {"bad"}
    return sum(pushed.values())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_at_any_instant(tmp_path, number):
    """Nothing is lost, nothing comes twice, and the program ends well."""
    chance = random.Random(int(number))
    for run in range(3):
        folder = tmp_path / str(run)
        with start(folder) as program:
            assert program.stdout.readline() == "ready\n"
            try:
                program.wait(chance.uniform(0.0, 1.2))
            except subprocess.TimeoutExpired:
                program.send_signal(number)
            out, err = program.communicate(timeout=30)
        assert (program.returncode, err) == (0, "")
        check(folder, out)


def test_to_the_end(tmp_path):
    """So many lines, and no signal."""
    with start(tmp_path, "--lines", "300") as program:
        out, err = program.communicate(timeout=50)
    assert (program.returncode, err) == (0, "")
    assert check(tmp_path, out) == 900
