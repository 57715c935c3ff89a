"""Takes from a shared limit, from when a line comes for some seconds, and tells how often.

Run as ``python sharing_limit.py STORE RATE BURST SECONDS``; it prints ``ready``, then a line
for each thing it took if SECONDS is 0, else one number.
"""

import sys
from time import monotonic

from rxpool import Limit

if __name__ == "__main__":
    store, rate, burst, seconds = sys.argv[1:]
    limit = Limit(float(rate), burst=float(burst), initial=0, store=store, name="api")
    print("ready", flush=True)
    sys.stdin.readline()
    until, taken = monotonic() + float(seconds), 0
    while float(seconds) == 0 or limit.acquire(timeout=max(0.0, until - monotonic())):
        if float(seconds) == 0:
            limit.acquire()
            print(monotonic(), flush=True)
        taken += 1
    print(taken, flush=True)
