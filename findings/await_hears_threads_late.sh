#!/usr/bin/env bash
# reactivex 6.1.0: `await observable` does not notice an item that another thread emits.
#
# Guess: awaiting an observable that emits on a thread of its own (a `NewThreadScheduler`) gives
# the item when it comes, as awaiting `asyncio.wrap_future(...)` does.
#
# Seen: the future of the await is completed on that thread, without telling the event loop.
# The loop sees it when something else wakes it: here a timer that is due after a second, though
# the item came after 0.1 s.  On a loop with nothing else to do that is never.
set -euo pipefail
place=$(mktemp -d)
trap 'rm -rf "$place"' EXIT
python3 -m venv "$place/venv"
"$place/venv/bin/pip" install -q --disable-pip-version-check reactivex==6.1.0
"$place/venv/bin/python" - <<'PROGRAM' | tee "$place/seen"
import asyncio
import time
from concurrent.futures import ThreadPoolExecutor

import reactivex as rx
from reactivex.scheduler import NewThreadScheduler


async def late(awaitable):
    """Whether the loop hears of the item before a timer wakes it for another reason."""
    began = time.monotonic()
    alarm = asyncio.create_task(asyncio.sleep(1.0))
    item = await awaitable
    took = time.monotonic() - began
    await alarm
    return item, "with the next event of the loop" if took > 0.9 else "at once"


def slow():
    time.sleep(0.1)
    return 0


async def main():
    stream = rx.timer(0.1, scheduler=NewThreadScheduler())
    print("await observable:", *await late(stream))
    with ThreadPoolExecutor(1) as executor:
        print("await future:", *await late(asyncio.wrap_future(executor.submit(slow))))


asyncio.run(main())
PROGRAM
diff - "$place/seen" <<'SEEN'
await observable: 0 with the next event of the loop
await future: 0 at once
SEEN
echo "as described"
