"""``examples/batch_api.py`` as a user runs it: killed at any instant, it answers all."""

import json
import os
import random
import re
import signal
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
ITEMS = 300


def start(answers):
    """The program, in a session of its own with the service that it starts."""
    return subprocess.Popen(
        [sys.executable, ROOT / "examples" / "batch_api.py", answers, f"--items={ITEMS}"],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,  # the bar
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        start_new_session=True,
    )


def test_killed_at_any_instant(tmp_path):
    """The last run has all answers, in order, and asked for no more than was not done."""
    chance = random.Random(3)
    path = tmp_path / "answers.jsonl"
    for _ in range(int(os.environ.get("RXPOOL_KILLS", "3"))):
        with start(path) as program:
            assert program.stdout.readline().startswith("asking")
            try:
                program.wait(chance.uniform(0.05, 0.8))
            except subprocess.TimeoutExpired:
                os.killpg(program.pid, signal.SIGKILL)
    with start(path) as program:
        out, _ = program.communicate(timeout=50)
    assert program.returncode == 0
    answers = [json.loads(line) for line in path.read_text().splitlines()]
    assert answers == [f"prompt {number}"[::-1] for number in range(ITEMS)]
    counts = json.loads(re.search(r"counted (\{.*\})", out)[1])
    assert counts["ok"] <= ITEMS


def test_in_one_go(tmp_path):
    """Refusals stay few, as the quotas are kept and the headers are heeded."""
    with start(tmp_path / "answers.jsonl") as program:
        out, _ = program.communicate(timeout=50)
    assert program.returncode == 0
    counts = json.loads(re.search(r"counted (\{.*\})", out)[1])
    assert counts["ok"] == ITEMS
    assert counts["429"] <= ITEMS // 10
    assert counts["503"] + counts["closed"] > 0
