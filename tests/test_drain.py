"""`Drain`: everything that is left is done, by one thread at a time, and nobody waits."""

import threading
import time

import pytest

from rxpool._core.drain import Drain

THREADS, ROUNDS = 3, 10


class Pile:
    """What threads leave, and what was done of it."""

    def __init__(self):
        self.drain = Drain()
        self.left, self.done, self.overlaps = [], [], 0
        self.inside = False

    def work(self):
        """Do all that is there."""
        if self.inside:
            self.overlaps += 1
        self.inside = True
        while self.left:
            self.done.append(self.left.pop(0))
        self.inside = False
        time.sleep(0)  # others get their turn when all has been looked at

    def leave(self, item):
        """Leave one more."""
        self.left.append(item)
        return self.drain.run(self.work)


def test_nothing_is_left_behind(frantic):
    """Whoever comes at the last instant is seen, though nobody comes later.

    Catches: no look after leaving whether somebody asked; taking that back after the work
    instead of before it.
    """
    for _ in range(200):
        pile = Pile()
        begin, end = (threading.Barrier(THREADS) for _ in range(2))
        stayed = []

        def work(first):
            for round_ in range(ROUNDS):
                begin.wait()  # noqa: B023
                pile.leave((round_, first))  # noqa: B023
                end.wait()  # noqa: B023
                stayed.extend(pile.left)  # noqa: B023

        threads = [threading.Thread(target=work, args=(at,)) for at in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert pile.overlaps == 0
        assert not stayed
        assert sorted(pile.done) == [(at, by) for at in range(ROUNDS) for by in range(THREADS)]


def test_who_comes_from_within_leaves_it():
    """It is done when what goes on is done, not in the midst of that."""
    drain, order, rest = Drain(), [], ["second"]

    def work():
        order.append("begins")
        if rest:
            rest.pop()
            assert not drain.run(work)
        order.append("ends")

    assert drain.run(work)
    assert order == ["begins", "ends", "begins", "ends"]


def test_who_did_it_knows():
    """Nobody is told that did nothing."""
    pile = Pile()
    assert pile.leave(1)
    answers = []

    def work():
        answers.append(pile.leave(2))
        pile.work()

    pile.drain.run(lambda: work() if not answers else pile.work())
    assert answers == [False]
    assert pile.done == [1, 2]


def test_an_error_is_for_who_was_at_work():
    """The next one does the rest."""
    pile = Pile()

    def broken():
        raise ValueError("of the work")

    pile.left.append(1)
    with pytest.raises(ValueError, match="of the work"):
        pile.drain.run(broken)
    assert pile.leave(2)
    assert pile.done == [1, 2]


def test_a_child_of_who_was_not_at_work():
    """There nobody is, and what was left is the parent's."""
    drain, calls = Drain(), []

    def work():
        calls.append("parent")
        drain.forked()  # as in a child
        assert drain.run(lambda: calls.append("child"))

    assert drain.run(work)
    assert calls == ["parent", "child"]
    assert drain.run(lambda: calls.append("again"))
