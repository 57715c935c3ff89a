"""``examples/dynamic_batching.py`` as a user runs it."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PROGRAM = ROOT / "examples" / "dynamic_batching.py"
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error"}


@pytest.mark.parametrize("size", [1000, 16])
def test_every_call_gets_its_own(size):
    """1,000 calls at once: 980 results and 20 errors, in far fewer batches."""
    done = subprocess.run(
        [sys.executable, PROGRAM, "--size", str(size)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stderr == ""
    assert done.returncode == 0
    assert "1000 calls at once: 980 results, 20 errors, each its own" in done.stdout
    batches = int(re.search(r"(\d+) batches", done.stdout)[1])
    assert 1000 / size <= batches <= 1000 / min(size, 16) * 2


def test_it_serves():
    """What is no request is answered too; Ctrl-C ends it without noise."""
    with subprocess.Popen(
        [sys.executable, PROGRAM, "--serve", str(free_port())],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as server:
        try:
            port = int(re.search(r"port (\d+)", server.stdout.readline())[1])
            with socket.create_connection(("127.0.0.1", port), 10) as connection:
                connection.sendall(b'{"id": 1, "text": "abc"}\nnonsense\n')
                connection.shutdown(socket.SHUT_WR)
                answers = [json.loads(line) for line in connection.makefile()]
            assert {"id": 1, "length": 3} in answers
            assert any("JSONDecodeError" in answer.get("error", "") for answer in answers)
        finally:
            server.send_signal(signal.SIGINT)
            _, noise = server.communicate(timeout=10)
    assert noise == ""
    assert server.returncode == 130


def free_port():
    """A port that nobody uses at present."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
