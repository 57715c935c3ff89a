"""`Sleeper`: a coroutine that waits until some thread wakes it."""

import asyncio
from contextlib import suppress

__all__ = ("Sleeper",)


class Sleeper:
    """Wakes one coroutine of the loop that runs when this is made; needs no thread.

    A `wake` before `sleep` is not lost: `sleep` then returns at once.
    """

    __slots__ = ("_awake", "_future", "_loop")

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._future: asyncio.Future[None] | None = None
        self._awake = False

    def wake(self) -> None:
        """End the `sleep` that goes on, or the next one; from any thread."""
        self._awake = True
        # Set first, then look; `sleep` does it the other way round.
        if self._future is None:
            return
        if asyncio._get_running_loop() is self._loop:
            self._end()
            return
        with suppress(RuntimeError):  # the loop is closed, and nobody sleeps there
            self._loop.call_soon_threadsafe(self._end)

    async def sleep(self, timeout: float | None = None) -> None:
        """Wait for `wake`, *timeout* seconds at most."""
        self._future = future = self._loop.create_future()
        timer = None if timeout is None else self._loop.call_later(timeout, self._end)
        try:
            if not self._awake:
                await future
        finally:
            self._future = None
            self._awake = False
            if timer is not None:
                timer.cancel()

    def _end(self) -> None:
        if self._future is not None and not self._future.done():
            self._future.set_result(None)
