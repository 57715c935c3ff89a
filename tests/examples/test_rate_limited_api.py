"""``examples/rate_limited_api.py`` as a user runs it, against its real HTTP service."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def test_two_thousand_items_a_pause_and_an_outage():
    """All are done; one pause, no 429 after it; the breaker opens; retries stay few."""
    program = subprocess.run(
        [sys.executable, ROOT / "examples" / "rate_limited_api.py"],
        capture_output=True,
        text=True,
        timeout=55,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        check=False,
    )
    assert program.returncode == 0, program.stdout + program.stderr
    assert program.stderr == ""
    assert program.stdout.startswith("  breaker: closed -> open\n")
    assert "  breaker: half_open -> closed\n2,000 of 2,000 items" in program.stdout
    found = re.search(r"answers +(\{.*\})", program.stdout)
    assert found, program.stdout
    counts = json.loads(found[1])
    assert counts["ok"] == 2000
    assert 1 <= counts["too many"] <= 16  # those that were on their way already
    assert counts["last refusal"] < 1  # in the first pause
    assert 10 <= counts["down"] <= 0.2 * 2000
    found = re.search(r"retries +(\d+)", program.stdout)
    assert found
    assert int(found[1]) == counts["too many"] + counts["down"]
