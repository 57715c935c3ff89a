"""What the user sees: progress while it runs, a report at the end."""

import sys
from time import monotonic

from indexing.database import Index, Tally

__all__ = ("Progress", "report")


class Progress:
    """One line that is rewritten on a terminal, else a line every two seconds."""

    def __init__(self) -> None:
        self.total = Tally()
        self._start = self._told = monotonic()
        self._live = sys.stderr.isatty()

    @property
    def elapsed(self) -> float:
        """Seconds since the start."""
        return max(monotonic() - self._start, 1e-6)

    def take(self, saved: Tally) -> None:
        """Count a batch and show where things stand."""
        total = self.total
        total.add(saved)
        if not self._live and monotonic() - self._told < 2.0:
            return
        self._told = monotonic()
        line = (
            f"{total.files:,} files, {total.definitions:,} definitions, "
            f"{total.failures} failures, {total.files / self.elapsed:,.0f} files/s"
        )
        self._write(f"\r{line}\033[K" if self._live else f"{line}\n")

    def clear(self) -> None:
        """Leave the line to what follows."""
        if self._live:
            self._write("\r\033[K")

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()


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
