"""What type checkers infer of the imperative faces: read by mypy and pyright, never run."""

from typing import assert_type

from rxpool.faces import (
    BatchProcessor,
    DebounceManager,
    ThrottleManager,
    batched,
    debounced,
    throttled,
)
from rxpool.pool import PoolFuture


def lengths(texts: list[str]) -> list[int | BaseException]:
    return [len(text) for text in texts]


async def lengths_later(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


def length(text: str, times: int = 1) -> int:
    return len(text) * times


async def length_later(text: str, times: int = 1) -> int:
    return len(text) * times


async def processors() -> None:
    processor: BatchProcessor[str, int] = BatchProcessor(lengths, max_size=3)
    assert_type(processor.add("a"), PoolFuture[int])
    assert_type(await processor.add("a"), int)
    assert_type(await processor.add_async("a"), PoolFuture[int])
    later: BatchProcessor[str, int] = BatchProcessor(lengths_later, retry=3)
    assert_type(later.add("a").result(1), int)


async def managers() -> None:
    throttle = ThrottleManager(1)
    assert_type(throttle.execute(length, "a", times=2), PoolFuture[int])
    assert_type(await throttle.execute(length_later, "a"), int)
    assert_type(await throttle.execute_async(length_later, "a"), PoolFuture[int])
    debounce = DebounceManager(1)
    assert_type(debounce.execute(length, "a"), PoolFuture[int])
    assert_type(await debounce.execute(length_later, "a"), int)


@batched(max_size=3, bisect=True)
async def embed(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@batched(max_size=3)
def measure(texts: list[str]) -> list[int]:
    return [len(text) for text in texts]


@throttled(3)
async def fetch(url: str, *, times: int = 1) -> bytes:
    return url.encode() * times


@throttled(3)
def load(url: str) -> bytes:
    return url.encode()


@debounced(3)
def save(text: str) -> int:
    return len(text)


@debounced(3)
async def search(text: str) -> list[str]:
    return [text]


async def decorated() -> None:
    assert_type(await embed("a"), int)
    assert_type(measure("a"), PoolFuture[int])
    assert_type(await fetch("a", times=2), bytes)
    assert_type(load("a"), PoolFuture[bytes])
    assert_type(save("a"), PoolFuture[int])
    assert_type(await search("a"), list[str])
    assert_type(fetch.manager, ThrottleManager)
    assert_type(save.manager, DebounceManager)
    assert_type(embed.close(), bool)
    assert_type(measure.processor.metrics().accepted, int)
    await fetch(1)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
