"""A small HTTP service that limits its callers, and has an outage.

It knows nothing of rxpool: it counts for itself whether its limits are kept.
"""

import json
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic


class Allowance:
    """So much a minute, refilled all the time, with little saved up; at first there is none."""

    def __init__(self, per_minute: float, saved: float) -> None:
        self.rate = per_minute / 60
        self.saved = saved
        self.left = -self.rate  # somebody else has used it up: the first second is lost
        self.since = monotonic()

    def missing(self, cost: float, now: float) -> float:
        """Seconds until *cost* is there; 0: it is."""
        self.left = min(self.saved, self.left + (now - self.since) * self.rate)
        self.since = now
        return max(0.0, (cost - self.left) / self.rate)


class Service:
    """What the requests of all connections share."""

    def __init__(self, requests: float, tokens: float, fails_after: int, outage: float) -> None:
        self.lock = threading.Lock()
        self.requests = Allowance(requests, requests / 600)
        self.tokens = Allowance(tokens, tokens / 600)
        self.fails_after = fails_after
        self.outage = outage
        self.down_until = 0.0
        self.begun: float | None = None
        self.counts = {"ok": 0, "too many": 0, "down": 0}
        self.last_refusal = 0.0

    def answer(self, tokens: float) -> tuple[int, float]:
        """The status for a request, and how long the caller is to wait."""
        with self.lock:
            now = monotonic()
            if self.begun is None:
                self.begun = now
            if self.counts["ok"] == self.fails_after and not self.down_until:
                self.down_until = now + self.outage
            if now < self.down_until:
                self.counts["down"] += 1
                return 503, 0.0
            wait = max(self.requests.missing(1, now), self.tokens.missing(tokens, now))
            if wait:
                self.counts["too many"] += 1
                self.last_refusal = now - self.begun
                return 429, wait
            self.requests.left -= 1
            self.tokens.left -= tokens
            self.counts["ok"] += 1
            return 200, 0.0


def handler(service: Service) -> type[BaseHTTPRequestHandler]:
    """What answers the requests of one connection."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            """``/stats``, or ``/<item>?<tokens>``."""
            if self.path == "/stats":
                self.reply(200, {**service.counts, "last refusal": service.last_refusal})
                return
            item, _, tokens = self.path[1:].partition("?")
            status, wait = service.answer(float(tokens))
            self.reply(status, {"item": item}, wait)

        def reply(self, status: int, body: dict[str, object], wait: float = 0.0) -> None:
            """Send an answer."""
            data = json.dumps(body).encode()
            self.send_response(status)
            if wait:
                self.send_header("Retry-After", f"{wait:.3f}")
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    return Handler


def serve(answers: type[BaseHTTPRequestHandler]) -> None:
    """Serve on a free port, which is printed, until the standard input ends."""
    with ThreadingHTTPServer(("127.0.0.1", 0), answers) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        print(server.server_port, flush=True)
        sys.stdin.read()
        server.shutdown()


def main() -> None:
    """Serve with the limits that are given."""
    service = Service(*map(float, sys.argv[1:3]), int(sys.argv[3]), float(sys.argv[4]))
    serve(handler(service))


if __name__ == "__main__":
    main()
