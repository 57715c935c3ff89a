#!/usr/bin/env bash
# reactivex 6.1.0: `run()` leaves one sleeping thread for every timer that was cancelled.
#
# Guess: `rx.range(100).pipe(ops.timeout(3)).run()` cancels its timers as items come, so when it
# returns nothing of it is left, as with `subscribe()`.
#
# Seen: `run()` subscribes with a NewThreadScheduler, which operators of time below it take for
# their timers.  A disposed timer of that scheduler does not wake its thread: it sleeps until it
# would have been due.  100 items through `timeout(3)` leave 101 threads for 3 seconds, through
# `debounce(3)` 100; the same pipelines subscribed to leave none.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q --disable-pip-version-check reactivex==6.1.0
"$place/venv/bin/python" - <<'PROGRAM' | tee "$place/seen"
import threading
import time

import reactivex as rx
from reactivex import operators as ops

ITEMS, SECONDS = 100, 3.0


def left(consume):
    """How many threads there are more when *consume* has returned; and when they are gone."""
    before = threading.active_count()
    began = time.monotonic()
    consume()
    # Threads that have nothing to wait for are given a moment to end.
    time.sleep(0.5)
    more = threading.active_count() - before
    while threading.active_count() > before and time.monotonic() < began + 4 * SECONDS:
        time.sleep(0.01)
    return more, time.monotonic() - began


def subscribe(stream):
    done = threading.Event()
    stream.subscribe(on_completed=done.set, on_error=lambda _: done.set())
    done.wait(10)


for name, operator in (("timeout", ops.timeout(SECONDS)), ("debounce", ops.debounce(SECONDS))):
    stream = rx.range(ITEMS).pipe(operator)
    for how, consume in (("run", stream.run), ("subscribe", lambda: subscribe(stream))):
        threads, gone = left(consume)
        late = "until the timers were due" if gone > SECONDS - 0.5 else "no longer"
        print(f"{name} {how}: {threads} threads left, {late}")
PROGRAM
diff - "$place/seen" <<'SEEN'
timeout run: 101 threads left, until the timers were due
timeout subscribe: 0 threads left, no longer
debounce run: 100 threads left, until the timers were due
debounce subscribe: 0 threads left, no longer
SEEN
echo "as described"
