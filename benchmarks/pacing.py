"""How exact `throttle` keeps its rate: 1000 a second for three seconds."""

import time
from statistics import median
from threading import Event

from reactivex.subject import Subject

from rxpool import operators as ops

RATE, SECONDS, SLOT = 1000, 3, 0.1


def pace(seconds: float) -> list[float]:
    """The times at which items left, from the first on."""
    items = int(RATE * seconds) + 1
    source: Subject[int] = Subject()
    times: list[float] = []
    done = Event()
    throttle = ops.throttle(RATE, burst=1, max_pending=items)
    source.pipe(throttle).subscribe(
        lambda _: times.append(time.perf_counter()), on_completed=done.set
    )
    for number in range(items):
        source.on_next(number)
    source.on_completed()
    done.wait(seconds * 3 + 5)
    return [at - times[0] for at in times]


def main(rounds: int, quick: bool) -> None:
    """Print the table."""
    seconds = 0.3 if quick else SECONDS
    errors, least, most = [], [], []
    for _ in range(1 if quick else rounds):
        times = pace(seconds)
        rate = (len(times) - 1) / times[-1]
        errors.append((rate / RATE - 1) * 100)
        slots = [0] * round(seconds / SLOT)
        for at in times[1:]:
            slots[min(int(at / SLOT), len(slots) - 1)] += 1
        least.append(min(slots))
        most.append(max(slots))
    print(f"\n### throttle({RATE}, burst=1) for {seconds} s, {len(errors)} runs\n")
    print("| | median | worst | target |")
    print("| - | -----: | ----: | ------ |")
    worst = max(errors, key=abs)
    print(f"| error of the rate, % | {median(errors):+.3f} | {worst:+.3f} | ± 0.5 |")
    print(f"| least in a 100 ms slot | {median(least):.0f} | {min(least)} | ≥ 95 |")
    print(f"| most in a 100 ms slot | {median(most):.0f} | {max(most)} | ≤ 105 |")
