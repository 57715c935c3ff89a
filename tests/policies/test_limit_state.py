"""`LimitState`: laws for all who come, wait, go, end and pause, where parts are shared."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from rxpool.policies._limit_parts import CapacityPart, RatePart
from rxpool.policies._limit_state import LimitState, Place

PER, RATE, BURST, MOST = 1.0, 2.0, 3.0, 3
WINDOW, STRICT = 2.0, 4.0
NAMES = ["keyed", "strict", "few", "all"]


class Limits(RuleBasedStateMachine):
    """Three limits and one of all their parts; who waits asks again when it is due."""

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.rate = RatePart(RATE, PER, BURST, False, 1.0, lambda key: key, 0.0)
        self.strict = RatePart(STRICT, WINDOW, 1.0, True, 1.0, None, 0.0)
        self.few = CapacityPart(2, 1, MOST, 0.5, lambda error, took: error is not None)
        self.parts = [self.rate, self.strict, self.few]
        made_of = [*([part] for part in self.parts), self.parts]
        self.limits = {
            name: LimitState(parts) for name, parts in zip(NAMES, made_of, strict=True)
        }
        self.waiting = {}  # place -> name of its limit, in the order in which they came
        self.known = {}  # lines, in the order in which they were first seen
        self.under_way = []  # names of limits that have let somebody through, with its start
        self.passed = []  # when, through which limit, with which key and cost
        self.paused = defaultdict(float)  # part -> the end of its pause

    # -- what happens --------------------------------------------------------------------

    @rule(
        name=st.sampled_from(NAMES),
        key=st.sampled_from("ab"),
        costs=st.lists(st.sampled_from([2.0, 1.0]), min_size=1, max_size=4),
    )
    def come(self, name, key, costs):
        """Some come, one after the other."""
        state = self.limits[name]
        keys = tuple(key if part.keyed else None for part in state.parts)
        for cost in costs:
            each = tuple(1.0 if part is self.few else cost for part in state.parts)
            self.ask(Place(keys, each), name)

    @rule()
    def ask_too_early(self):
        """Those that wait ask though nobody told them to, and keep their places."""
        for place, name in reversed(list(self.waiting.items())):
            number = place.number
            if not self.ask(place, name):
                assert place.number == number

    @rule(which=st.integers(0, 99), comes_back=st.booleans())
    def go(self, which, comes_back):
        """One goes without having passed; one that comes back has its place again."""
        if self.waiting:
            place, name = list(self.waiting.items())[which % len(self.waiting)]
            self.limits[name].leave(place)
            assert place.line is None
            if comes_back:
                self.ask(place, name)
            else:
                del self.waiting[place]

    @rule(which=st.integers(0, 99), how=st.sampled_from(["good", "bad", "cancelled"]))
    def end(self, which, how):
        """What was let through ends."""
        if self.under_way:
            name, began = self.under_way.pop(which % len(self.under_way))
            if how == "cancelled":
                self.limits[name].give_back()
            else:
                error = ValueError() if how == "bad" else None
                self.limits[name].done(error, self.now - began, self.now)

    @rule(name=st.sampled_from(NAMES), seconds=st.sampled_from([0.0, 0.7, 3.0]))
    def pause(self, name, seconds):
        """The other side says when to come back."""
        self.limits[name].pause(seconds, self.now)
        for part in self.limits[name].parts:
            self.paused[part] = max(self.paused[part], self.now + seconds)

    @rule(seconds=st.sampled_from([0.1, 0.5, 1.0, 5.0]))
    def time_passes(self, seconds):
        """Alarms ring at their time."""
        until = self.now + seconds
        for _ in range(1000):
            if (due := self.settled()) > until + 1e-6:  # less is rounding
                break
            self.now = max(self.now, due)
            self.ring()
        else:
            raise AssertionError("somebody is woken again and again, and does not pass")
        self.now = max(self.now, until)

    # -- those who set alarms --------------------------------------------------------------

    def ask(self, place, name):
        """Whether it may pass; the laws of those that do."""
        state, older = self.limits[name], self.older(place)
        held_up = any(self.goes_first(other, place, name) for other in older)
        if not state.enter(place, self.now):
            self.waiting.setdefault(place, name)
            assert place.line is state.lines[place.keys]
            self.known[place.line] = None
            return False
        assert place.line is None
        assert not held_up
        for other in older:  # served in order, for each key
            assert (self.waiting[other], other.keys) != (name, place.keys)
        for part in state.parts:  # a pause holds all
            assert self.now >= self.paused[part] - 1e-6
        self.waiting.pop(place, None)
        self.under_way.append((name, self.now))
        self.passed.append((self.now, name, place))
        return True

    def older(self, place):
        """Those that wait and came before *place*; all, if it does not wait."""
        waiting = list(self.waiting)
        return waiting[: waiting.index(place)] if place in self.waiting else waiting

    def goes_first(self, other, place, name):
        """Whether *other* is the first in its line, may pass and takes what *place* takes."""
        theirs = self.limits[self.waiting[other]].parts
        takes = dict(zip(theirs, other.keys, strict=True))
        mine = zip(self.limits[name].parts, place.keys, strict=True)
        return (
            other.line is not None
            and other.line.places[0] is other
            and any(part in takes and takes[part] == key for part, key in mine)
            and all(
                part.due(key, cost, self.now) <= self.now
                for part, key, cost in zip(theirs, other.keys, other.costs, strict=True)
            )
        )

    def settled(self):
        """When the first alarm rings, once all lines that changed were looked at."""
        due = float("inf")
        for state in self.limits.values():
            while state.changed:
                line, _ = state.changed.popitem()
                line.rearm(self.now)
        for state in self.limits.values():
            for line in state.lines.values():
                if line.armed is not None:
                    assert line.armed[0] is line.places[0]
                    due = min(due, line.armed[1])
        for line in self.known:
            assert line.places or line.armed is None
            if due > self.now + 1e-6:
                self.alarm_is_right(line)
        return due

    def alarm_is_right(self, line):
        """Nobody is woken too early, or too late.

        But for those whom somebody older held up who could pass for a moment, and cannot any
        more, as it needs another part too: they are woken when that one passes or goes.
        """
        armed = line.armed
        if line.rearm(self.now):
            line.armed = armed
            assert armed is None
            assert len(self.older(line.places[0])) > 0

    def ring(self):
        """Those that are due ask again."""
        for name, state in self.limits.items():
            for line in list(state.lines.values()):
                if line.armed is not None and line.armed[1] <= self.now:
                    place, _ = line.armed
                    assert line.rung(place)
                    assert not line.rung(place)
                    self.ask(place, name)

    # -- laws -------------------------------------------------------------------------------

    @invariant()
    def no_part_is_over_its_bound(self):
        """Tokens that were saved up and those that came; a window; calls at once."""
        assert 0 <= self.few.running <= MOST
        assert self.few.running == sum(name in ("few", "all") for name, _ in self.under_way)
        for key in "ab":
            taken = [
                (at, place.costs[0])
                for at, name, place in self.passed
                if name in ("keyed", "all") and place.keys[0] == key
            ]
            for first, (since, _) in enumerate(taken):
                spent = 0.0
                for at, cost in taken[first:]:
                    spent += cost
                    assert spent <= BURST + RATE / PER * (at - since) + 1e-5
        taken = [
            (at, place.costs[0]) for at, name, place in self.passed if name in ("strict", "all")
        ]
        for since, _ in taken:
            inside = sum(cost for at, cost in taken if since <= at < since + WINDOW - 1e-6)
            assert inside <= STRICT

    @invariant()
    def who_waits_is_in_line_and_nobody_else(self):
        """Of its limit, and counted by each part of that."""
        lines = defaultdict(list)
        waits = defaultdict(int)
        for place, name in self.waiting.items():
            lines[name, place.keys].append(place)
            for part, key in zip(self.limits[name].parts, place.keys, strict=True):
                waits[part, key] += 1
        for name, state in self.limits.items():
            assert {(name, keys) for keys in state.lines} == {
                each for each in lines if each[0] == name
            }
            for keys, line in state.lines.items():
                assert line.places == lines[name, keys]  # in the order in which they came
        for part in self.parts:
            assert part.waits == {key: n for (of, key), n in waits.items() if of is part}
            assert set(part.lines) == {
                line
                for state in self.limits.values()
                if part in state.parts
                for line in state.lines.values()
            }

    def teardown(self):
        """All pass in the end, be there pauses or not, and nothing is left behind."""
        for _ in range(1000):
            while self.under_way:
                self.end(0, "good")
            if not self.waiting:
                break
            self.time_passes(5.0)
        assert not self.waiting
        for state in self.limits.values():
            assert not state.lines
        for part in self.parts:
            assert (part.lines, part.waits) == ({}, {})


Limits.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestLimits = Limits.TestCase


def test_a_forked_child_has_nobody_in_line():
    """Who waits in the parent asks there; a place of it is one of nobody here."""
    few = CapacityPart(1, 1, 1, 0.5, lambda error, took: False)
    state = LimitState([few])
    first, second = Place((None,), (1.0,)), Place((None,), (1.0,))
    assert [state.enter(first, 0.0), state.enter(second, 0.0)] == [True, False]
    state.forget()
    assert (state.lines, state.changed, few.lines, few.waits) == ({}, {}, {}, {})
    assert (few.running, second.line) == (0, None)
    assert state.enter(second, 0.0)
