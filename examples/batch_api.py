"""Put 500 prompts to a service with two quotas; killed, it goes on where it was.

    python examples/batch_api.py answers.jsonl
    python examples/batch_api.py answers.jsonl --items 2000 --workers 32

Starts the service in a process of its own, on this machine.  It refuses what is over its
quotas, answers 503 now and then and closes connections; its headers say what is left of the
quotas.  The answers are written in the order of the prompts.  What is done is kept in
``answers.jsonl.journal``: kill the program and start it again, and nothing that it noted is
asked for twice.
"""

import argparse
import json
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from time import monotonic
from urllib.request import Request, urlopen

from service import running

from rxpool import Journal, Limit, Retry, WorkerPool
from rxpool import operators as ops

REQUESTS, TOKENS = 150, 9_000  #: a second


@dataclass(frozen=True)
class Prompt:
    """One call."""

    number: int
    text: str

    @property
    def tokens(self) -> int:
        """What it costs."""
        return 20 + self.number * 7 % 60


class Client:
    """Calls the service, and learns from its headers."""

    def __init__(self, url: str, requests: Limit, tokens: Limit) -> None:
        self.url, self.requests, self.tokens = url, requests, tokens

    def ask(self, prompt: Prompt) -> str:
        """The answer; urllib raises what is none."""
        body = json.dumps({"prompt": prompt.text, "tokens": prompt.tokens}).encode()
        with urlopen(Request(self.url, body), timeout=10) as response:
            self.requests.observe(response.headers)
            return str(json.load(response)["answer"])


def arguments() -> argparse.Namespace:
    """What the user wants."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("answers", type=Path)
    parser.add_argument("--items", type=int, default=500)
    parser.add_argument("--workers", type=int, default=16)
    return parser.parse_args()


def run(url: str, path: Path, items: int, workers: int) -> None:
    """Ask all prompts, and write the answers as they come."""
    prompts = [Prompt(number, f"prompt {number}") for number in range(items)]
    requests = Limit(REQUESTS, burst=10)
    tokens = Limit(TOKENS, burst=500, cost=lambda prompt: prompt.tokens)
    client = Client(url, requests, tokens)
    with (
        Journal(
            f"{path}.journal", key=lambda prompt: prompt.number, fingerprint="1"
        ) as journal,
        path.open("w") as file,
        WorkerPool(workers) as pool,
    ):

        def write(answer: str) -> None:
            file.write(json.dumps(answer) + "\n")

        # The journal gives what an earlier run has done, so the file begins anew each time.
        pool.pull(prompts).pipe(
            pool.map(
                client.ask,
                retry=Retry.http(8, delay=0.05),
                limit=Limit.all(requests, tokens),
                journal=journal,
                order="input",
            ),
            ops.progress(total=items),
        ).subscribe(write)


def main() -> int:
    """Ask, and say what the service counted."""
    options = arguments()
    begun = monotonic()
    with running("unruly.py", REQUESTS, TOKENS, 7) as port:
        url = f"http://127.0.0.1:{port}/"
        print("asking", os.getpid(), flush=True)
        run(url, options.answers, options.items, options.workers)
        with urlopen(url, timeout=10) as response:
            counts = json.load(response)
    print(f"{options.items} answers in {monotonic() - begun:.1f} s")
    print(f"the service counted {json.dumps(counts)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
