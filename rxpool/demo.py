"""``python -m rxpool.demo``: what rxpool is for, in ten seconds, on this machine.

A service that allows 40 requests a second is called by 8 threads: the first refusal pauses
all of them.  Then the program is killed in the midst of its work, and goes on from where it
was.  Nothing is left behind but what it prints.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from time import monotonic, sleep
from urllib.request import urlopen

import reactivex as rx

from rxpool import Journal, Limit, Retry, WorkerPool

__all__ = (
    "CALLS",
    "KILLED_AFTER",
    "PAGES",
    "RATE",
    "Quota",
    "calls",
    "fetch",
    "main",
    "resume",
    "service",
    "work",
)

RATE = 40  #: requests a second that the service allows
CALLS = 120
PAGES = 60  #: that are fetched in the second part
KILLED_AFTER = 25  #: of them


class Quota:
    """So many requests a second, counted by the service for itself."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._window, self._used = 0.0, 0
        self.seen: Counter[str] = Counter()  # answers, by kind; and how often each page came

    def ask(self, path: str) -> float:
        """0 if the request is answered, else the seconds to wait."""
        with self._lock:
            now = monotonic()
            if now - self._window >= 1:
                self._window, self._used = now, 0
            if self._used >= RATE:
                self.seen["refused"] += 1
                return self._window + 1 - now
            self._used += 1
            self.seen["answered"] += 1
            self.seen[path] += 1
            return 0.0


@contextmanager
def service() -> Generator[tuple[str, Quota]]:
    """A service on a free port: its address, and what it counted."""
    quota = Quota()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            wait = quota.ask(self.path)
            body = json.dumps({"page": self.path}).encode()
            self.send_response(429 if wait else 200)
            if wait:
                self.send_header("Retry-After", f"{wait:.3f}")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", quota
        finally:
            server.shutdown()


def fetch(address: str) -> str:
    """Call the service."""
    with urlopen(address, timeout=10) as response:
        return str(json.load(response)["page"])


def calls() -> None:
    """A quota: one refusal pauses all workers."""
    print(f"1. {CALLS} calls by 8 threads of a service that allows {RATE} a second")
    with service() as (address, quota), WorkerPool(8) as pool:
        begun = monotonic()
        limit = Limit(RATE * 2, burst=RATE)  # twice what is allowed, so that it refuses
        items = [f"{address}/{number}" for number in range(CALLS)]
        answers = list(pool.imap(fetch, items, retry=Retry.http(), limit=limit, order="input"))
        took = monotonic() - begun
    assert len(answers) == CALLS
    print(f"   {len(answers)} answers in {took:.1f} s, in the order of the calls")
    print(
        f"   {quota.seen['refused']} refused with 429; each told all workers how long to pause"
    )


def work(address: str, journal: str) -> None:
    """What is killed: fetch pages, and note in a journal what is done."""
    with Journal(journal, fingerprint="1") as done, WorkerPool(4) as pool:
        pages = rx.from_iterable(f"{address}/{number}" for number in range(PAGES))
        limit = Limit(RATE, burst=1)
        fetched = pages.pipe(pool.map(fetch, journal=done, limit=limit, retry=Retry.http()))
        fetched.subscribe(lambda page: print(page, flush=True))


def resume() -> None:
    """A kill: the second run does what the first one did not."""
    print(f"2. {PAGES} calls with a journal; the program is killed after {KILLED_AFTER}")
    with service() as (address, quota), tempfile.TemporaryDirectory() as folder:
        journal = str(Path(folder) / "journal")
        command = [sys.executable, "-m", "rxpool.demo", address, journal]
        sleep(1)  # a new second for the service
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as first:
            assert first.stdout is not None
            for _ in range(KILLED_AFTER):
                first.stdout.readline()
            os.kill(first.pid, getattr(signal, "SIGKILL", signal.SIGTERM))
        before = quota.seen["answered"]
        second = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
        pages = Counter({key: n for key, n in quota.seen.items() if key.startswith("/")})
    assert len(pages) == PAGES
    print(f"   killed when the service had answered {before} of them")
    results = len(second.stdout.splitlines())
    asked = quota.seen["answered"] - before
    print(f"   the second run gave all {results} results, and asked for {asked} of them")
    twice = sum(n - 1 for n in pages.values())
    print(f"   asked for twice: {twice}, which were on their way when the program was killed")


def main() -> int:
    """Both parts, or what the second one runs."""
    if len(sys.argv) == 3:
        work(*sys.argv[1:])
    else:
        calls()
        resume()
    return 0


if __name__ == "__main__":
    sys.exit(main())
