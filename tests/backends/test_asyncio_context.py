"""Variables and `current_task` of items on an event loop."""

import asyncio
import contextvars
from contextvars import ContextVar

import pytest

from rxpool import current_task

MARK = ContextVar("mark", default="none")


@pytest.mark.parametrize("waits", [False, True])
@pytest.mark.parametrize("outer", [None, "outer"])
def test_variables_belong_to_one_item(run, waits, outer):
    """They come from where the item was handed over, and go nowhere else."""

    async def work(number):
        before = MARK.get()
        MARK.set(f"item {number}")
        if waits:
            await asyncio.sleep(0)
        assert MARK.get() == f"item {number}"
        return before

    def use(pool):
        if outer is not None:
            MARK.set(outer)
        return list(pool.imap(work, range(100)))

    found = contextvars.Context().run(run, use, 2)
    assert set(found) == {outer or "none"}


def test_variables_go_to_threads(run):
    """Plain functions see them too, and what they set stays there."""

    def work(number):
        before = MARK.get()
        MARK.set("set")
        return before

    def use(pool):
        MARK.set("here")
        return list(pool.imap(work, range(5)))

    assert contextvars.copy_context().run(run, use, 1) == ["here"] * 5


@pytest.mark.parametrize("how", ["first step", "later step", "child", "thread"])
def test_current_task(run, how):
    """The task of the item, in whatever belongs to it."""

    async def tell(number):
        current_task().progress(number / 10)

    async def work(number):
        if how == "later step":
            await asyncio.sleep(0)
        if how == "child":
            await asyncio.gather(tell(number), tell(number))
        else:
            await tell(number)

    def plain(number):
        current_task().progress(number / 10)

    def use(pool):
        told = []
        pool.progress.subscribe(lambda p: told.append((p.item, p.fraction)))
        list(pool.imap(plain if how == "thread" else work, range(10)))
        return told

    times = 2 if how == "child" else 1
    assert sorted(run(use, 3)) == sorted([(n, n / 10) for n in range(10)] * times)
