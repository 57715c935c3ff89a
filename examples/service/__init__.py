"""Services that misbehave, for the examples of calling one."""

import subprocess
import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

__all__ = ("running",)


@contextmanager
def running(program: str, *figures: object) -> Generator[int, None, None]:
    """Run one of these in a process of its own; gives its port."""
    with subprocess.Popen(
        [sys.executable, str(Path(__file__).parent / program), *map(str, figures)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as server:
        assert server.stdin is not None
        assert server.stdout is not None
        try:
            yield int(server.stdout.readline())
        finally:
            server.stdin.close()
