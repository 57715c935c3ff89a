"""How much memory this process uses."""

from rxpool.errors import InvalidArgument

__all__ = ("check_that_known", "of_status", "resident_bytes")


def resident_bytes() -> int:
    """The resident set, in bytes, without what is shared with other processes on purpose.

    Large items and results pass through such memory; it is the pool's, and comes and goes.
    """
    try:
        with open("/proc/self/status", encoding="ascii", errors="replace") as file:
            return of_status(file.read())
    except OSError:  # not on this system
        import psutil  # type: ignore[import-untyped, unused-ignore]

        return int(psutil.Process().memory_full_info().uss)


def of_status(text: str) -> int:
    """The same, from what Linux says of a process."""
    sizes = {"VmRSS": 0, "RssShmem": 0}
    for line in text.splitlines():
        name, _, value = line.partition(":")
        if name in sizes:
            sizes[name] = int(value.split()[0])
    return 1024 * (sizes["VmRSS"] - sizes["RssShmem"])


def check_that_known() -> None:
    """Refuse `max_memory_per_worker` where nobody can tell."""
    try:
        resident_bytes()
    except ImportError:
        raise InvalidArgument(
            "max_memory_per_worker needs psutil on this system: pip install 'rxpool[psutil]'"
        ) from None
