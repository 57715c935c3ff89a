"""Errors that mean an end, raised within the faces."""

import asyncio

import pytest

from rxpool.faces import (
    BatchProcessor,
    DebounceManager,
    ThrottleManager,
    batched,
    debounced,
    throttled,
)
from tests import jobs
from tests.ends.stops import STOPS, check, give_all, raised_by
from tests.waiting import WAIT

pytestmark = pytest.mark.timeout(60)


FACE_FATES = (*STOPS, GeneratorExit, KeyboardInterrupt, SystemExit)


def meet_all(fates):
    """A batch whose first item decides."""
    return [jobs.meet(fate) for fate in fates]


async def meet_all_later(fates):
    """The same on the event loop."""
    await asyncio.sleep(0)
    return meet_all(fates)


async def give_all_later(kinds):
    """Exceptions as results of a batch, on the event loop."""
    return give_all(kinds)


@pytest.mark.parametrize("kind", FACE_FATES)
def test_faces_on_threads(kind):
    """The call has it, and the next one is made."""
    fate = kind.__name__
    for fn in (meet_all, give_all):
        with BatchProcessor(fn, max_size=1, max_delay=1) as processor:
            check(processor.add(fate).exception(WAIT), kind)
            assert processor.add("x").result(WAIT) == "x"
            assert processor.metrics().failed == 1
    with ThrottleManager(1000, max_concurrent=1) as manager:
        check(manager.execute(jobs.meet, fate).exception(WAIT), kind)
        check(manager.execute(jobs.meet_later, fate).exception(WAIT), kind)
        assert manager.execute(jobs.meet, "x").result(WAIT) == "x"
    with DebounceManager(0) as debouncer:
        check(debouncer.execute(jobs.meet, fate).exception(WAIT), kind)
        assert debouncer.execute(jobs.meet, "x").result(WAIT) == "x"
    decorated = (
        batched(max_size=1, max_delay=1)(meet_all),
        throttled(1000)(jobs.meet),
        debounced(0)(jobs.meet),
    )
    for call in decorated:
        check(call(fate).exception(WAIT), kind)
        assert call("x").result(WAIT) == "x"
        call.close()


@pytest.mark.parametrize("kind", FACE_FATES)
def test_faces_on_an_event_loop(kind):
    """The same for coroutines; the loop runs on."""
    fate = kind.__name__

    async def main():
        for fn in (meet_all_later, give_all_later, meet_all):
            async with BatchProcessor(fn, max_size=1, max_delay=1) as processor:
                check(await raised_by(processor.add(fate)), kind)
                assert await processor.add("x") == "x"
        async with ThrottleManager(1000, max_concurrent=1) as manager:
            for fn in (jobs.meet, jobs.meet_later):
                check(await raised_by(manager.execute(fn, fate)), kind)
                assert await manager.execute(fn, "x") == "x"
        async with DebounceManager(0) as debouncer:
            check(await raised_by(debouncer.execute(jobs.meet_later, fate)), kind)
        decorated = (
            (batched(max_size=1, max_delay=1)(meet_all_later), "processor"),
            (throttled(1000)(jobs.meet_later), "manager"),
            (debounced(0)(jobs.meet_later), "manager"),
        )
        for call, face in decorated:
            check(await raised_by(call(fate)), kind)
            assert await call("x") == "x"
            await getattr(call, face).aclose()

    asyncio.run(main())
