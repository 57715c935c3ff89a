"""What the user sees at the end."""

import sys
from time import monotonic

from indexing.database import Index, Tally
from rxpool import PerformanceMonitor
from rxpool.metrics import Bottleneck

__all__ = ("Progress", "measurements", "report")


class Progress:
    """What was done so far, and since when."""

    def __init__(self) -> None:
        self.total = Tally()
        self._start = monotonic()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return max(monotonic() - self._start, 1e-6)

    def take(self, saved: Tally) -> None:
        """Count a batch."""
        self.total.add(saved)


def report(headline: str, progress: Progress, index: Index, query: str | None = None) -> None:
    """Print what was done; with a *query* also how fast, what failed, and the answer."""
    total, elapsed = progress.total, progress.elapsed
    files, definitions = index.counts()
    lines = [
        f"{headline} {total.files:,} files, {total.definitions:,} definitions, "
        f"{total.failures} failures in {elapsed:.1f} s",
        f"  database  {index.database}: {files:,} files, {definitions:,} definitions, "
        f"{index.size() / 1e6:.1f} MB",
    ]
    if query is not None:
        lines.append(
            f"  speed     {total.files / elapsed:,.0f} files/s, "
            f"{total.definitions / elapsed:,.0f} definitions/s, "
            f"{total.size / elapsed / 1e6:.1f} MB/s"
        )
        failures = index.failures()
        lines += [f"  failed    {path}: {reason}" for path, reason in failures[:20]]
        if failures[20:]:
            lines.append(f"  failed    {len(failures) - 20} more, see the table failures")
        lines.append(f"  matches of {query!r}")
        lines += [
            f"    {kind:<9} {name}  {path}:{line}"
            for name, kind, path, line in index.find(query)
        ]
    sys.stdout.buffer.write("\n".join([*lines, ""]).encode("utf-8", "replace"))
    sys.stdout.flush()


def measurements(limit: Bottleneck, monitor: PerformanceMonitor) -> None:
    """Print what limited the run, and the monitor's report."""
    print(f"  {limit}")
    for line in str(monitor).splitlines():
        print(f"  {line}")
    sys.stdout.flush()
