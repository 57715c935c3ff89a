"""A server that answers single requests in batches, as model servers do.

    python examples/dynamic_batching.py                     serve and load it: 1,000 calls
    python examples/dynamic_batching.py --calls 5000        more of them
    python examples/dynamic_batching.py --serve 8765        only serve, until Ctrl-C

The protocol is one line of JSON each way: ``{"id": 1, "text": "some words"}`` is answered by
``{"id": 1, "length": 10}`` or ``{"id": 1, "error": "..."}``.  A connection may have many
requests on their way.  The "model" takes 4 ms a batch and next to nothing an item, so one
call at a time would take a thousand times 4 ms; and it refuses empty texts, one by one.
"""

import argparse
import asyncio
import json
from collections.abc import Sequence
from time import perf_counter
from typing import Any

from rxpool.faces import BatchProcessor

CONNECTIONS = 20
OVERHEAD = 0.004  #: seconds that a batch takes, whatever its size
EMPTY_EVERY = 50  #: of so many requests of the load one is bad


async def model(texts: list[str]) -> list[int | BaseException]:
    """A result for each text, or the error of that text."""
    await asyncio.sleep(OVERHEAD)
    return [len(text) if text else ValueError("the text is empty") for text in texts]


class Server:
    """Takes lines from its connections and gives what they ask for to one processor."""

    def __init__(self, processor: BatchProcessor[str, int]) -> None:
        self._processor = processor

    async def connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer the requests of a connection, each as soon as its result is there."""
        try:
            # The group ends when all answers are out.
            async with asyncio.TaskGroup() as answers:
                while line := await reader.readline():
                    answers.create_task(self._answer(line, writer))
            await writer.drain()
        finally:
            writer.close()

    async def _answer(self, line: bytes, writer: asyncio.StreamWriter) -> None:
        answer: dict[str, Any] = {"id": None}
        try:
            request = json.loads(line)
            answer["id"] = request["id"]
            # Waits for room first, so that a flood of requests holds itself back.
            length = await self._processor.add_async(str(request["text"]))
            answer["length"] = await length
        except Exception as error:
            answer["error"] = f"{type(error).__name__}: {error}"
        writer.write(json.dumps(answer).encode() + b"\n")


async def ask(port: int, numbers: Sequence[int]) -> dict[int, Any]:
    """Send all requests on one connection at once, then read the answers."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for number in numbers:
        text = "" if number % EMPTY_EVERY == 0 else "x" * (number % 97 + 1)
        writer.write(json.dumps({"id": number, "text": text}).encode() + b"\n")
    writer.write_eof()
    answers: dict[int, Any] = {}
    while line := await reader.readline():
        answer = json.loads(line)
        answers[answer["id"]] = answer
    writer.close()
    return answers


def check(calls: int, answers: dict[int, Any]) -> tuple[int, int]:
    """How many got their own result and their own error; whoever got neither is an error."""
    good = bad = 0
    for number in range(calls):
        answer = answers[number]
        if number % EMPTY_EVERY == 0:
            assert answer["error"] == "ValueError: the text is empty", answer
            bad += 1
        else:
            assert answer["length"] == number % 97 + 1, answer
            good += 1
    return good, bad


async def load(port: int, calls: int) -> tuple[int, int, float]:
    """Make so many calls at once, over a few connections."""
    began = perf_counter()
    shares = [range(start, calls, CONNECTIONS) for start in range(CONNECTIONS)]
    parts = await asyncio.gather(*(ask(port, share) for share in shares))
    took = perf_counter() - began
    answers = {number: answer for part in parts for number, answer in part.items()}
    return *check(calls, answers), took


async def run(options: argparse.Namespace) -> None:
    """Serve, and load the server unless it is only to serve."""
    async with BatchProcessor(
        model, max_size=options.size, max_delay=options.delay, max_pending=256
    ) as processor:
        server = await asyncio.start_server(
            Server(processor).connected, "127.0.0.1", options.serve or 0
        )
        async with server:
            port = server.sockets[0].getsockname()[1]
            if options.serve:
                print(f"serving on port {port}", flush=True)
                await server.serve_forever()
            good, bad, took = await load(port, options.calls)
        figures = processor.metrics()
    print(f"{options.calls} calls at once: {good} results, {bad} errors, each its own")
    print(
        f"{figures.batches} batches, {figures.accepted / figures.batches:.0f} items each, "
        f"in {took:.2f} s; one by one it would take {options.calls * OVERHEAD:.1f} s at least"
    )


def main() -> None:
    """The program."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--calls", type=int, default=1000, help="how many calls to make")
    parser.add_argument("--size", type=int, default=64, help="the most items in a batch")
    parser.add_argument("--delay", type=float, default=0.005, help="the longest wait (s)")
    parser.add_argument("--serve", type=int, metavar="PORT", help="only serve, on this port")
    try:
        asyncio.run(run(parser.parse_args()))
    except KeyboardInterrupt:
        raise SystemExit(130) from None


if __name__ == "__main__":
    main()
