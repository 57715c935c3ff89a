"""How much memory this process uses."""

import os

from rxpool.errors import InvalidArgument

__all__ = ("check_that_known", "resident_bytes")


def resident_bytes() -> int:
    """The resident set, in bytes."""
    try:
        with open("/proc/self/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:  # not on this system
        import psutil  # type: ignore[import-untyped, unused-ignore]

        return int(psutil.Process().memory_info().rss)


def check_that_known() -> None:
    """Refuse `max_memory_per_worker` where nobody can tell."""
    try:
        resident_bytes()
    except ImportError:
        raise InvalidArgument(
            "max_memory_per_worker needs psutil on this system: pip install 'rxpool[psutil]'"
        ) from None
