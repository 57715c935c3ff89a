"""Exceptions that allow no attributes, and errors, items and results that raise themselves."""

import multiprocessing
import threading
from concurrent.futures import Executor, Future, ProcessPoolExecutor

import pytest
import reactivex as rx

from rxpool import Failure, WorkerPool
from rxpool.errors import NotPicklable, WorkerCrashed
from tests.ends import worker_jobs as jobs
from tests.ends.programs import LIMIT
from tests.ends.worker_programs import Sink

# -- exceptions that allow no attributes, and others of their own making -------------------


def looks(error):
    """All that an exception is made of."""
    slots = {
        name: getattr(error, name, None)
        for name in ("code", "_Base__private", "more", "errno", "filename")
    }
    return type(error), error.args, slots


@pytest.fixture(params=["processes", "executor", "threads", "asyncio"])
def pool(request):
    """A pool of one worker, of each kind."""
    if request.param != "executor":
        with WorkerPool(1, on=request.param) as pool:
            yield pool
        return
    context = multiprocessing.get_context("forkserver")
    with ProcessPoolExecutor(1, context) as executor, WorkerPool(1, on=executor) as pool:
        yield pool


def test_unusual_exceptions(pool):
    """Each is its item's failure, as it is; what follows goes on."""
    items = [each for name in jobs.UNUSUAL for each in (name, 1)]
    found = list(pool.imap(jobs.fail_or, items, on_failure="skip"))
    assert found == [1] * len(jobs.UNUSUAL)
    for name, make in jobs.UNUSUAL.items():
        wanted = looks(make())
        assert looks(pool.submit(jobs.fail, name).exception(LIMIT)) == wanted, name
        (outcome,) = Sink(rx.of(name).pipe(pool.outcomes(jobs.fail))).values
        assert looks(outcome.error) == wanted, name
        replaced = Sink(rx.of(name).pipe(pool.map(jobs.fail, fallback=jobs.replace)))
        assert looks(replaced.error) == wanted, name
        later = Sink(rx.of(name).pipe(pool.map(jobs.fail_later)))
        assert (later.values, looks(later.error)) == ([name], wanted), name


class Rubbish(Executor):
    """Answers with something else than asked for."""

    def submit(self, fn, /, *args, **kwargs):
        """Do not call it."""
        future = Future()
        future.set_result("rubbish")
        return future


def test_an_executor_that_answers_with_rubbish():
    """The item has failed, and says with what."""
    with WorkerPool(1, on=Rubbish()) as pool:
        error = pool.submit(abs, 1).exception(LIMIT)
    assert type(error) is WorkerCrashed
    assert "the executor has answered with 'rubbish'" in str(error)


def test_an_initializer_that_raises_an_unusual_exception():
    """It is the reason why workers do not start."""
    with WorkerPool(1, on="processes", initializer=jobs.fail, initargs=("field",)) as pool:
        error = pool.submit(abs, 1).exception(LIMIT)
        assert looks(error.__cause__) == looks(jobs.Field(3))


# -- what goes wrong for one item ------------------------------------------------------------


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, ValueError])
def test_items_and_results_that_raise_where_they_are_pickled(kind):
    """Only that item fails; a function that does, fails all of its items."""
    harmful = [
        jobs.Harmful(kind),
        jobs.HarmfulThere(kind),
        jobs.Reply(jobs.Harmful, kind),
        jobs.Reply(jobs.HarmfulThere, kind),
    ]
    items = [each for bad in harmful for each in (1, bad, 2)]
    found = []

    def main():
        with WorkerPool(1, on="processes") as pool:
            found.append(list(pool.imap(jobs.reply, items, order="input", on_failure="skip")))
            for bad in harmful:
                found.append(pool.submit(jobs.reply, bad).exception(LIMIT))
            part = pool.submit(jobs.reply_in_part, jobs.Reply(jobs.Harmful, kind))
            found.append(part.exception(LIMIT))
            found.append(Sink(rx.of(1, 2).pipe(pool.outcomes(jobs.Harmful(kind)))).values)

    # On the main thread it might be a Ctrl-C.
    thread = threading.Thread(target=main, daemon=True)
    thread.start()
    thread.join(LIMIT)
    values, *errors, outcomes = found
    assert values == [1, 2] * 4
    assert all(isinstance(error, (kind, NotPicklable)) for error in errors)
    assert len(errors) == 5
    assert [type(outcome) for outcome in outcomes] == [Failure, Failure]
