"""`Retry.http` and `limit.observe`: errors and responses told by what they look like."""

import asyncio
import socket
import ssl
import time
import urllib.error
from email.message import Message

import pytest
import reactivex as rx
from reactivex.testing import TestScheduler

from rxpool import (
    CircuitBreaker,
    CircuitOpen,
    Failure,
    Journal,
    Limit,
    Retry,
    Success,
    TaskTimeout,
    WorkerPool,
    guarded,
)
from rxpool import operators as ops
from rxpool.errors import InvalidArgument, RemoteError
from rxpool.faces import BatchProcessor
from tests.pool.crew import collect


def kind(module, name, *bases):
    """An exception class of a client."""
    return type(name, bases or (Exception,), {"__module__": module})


class Response:
    """What clients give."""

    def __init__(self, status=200, headers=(), attribute="status_code"):
        setattr(self, attribute, status)
        self.headers = dict(headers)


class StatusError(Exception):
    """Carries a response, as those of httpx and requests do."""

    def __init__(self, status, **headers):
        super().__init__(status)
        self.response = Response(status, {k.replace("_", "-"): v for k, v in headers.items()})


def plain(status, attribute, **headers):
    """Carries it itself, as those of aiohttp and urllib do."""
    error = ValueError(status)
    setattr(error, attribute, status)
    error.headers = headers
    return error


HTTPX = kind("httpx", "TransportError", kind("httpx", "RequestError"))
WORTH_IT = [
    StatusError(429),
    StatusError(503),
    plain(500, "status"),
    plain(408, "code"),
    kind("httpx", "ReadTimeout", kind("httpx", "TimeoutException", HTTPX))("x"),
    kind("httpx._exceptions", "ConnectError", HTTPX)("x"),
    kind("requests.exceptions", "ConnectTimeout", kind("requests.exceptions", "Timeout"))("x"),
    kind("requests.exceptions", "ChunkedEncodingError")("x"),
    kind(
        "aiohttp.client_exceptions",
        "ServerDisconnectedError",
        kind("aiohttp.client_exceptions", "ClientConnectionError"),
    )("x"),
    kind("aiohttp.client_exceptions", "ClientPayloadError")("x"),
    kind("urllib3.exceptions", "ProtocolError", kind("urllib3.exceptions", "HTTPError"))("x"),
    urllib.error.URLError(ConnectionRefusedError()),
    urllib.error.HTTPError("http://x", 502, "bad", Message(), None),
    ConnectionResetError(),
    TimeoutError(),
    TaskTimeout("x"),
    socket.gaierror(),
    RemoteError("x", "httpx.ConnectError"),
]
NOT_WORTH_IT = [
    StatusError(404),
    StatusError(501),
    plain(400, "status"),
    urllib.error.HTTPError("http://x", 403, "no", Message(), None),
    urllib.error.URLError(ssl.SSLCertVerificationError()),
    kind("requests.exceptions", "SSLError", kind("requests.exceptions", "ConnectionError"))(
        "x"
    ),
    kind("httpx", "UnsupportedProtocol", HTTPX)("x"),
    kind("mine", "TransportError")("x"),
    kind("httpx", "InvalidURL")("x"),
    SystemExit(500),
    ValueError("x"),
    OSError("x"),
    CircuitOpen("x"),
    RemoteError("x", "mine.ConnectError"),
    plain(True, "status"),
    plain("503", "code"),
    plain(429_000, "code"),
]


@pytest.mark.parametrize("error", WORTH_IT, ids=repr)
def test_what_is_worth_another_attempt(error):
    """Errors of transport, and these statuses."""
    assert Retry.http(jitter=0, delay=3).wait_before_next(1, error, 0.0, 0.0) == 3.0


@pytest.mark.parametrize("error", NOT_WORTH_IT, ids=repr)
def test_what_is_not(error):
    """The same would come of it."""
    assert Retry.http().wait_before_next(1, error, 0.0, 0.0) is None


def test_the_options():
    """Those of `Retry`, and which statuses."""
    retry = Retry.http(3, statuses={404}, delay=1, backoff="constant", jitter=0)
    assert retry.wait_before_next(2, StatusError(404), 0.0, 0.0) == 1.0
    assert retry.wait_before_next(3, StatusError(404), 0.0, 0.0) is None
    assert retry.wait_before_next(1, StatusError(503), 0.0, 0.0) is None
    assert Retry.http(None).max_attempts is None
    assert Retry.http() == Retry.http()


@pytest.mark.parametrize(
    ("error", "wait"),
    [
        (StatusError(429, Retry_After="7"), 7.0),
        (StatusError(429, retry_after_ms="70", Retry_After="7"), 0.07),
        (plain(503, "status", **{"retry-after": "0.5"}), 0.5),
        (StatusError(429, Retry_After="soon"), 3.0),
        (StatusError(429), 3.0),
    ],
)
def test_the_wait_that_a_response_asks_for(error, wait):
    """Exactly, also above the longest that is computed."""
    retry = Retry.http(delay=3, max_delay=3)
    assert retry.wait_before_next(1, error, 0.0, 0.0) == wait


@pytest.mark.parametrize(
    "options",
    [
        {"statuses": "429"},
        {"statuses": 429},
        {"statuses": (99,)},
        {"statuses": (600,)},
        {"statuses": ("429",)},
        {"on_result": 1},
        {"max_attempts": 0},
    ],
)
def test_what_cannot_be_meant(options):
    """Is refused, with the value in the message."""
    with pytest.raises(InvalidArgument):
        Retry.http(**options)


@pytest.mark.parametrize(
    "use",
    [
        lambda pool, retry: pool.map_batches(abs, retry=retry),
        lambda pool, retry: ops.retry(retry),
        lambda pool, retry: BatchProcessor(abs, max_size=1, retry=retry),
    ],
)
def test_results_that_are_no_responses(use):
    """Batches and streams are not looked at."""
    with WorkerPool(1) as pool, pytest.raises(InvalidArgument, match="on_result=True is not"):
        use(pool, Retry.http(on_result=True))


# -- in a pool -------------------------------------------------------------------------------


class Service:
    """Gives responses, or errors, as it is told; `starts` are the times of the calls."""

    def __init__(self, clock, *answers):
        self.clock, self.answers, self.starts = clock, list(answers), []

    def __call__(self, item):
        """A call."""
        self.starts.append(self.clock())
        answer = self.answers.pop(0) if self.answers else Response()
        if isinstance(answer, Exception):
            raise answer
        return answer


def run(answers, items=1, method="outcomes", **options):
    """Outcomes in virtual time, and when calls were made."""
    scheduler, seen = TestScheduler(), []
    service = Service(lambda: scheduler.clock, *answers)
    with WorkerPool(2, on=scheduler) as pool:
        through = getattr(pool, method)(service, **options)
        rx.from_iterable(range(items)).pipe(through).subscribe(seen.append)
        scheduler.advance_to(1000.0)
    return seen, service.starts


def test_a_wait_from_headers_pauses_the_limit():
    """For all who share it."""
    limit = Limit(100, burst=100, jitter=0)
    seen, starts = run(
        [StatusError(429, Retry_After="50")], items=2, retry=Retry.http(), limit=limit
    )
    assert [type(one) for one in seen] == [Success, Success]
    assert len(starts) == 3
    assert starts[-1] >= 50.0


def test_a_status_that_is_not_tried_again_pauses_nothing():
    """It says nothing about when to come."""
    limit = Limit(100, burst=100, jitter=0)
    (one,), starts = run([StatusError(404, Retry_After="50")], retry=Retry.http(), limit=limit)
    assert isinstance(one, Failure)
    assert len(starts) == 1

    def fail():
        raise StatusError(404, Retry_After="50")

    with pytest.raises(StatusError):
        guarded(fail, retry=Retry.http(), limit=limit)()
    assert limit.acquire(timeout=0)


def test_responses_are_looked_at():
    """A bad one is a failed attempt, also for the breaker and the limit."""
    breaker = CircuitBreaker()
    retry = Retry.http(on_result=True, jitter=0, delay=10, backoff="constant")
    answers = [Response(503), Response(429, {"Retry-After": "25"}, "status"), Response(200)]
    (one,), starts = run(answers, retry=retry, breaker=breaker)
    assert (one.value.status_code, one.attempts) == (200, 3)
    assert starts == [0.0, 10.0, 35.0]
    assert (breaker.metrics().calls, breaker.metrics().failed) == (3, 2)


@pytest.mark.parametrize("options", [{}, {"fallback": "other"}, {"limit": Limit(100)}])
def test_the_last_bad_response_is_the_result(options):
    """It is neither a failure nor replaced, and not what the journal keeps."""
    retry = Retry.http(2, on_result=True)
    (one,), starts = run([Response(503), Response(500)], retry=retry, **options)
    assert isinstance(one, Success)
    assert (one.value.status_code, one.attempts, len(starts)) == (500, 2, 2)


def test_a_deadline_leaves_the_last_bad_response(tmp_path):
    """The next attempt would come too late; the next run makes one."""
    retry = Retry.http(None, on_result=True, delay=30, jitter=0, backoff="constant")
    answers = [Response(503), Response(500), Response(502)]
    with Journal(tmp_path / "journal", fingerprint="1") as journal:
        options = {"retry": retry, "deadline": 50, "journal": journal}
        (one,), starts = run(answers, **options)
        assert (one.value.status_code, starts) == (500, [0.0, 30.0])
        assert journal.finished() == 0


@pytest.mark.parametrize("on", ["threads", "asyncio"])
def test_on_other_backends(on):
    """`map`, `imap` and `worker` as well, on the quick paths too."""
    retry = Retry.http(4, on_result=True, delay=0)
    with WorkerPool(2, on=on) as pool:
        for method in ("map", "imap", "worker"):
            service = Service(time.monotonic, Response(503), Response(429), Response(204))
            if method == "map":
                (response,) = collect(rx.of(1).pipe(pool.map(service, retry=retry)))
            elif method == "imap":
                (response,) = pool.imap(service, [1], retry=retry)
            else:
                response = pool.worker(service, retry=retry).execute(1).result(10)
            assert response.status_code == 204
            assert len(service.starts) == 3


def test_guarded_functions():
    """Plain and async: the same rules."""
    waits = []
    retry = Retry.http(3, on_result=True, jitter=0, delay=2, backoff="constant")
    service = Service(time.monotonic, Response(503), StatusError(429, Retry_After="9"))
    call = guarded(service, retry=retry, sleep=waits.append)
    assert call(1).status_code == 200
    assert waits == [2.0, 9.0]
    service.answers = [Response(503), Response(502), Response(500)]
    assert call(1).status_code == 500

    async def sleep(seconds):
        waits.append(seconds)

    async def acall(item):
        return service(item)

    service.answers = [Response(503), Response(502), Response(500)]
    answer = asyncio.run(guarded(acall, retry=retry, sleep=sleep, fallback=3)(1))
    assert answer.status_code == 500


# -- what headers teach a limit --------------------------------------------------------------


def test_a_limit_learns():
    """It pauses until there is something left; an empty bucket first."""
    limit = Limit(1000, burst=1000, jitter=0)
    limit.observe({"RateLimit-Remaining": "3", "RateLimit-Reset": "60"})
    assert limit.acquire(timeout=0)
    limit.observe({"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "60"})
    assert not limit.acquire(timeout=0)
    assert limit.unreadable == 0


@pytest.mark.parametrize(
    "headers",
    [{"Retry-After": "soon"}, {"RateLimit": "?"}, None, 3, {"RateLimit-Remaining": ""}],
)
def test_what_cannot_be_read_is_counted(headers):
    """And nothing else happens."""
    limit = Limit(1000, burst=1000)
    limit.observe(headers)
    assert limit.unreadable == 1
    assert limit.acquire(timeout=0)


def test_several_limits_learn_together():
    """All of them pause."""
    requests, tokens = Limit(1000, burst=9), Limit(1000, burst=9)
    Limit.all(requests, tokens).observe({"Retry-After": "60"})
    assert not requests.acquire(timeout=0)
    assert not tokens.acquire(timeout=0)
