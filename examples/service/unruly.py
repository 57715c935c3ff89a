"""An HTTP service that misbehaves: quotas of requests and tokens, told in headers, and faults.

It knows nothing of rxpool, and counts for itself.  Of its answers some are 503, and some
connections are closed without one; who asks again gets the same answer as others.
"""

import json
import random
import sys
import threading
from http.server import BaseHTTPRequestHandler
from time import monotonic, sleep

from server import serve

WINDOW = 1.0  #: seconds that a quota is for


class Window:
    """So much in each window."""

    def __init__(self, most: int) -> None:
        self.most = most
        self.since, self.used = 0.0, 0

    def look(self, now: float) -> None:
        """Begin a new window if it is time."""
        if now - self.since >= WINDOW:
            self.since, self.used = now, 0

    @property
    def left(self) -> int:
        """What may still be used."""
        return self.most - self.used


class Service:
    """What the requests of all connections share."""

    def __init__(self, requests: int, tokens: int, seed: int) -> None:
        self.lock = threading.Lock()
        self.requests, self.tokens = Window(requests), Window(tokens)
        self.chance = random.Random(seed)
        self.counts = {"ok": 0, "429": 0, "503": 0, "closed": 0}

    def answer(self, tokens: int) -> tuple[int, dict[str, str]]:
        """The status for a request and the headers; 0: close the connection."""
        with self.lock:
            now = monotonic()
            for window in (self.requests, self.tokens):
                window.look(now)
            until = self.requests.since + WINDOW - now
            enough = self.requests.left >= 1 and self.tokens.left >= tokens
            fault = self.chance.random()
            status = 200
            if not enough:
                status = 429
            elif fault < 0.03:
                status = 503
            elif fault < 0.05:
                status = 0
            if enough:
                self.requests.used += 1
                self.tokens.used += tokens
            self.counts[{0: "closed", 200: "ok"}.get(status, str(status))] += 1
            headers = {
                "x-ratelimit-remaining-requests": str(self.requests.left),
                "x-ratelimit-reset-requests": f"{until * 1000:.0f}ms",
                "x-ratelimit-remaining-tokens": str(self.tokens.left),
                "x-ratelimit-reset-tokens": f"{until * 1000:.0f}ms",
            }
            if status == 429:
                headers["retry-after-ms"] = f"{until * 1000:.0f}"
            return status, headers


def handler(service: Service) -> type[BaseHTTPRequestHandler]:
    """What answers the requests of one connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """``/stats``."""
            self.reply(200, service.counts, {})

        def do_POST(self) -> None:
            """A prompt: its answer."""
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status, headers = service.answer(body["tokens"])
            if not status:
                self.close_connection = True
                return
            sleep(0.01)
            answer = body["prompt"][::-1] if status == 200 else None
            self.reply(status, {"answer": answer}, headers)

        def reply(self, status: int, body: object, headers: dict[str, str]) -> None:
            """Send an answer."""
            data = json.dumps(body).encode()
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(data))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


def main() -> None:
    """Serve with the quotas that are given."""
    serve(handler(Service(*map(int, sys.argv[1:4]))))


if __name__ == "__main__":
    main()
