"""Call a service that limits requests and tokens a minute, and has an outage.

    python examples/rate_limited_api.py
    python examples/rate_limited_api.py --items 500 --outage 0

Starts the service in a process of its own, on this machine.  At first it refuses with 429
and ``Retry-After``: one pause for all workers.  After half of the items it answers 503 for a
while: a circuit breaker spares it.  In the end every item has its answer.
"""

import argparse
import json
import sys
import threading
from dataclasses import dataclass
from http.client import HTTPConnection
from time import monotonic

from service import running

from rxpool import (
    CircuitBreaker,
    CircuitOpen,
    Failure,
    Limit,
    Retry,
    Success,
    WorkerPool,
)

REQUESTS = 24_000  #: a minute
TOKENS = 1_200_000  #: a minute
BELOW = 0.95  #: what is asked for, of what is allowed: clocks and networks are not exact


class TooMany(Exception):
    """Status 429; says how long to wait."""

    def __init__(self, retry_after: float) -> None:
        super().__init__(f"429, retry after {retry_after} s")
        self.retry_after = retry_after


class Unavailable(Exception):
    """Status 503."""


@dataclass(frozen=True)
class Job:
    """One call."""

    number: int
    tokens: int


class Client:
    """Calls the service, with one connection for each thread."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.mine = threading.local()

    def get(self, path: str) -> dict[str, object]:
        """The answer, or what it stands for as an exception."""
        if not hasattr(self.mine, "connection"):
            self.mine.connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        self.mine.connection.request("GET", path)
        response = self.mine.connection.getresponse()
        body = response.read()
        if response.status == 429:
            raise TooMany(float(response.headers["Retry-After"]))
        if response.status != 200:
            raise Unavailable(response.status)
        answer: dict[str, object] = json.loads(body)
        return answer

    def call(self, job: Job) -> object:
        """Have a job done."""
        return self.get(f"/{job.number}?{job.tokens}")["item"]


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--items", type=int, default=2000)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--outage", type=float, default=1.5, help="seconds")
    return parser.parse_args()


def main() -> int:
    """Do all jobs; 0 if every one has its answer."""
    options = arguments()
    figures = REQUESTS, TOKENS, options.items // 2, options.outage
    with running("server.py", *figures) as port:
        return run(Client(port), options.items, options.workers)


def run(client: Client, items: int, workers: int) -> int:
    """Do the jobs and print what came of them."""
    jobs = [Job(number, 20 + number * 7 % 60) for number in range(items)]
    requests = Limit(REQUESTS * BELOW, per=60, burst=10)
    tokens = Limit(TOKENS * BELOW, per=60, burst=500, cost=lambda job: job.tokens)
    breaker = CircuitBreaker(
        name="service",
        sliding_window_size=20,
        minimum_number_of_calls=10,
        wait_duration_in_open_state=0.3,
        permitted_number_of_calls_in_half_open_state=3,
        ignore_exceptions=TooMany,
    )
    breaker.events.subscribe(lambda event: print(f"  breaker: {event.before} -> {event.after}"))
    retry = Retry(6, delay=0.1, on=(TooMany, Unavailable, CircuitOpen), budget=0.2)
    begun = monotonic()
    good: list[Success[Job, object]] = []
    bad: list[Failure[Job]] = []

    def note(outcome: Success[Job, object] | Failure[Job]) -> None:
        good.append(outcome) if isinstance(outcome, Success) else bad.append(outcome)

    with WorkerPool(workers) as pool:
        calls = pool.outcomes(
            client.call, retry=retry, breaker=breaker, limit=Limit.all(requests, tokens)
        )
        pool.pull(jobs).pipe(calls).subscribe(note)
    took = monotonic() - begun
    counts = client.get("/stats")
    retries = sum(outcome.attempts - 1 for outcome in [*good, *bad] if outcome.attempts)
    print(f"{len(good):,} of {items:,} items in {took:.1f} s, {len(good) / took:.0f} a second")
    print(f"  answers   {json.dumps(counts)}")
    print(f"  retries   {retries}, which is {retries / items:.1%} of the items")
    for outcome in bad[:5]:
        print(f"  failed    {outcome.item}: {outcome.error!r}")
    return 1 if bad or len(good) != items else 0


if __name__ == "__main__":
    sys.exit(main())
