"""How jobs go to an executor: one after another, whatever their ends bring."""

import threading

from rxpool.backends.executors._hand_over import HandOver
from rxpool.backends.executors._window import Window


def handing(slots):
    """Into a window of so many slots."""
    window = Window()
    window.slots = slots
    return HandOver(threading.Lock(), window), window


def test_as_many_as_there_are_slots_are_handed_over():
    """The others wait in the window until a call has ended."""
    hand_over, window = handing(2)
    seen = []
    hand_over.offer("abc")
    hand_over.run(lambda job, _: seen.append(job))
    assert seen == ["a", "b"]
    assert window.release("a") == ["c"]


def test_what_the_end_of_a_job_brings_has_its_turn_later():
    """Those that got its slot come first, and nothing is handed over within another."""
    hand_over, window = handing(1)
    seen, depth, brought = [], [0], iter(["c", None, None])

    def fails(job, handed):
        depth[0] += 1
        assert depth[0] == 1
        seen.append(job)
        handed.add(window.release(job))
        handed.go_on(next(brought))
        depth[0] -= 1

    hand_over.offer("ab")
    hand_over.run(fails)
    assert seen == ["a", "b", "c"]
    assert window.release("c") == []
