"""Runs of `map` in virtual time, and how their results are written.

An item is a letter and a duration: the work of ``"a30"`` lasts 30 ticks and gives ``"a"``,
that of ``"a30!"`` fails then, with `Oops`.  Sources and results are written as
``"a30@210 |@220"``: ``|`` is the completion, ``#`` an error with the name of its type.
"""

from reactivex.testing import TestScheduler

from rxpool import Failure, Success, WorkerPool
from tests.pool.marbles import conserved, row, work


def outcome(record):
    """``a`` for a success with "a", ``-a30:Oops`` for a failed "a30"."""
    match record:
        case Success(value=value):
            return "".join(value)
        case Failure(item=item, error=error):
            return f"-{item}:{type(error).__name__}"


def run(source, *, workers=1, disposed=1000, fn=work, pending=1024, wrap=None, **options):
    """Run `map` on a hot source: its results, the source and the pool."""
    scheduler = TestScheduler()
    pool = WorkerPool(workers, on=scheduler, max_pending=pending)
    xs = scheduler.create_hot_observable(*row(source))
    for tick in range(201, 600):
        scheduler.schedule_absolute(float(tick), lambda *_: conserved(pool) and None)
    through = wrap or (lambda stream: stream)
    results = scheduler.start(
        lambda: through(xs.pipe(pool.map(fn, **options))), disposed=disposed
    )
    return results.messages, xs, pool


def at(scheduler, tick, action):
    """Do *action* at *tick*; the list it answers gets what it gave."""
    answers = []
    scheduler.schedule_absolute(float(tick), lambda *_: answers.append(action()))
    return answers
