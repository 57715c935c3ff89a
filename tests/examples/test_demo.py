"""``python -m rxpool.demo`` says what it says because it happened."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_the_demo(tmp_path):
    """A pause for all, a kill, a resume."""
    program = subprocess.run(
        [sys.executable, "-m", "rxpool.demo"],
        capture_output=True,
        text=True,
        timeout=55,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        check=False,
    )
    assert (program.returncode, program.stderr) == (0, "")
    assert "120 answers in " in program.stdout
    refused = int(re.search(r"(\d+) refused", program.stdout)[1])
    assert 1 <= refused <= 16  # those that were on their way already
    before = int(re.search(r"had answered (\d+)", program.stdout)[1])
    results, asked = map(
        int, re.search(r"all (\d+) results, and asked for (\d+)", program.stdout).groups()
    )
    twice = int(re.search(r"twice: (\d+)", program.stdout)[1])
    assert results == 60
    assert before >= 25
    assert before + asked == 60 + twice
    assert twice <= 4
