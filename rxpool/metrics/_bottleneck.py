"""`bottleneck`: what keeps a pipeline from going faster."""

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias

from rxpool import _checks as checks

__all__ = ("Bottleneck", "Culprit", "bottleneck")

#: "bounds": `max_pending` or `max_reorder` hold the source back although workers are free
#: "interpreter": the workers are busy computing in Python, of which one does at a time
Culprit: TypeAlias = Literal[
    "source", "workers", "interpreter", "limit", "subscriber", "bounds", "nothing"
]

#: so much CPU time a second says that one interpreter computes all the time; what takes more
#: does not need it, as most of NumPy
_ONE_CORE: Final = (0.75, 1.25)


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """What limits a pipeline, and the share of the time in which it did."""

    culprit: Culprit
    share: float  #: from 0 to 1; of the culprit, or of the nearest if there is none
    sentence: str  #: for people

    def __str__(self) -> str:
        return self.sentence


def bottleneck(
    *,
    elapsed: checks.Seconds,
    workers: int,
    source_waiting: checks.Seconds = 0.0,
    inbox_full: checks.Seconds = 0.0,
    workers_busy: checks.Seconds = 0.0,
    limit_wait: checks.Seconds = 0.0,
    subscriber_busy: checks.Seconds = 0.0,
    interpreter_cpu: checks.Seconds = 0.0,
) -> Bottleneck:
    """What limits a pipeline, by where time was spent.

    Every part is seen as a share of its time; the greatest is the culprit if it is at least
    one half.  Of equal shares the one further down the stream is: it holds the others up.
    If none is that great but the source was held back as much, the bounds are.  Where it is
    the workers, but all they do is share one interpreter, that is the culprit.

    Args:
        elapsed: How long was measured; above 0.
        workers: How many there are; 1 or more.
        source_waiting: While workers were idle because the source gave nothing.
        inbox_full: While the source was held back because too much waited.
        workers_busy: While workers ran attempts, summed over workers.
        limit_wait: While items that had a worker waited for a limit.
        subscriber_busy: While the subscriber was being given a value.
        interpreter_cpu: CPU time of this process, if all workers run on its one interpreter.

    All times are seconds or timedeltas; what exceeds the time measured counts as all of it.

    Raises:
        InvalidArgument: If an argument is out of its range or of the wrong type.
    """
    whole = checks.duration("elapsed", elapsed, above=True)
    checks.count("workers", workers, least=1)

    def share(name: str, seconds: checks.Seconds, times: int = 1) -> float:
        return min(1.0, checks.duration(name, seconds) / (whole * times))

    full = share("inbox_full", inbox_full)
    shares: list[tuple[Culprit, float]] = [
        ("subscriber", share("subscriber_busy", subscriber_busy)),
        ("limit", share("limit_wait", limit_wait)),
        ("workers", share("workers_busy", workers_busy, workers)),
        ("source", share("source_waiting", source_waiting)),
    ]
    culprit, most = max(shares, key=lambda each: each[1])  # the first of equals
    if most < 0.5:
        culprit, most = ("bounds", full) if full >= 0.5 else ("nothing", max(most, full))
    cpu = checks.duration("interpreter_cpu", interpreter_cpu) / whole
    if culprit == "workers" and _ONE_CORE[0] <= cpu <= _ONE_CORE[1]:
        culprit, most = "interpreter", min(1.0, cpu)
    return Bottleneck(culprit, most, _sentence(culprit, most, workers))


def _sentence(culprit: Culprit, share: float, workers: int) -> str:
    amount = f"{share:.0%}"
    crew = "the worker is" if workers == 1 else f"the {workers} workers are"
    return {
        "subscriber": f"The subscriber limits: it was busy {amount} of the time; "
        "more workers would not help.",
        "limit": f"A limit limits: items waited for it {amount} of the time; "
        "raise its rate or its concurrency, if that is allowed.",
        "workers": f"The workers limit: {crew} busy {amount} of the time; "
        "more workers would help, if there are cores for them.",
        "interpreter": f"The interpreter limits: it computed {amount} of the time, and all "
        "workers share it; more of them would not help, on='processes' would.",
        "source": f"The source limits: it was waited for {amount} of the time; "
        "fewer workers would do.",
        "bounds": f"The bounds limit: the source was held back {amount} of the time "
        "although workers were free; raise max_pending or max_reorder.",
        "nothing": f"Nothing limits clearly: no part was busy more than {amount} of the time.",
    }[culprit]
