"""The driver of programs itself."""

import signal

import pytest

from tests.ends.programs import Program, run


def test_what_a_program_printed(tmp_path):
    """Output, exit code, and nothing left."""
    ended = run(tmp_path, "import sys; print('a'); print('b'); sys.exit(3)")
    assert (ended.code, ended.lines, ended.err, ended.left) == (3, ["a", "b"], "", ())


def test_a_program_that_hangs_is_a_failure(tmp_path):
    """It is killed, and what it started too."""
    text = "import subprocess, time; subprocess.Popen(['sleep', '60']); time.sleep(60)"
    with pytest.raises(AssertionError, match="hangs"):
        run(tmp_path, text, limit=0.5)


def test_what_outlives_a_program_is_found(tmp_path):
    """By its session."""
    ended = run(tmp_path, "import os; os.spawnlp(os.P_NOWAIT, 'sleep', 'sleep', '60')")
    assert len(ended.left) == 1
    assert "sleep 60" in ended.left[0]


def test_a_signal(tmp_path):
    """It can be sent once the program has said that it is ready."""
    with Program(
        tmp_path, "import time; print('ready', flush=True); time.sleep(60)"
    ) as program:
        program.wait_for("ready")
        program.signal(signal.SIGTERM)
        assert program.ended().code == -signal.SIGTERM
