"""A run with a journal is killed again and again: in the end each item was done, once."""

import math
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter
from pathlib import Path

import pytest

from rxpool import Journal
from rxpool.pool._state.commits import MOST

ROOT = Path(__file__).resolve().parents[2]
KILLS = 50
ITEMS = 4000
WORKERS = 3

PROGRAM = textwrap.dedent("""
    import os, sys
    import reactivex as rx
    from rxpool import Journal, WorkerPool

    folder, items, workers = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    notes = os.open(folder + "/done", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def work(item):
        os.write(notes, f"{item}\\n".encode())
        return item * item

    options = {"fingerprint": "1", "emit": "skip"}
    with Journal(folder + "/journal", **options) as journal, WorkerPool(workers) as pool:
        stream = pool.pull(range(items)).pipe(pool.map(work, journal=journal))
        stream.subscribe(lambda value: print(value, flush=True))
    print("end", flush=True)
""")


@pytest.mark.timeout(240)
def test_killed_at_any_instant(tmp_path):
    """What came out is in the file, and not done again; of the last moment a little is."""
    chance = random.Random(5)
    folder = str(tmp_path)
    command = [sys.executable, "-c", PROGRAM, folder, str(ITEMS), str(WORKERS)]
    kills = runs = 0
    shown: list[str] = []  # in all runs; a line is one item, which comes out once
    while True:
        runs += 1
        assert runs <= KILLS + 1
        begun = len(shown)
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ}
        ) as program:
            assert program.stdout is not None
            patience = chance.randrange(1, ITEMS // KILLS) if kills < KILLS else ITEMS
            for line in program.stdout:
                shown.append(line.strip())
                patience -= 1
                if line == "end\n" or not patience:
                    break
            else:
                line = ""
            if line == "end\n":
                assert program.wait(20) == 0
                break
            os.kill(program.pid, signal.SIGKILL)
            kills += 1
            shown += program.stdout.read().split("\n")[:-1]  # the last one may be cut short
        with Journal(tmp_path / "journal", fingerprint="1") as journal:
            kept = journal.open(math.isqrt, {}).finished
            assert all(kept(str(math.isqrt(int(line)))) for line in shown[begun:])
    assert kills > KILLS // 4  # the program runs on while this side reads
    done = Counter(map(int, (tmp_path / "done").read_text().split()))
    assert set(done) == set(range(ITEMS))
    again = sum(times - 1 for times in done.values())
    # Those that run; and results that wait for those that are being written.
    assert again <= kills * (WORKERS + 2 * MOST)
    assert len(shown) == len(set(shown))
    with Journal(tmp_path / "journal", fingerprint="1") as journal:
        assert journal.finished() == ITEMS


RESUMED = textwrap.dedent("""
    import os, sys, time
    from rxpool import Journal, WorkerPool

    folder, items = sys.argv[1], int(sys.argv[2])
    notes = os.open(folder + "/done", os.O_WRONLY | os.O_APPEND | os.O_CREAT)

    def work(item):
        os.write(notes, f"{item}\\n".encode())
        time.sleep(0.001)  # so that no result waits for the next ones
        return item * item

    with Journal(folder + "/journal", fingerprint="1") as journal, WorkerPool(3) as pool:
        with open(folder + "/out", "w") as out:
            for value in pool.imap(work, range(items), order="input", journal=journal):
                print(value, file=out)
""")


@pytest.mark.timeout(240)
def test_the_output_is_whole_in_the_end(tmp_path):
    """What was finished, and not written when the program was killed, is written later."""
    chance = random.Random(7)
    items, kills, done = 300, 5, tmp_path / "done"
    done.touch()
    command = [sys.executable, "-c", RESUMED, str(tmp_path), str(items)]
    for kill in range(kills):
        enough = (kill + 1) * items // (kills + 2) + chance.randrange(20)
        with subprocess.Popen(command, cwd=ROOT) as program:
            while program.poll() is None and len(done.read_text().split()) < enough:
                time.sleep(0.001)
            program.kill()
    assert subprocess.run(command, cwd=ROOT, timeout=60).returncode == 0
    written = [int(line) for line in (tmp_path / "out").read_text().split()]
    assert written == [item * item for item in range(items)]
    # Of each worker one that runs, and one that waits for its commit.
    assert len(done.read_text().split()) <= items + kills * 3 * 2
