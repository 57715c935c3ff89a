"""`Face`: what users have of each face: its end, and how much waits."""

from types import TracebackType
from typing import Self

from rxpool import _checks as checks
from rxpool.faces._engine import FaceEngine

__all__ = ("Face",)


class Face:
    """A context manager, sync and async, around an engine."""

    def __init__(self, engine: FaceEngine) -> None:
        self._engine = engine

    @property
    def pending(self) -> int:
        """How many calls wait."""
        return self._engine.counts.waiting

    def close(self, timeout: checks.Seconds | None = None) -> bool:
        """Take no more calls, finish those that were taken, end the threads.

        Args:
            timeout: Seconds or a timedelta; then what waits is cancelled, and what runs
                fails with `TaskCancelled`, though a thread runs on.

        Returns:
            Whether everything finished.  On a running event loop and in virtual time nobody
            can wait: there it answers how things stand, and the rest ends by itself.
        """
        return self._engine.close(checks.patience("timeout", timeout))

    async def aclose(self, timeout: checks.Seconds | None = None) -> bool:
        """Like `close`, for coroutines: waits without blocking the event loop."""
        return await self._engine.aclose(checks.patience("timeout", timeout))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._engine.terminate()
        else:
            self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is not None:
            self._engine.terminate()
        else:
            await self.aclose()
