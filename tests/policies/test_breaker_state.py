"""`BreakerState`: facts in a table of moves, and laws against a model that keeps everything."""

from dataclasses import replace
from math import floor

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st

from rxpool.policies._breaker_state import BreakerRules, BreakerState
from rxpool.policies._breaker_windows import FAILED, SLOW, CountWindow, TimeWindow

SMALL = BreakerRules(size=4, minimum=2, probes=2, wait=10.0)


def run(rules, moves):
    """Do *moves*, ``"<time> <verb> <call>"``, and say what came of those that ask."""
    state, permits, said = BreakerState(rules), {}, []
    for move in moves.split(","):
        at, verb, *rest = move.split()
        now = float(at)
        if verb == "admit":
            permits[rest[0]] = state.admit(now)
            said.append("yes" if permits[rest[0]] >= 0 else "no")
        elif verb in ("good", "bad", "slow", "both"):
            how = {"good": 0, "bad": FAILED, "slow": SLOW, "both": FAILED | SLOW}[verb]
            state.record(permits[rest[0]], now, how)
            said.append(state.state)
        elif verb == "release":
            state.release(permits[rest[0]])
        elif verb == "expire":
            state.expire(now)
            said.append(state.state)
        elif verb == "after":
            said.append(state.retry_after(now))
        else:
            state.go(verb, now)
            said.append(state.state)
    return said, list(state.changes)


OPENED = "0 admit a,0 bad a,0 admit b,0 bad b"  # from closed, by SMALL
TABLE = {
    "one call makes no rate": (SMALL, "0 admit a,1 bad a", "yes closed"),
    "the minimum and half of them bad opens": (
        SMALL,
        "0 admit a,0 bad a,1 admit b,2 good b,2 admit c",
        "yes closed yes open no",
    ),
    "a good call completes the minimum and opens": (
        replace(SMALL, minimum=3, failure_rate=0.3),
        "0 admit a,0 admit b,0 admit c,0 bad a,0 good b,0 good c",
        "yes yes yes closed closed open",
    ),
    "the minimum is no more than the window": (
        replace(SMALL, minimum=99, size=2),
        OPENED,
        "yes closed yes open",
    ),
    "slow calls open too": (
        SMALL,
        "0 admit a,1 slow a,1 admit b,2 slow b",
        "yes closed yes open",
    ),
    "a call can be slow and bad": (
        replace(SMALL, failure_rate=1.0),
        "0 admit a,1 both a,1 admit b,2 slow b",
        "yes closed yes open",
    ),
    "what left the window does not count": (
        replace(SMALL, size=2, failure_rate=1.0),
        "0 admit a,0 bad a,0 good a,0 good a,0 bad a,0 bad a",
        "yes closed closed closed closed open",
    ),
    "open until the wait is over, to the tick": (
        SMALL,
        f"{OPENED},9.75 admit c,9.75 after,10 after,10 admit d",
        "yes closed yes open no 0.25 0.0 yes",
    ),
    "as many probes as permitted, then nobody": (
        SMALL,
        f"{OPENED},10 admit c,10 after,10 admit d,10 admit e,10 after",
        "yes closed yes open yes 0.0 yes no None",
    ),
    "half-open decides when the last probe reports": (
        SMALL,
        f"{OPENED},10 admit c,10 admit d,11 bad c,11 bad d",
        "yes closed yes open yes yes half_open open",
    ),
    "good probes close, and the window is new": (
        SMALL,
        f"{OPENED},10 admit c,10 admit d,11 good c,12 good d,12 admit e,12 bad e",
        "yes closed yes open yes yes half_open closed yes closed",
    ),
    "a probe that reports twice counts once": (
        SMALL,
        f"{OPENED},10 admit c,10 admit d,11 good c,11 good c",
        "yes closed yes open yes yes half_open half_open",
    ),
    "a probe that is released makes room": (
        SMALL,
        f"{OPENED},10 admit c,10 admit d,10 admit e,11 release c,11 admit f,11 good c",
        "yes closed yes open yes yes no yes half_open",
    ),
    "releasing twice makes room once": (
        SMALL,
        f"{OPENED},10 admit c,10 admit d,11 release c,11 release c,11 admit e,11 admit f",
        "yes closed yes open yes yes yes no",
    ),
    "a result of the closed state does not count in half-open": (
        SMALL,
        f"0 admit z,{OPENED},10 admit c,10 bad z,10 bad z,10 admit d",
        "yes yes closed yes open yes half_open half_open yes",
    ),
    "nor one of the first closed state in the second": (
        SMALL,
        f"0 admit z,{OPENED},1 closed,2 bad z,2 bad z,2 bad z",
        "yes yes closed yes open closed closed closed closed",
    ),
    "nor that of a probe in the next half-open": (
        SMALL,
        f"{OPENED},10 admit c,10 open,20 admit d,20 bad c,20 admit e,20 good d,20 good e",
        "yes closed yes open yes open yes half_open yes half_open closed",
    ),
    "a hung probe is given up at the tick": (
        replace(SMALL, probes=1, probe_timeout=5.0),
        f"{OPENED},10 admit c,14.75 admit d,14.75 after,15 after,15 admit e,15 bad c,16 good e",
        "yes closed yes open yes no 0.25 0.0 yes half_open closed",
    ),
    "nobody asked, but it was given up all the same": (
        replace(SMALL, probes=1, probe_timeout=5.0),
        f"{OPENED},10 admit c,15 good c",
        "yes closed yes open yes half_open",
    ),
    "half-open that lasts too long opens again": (
        replace(SMALL, longest_half_open=5.0),
        f"{OPENED},10 admit c,14 expire,15 expire,15 good c,24.75 admit d,25 admit d",
        "yes closed yes open yes half_open open open no yes",
    ),
    "also without a timer, by who asks": (
        replace(SMALL, longest_half_open=5.0),
        f"{OPENED},10 admit c,15 after,15 admit d,15 after",
        "yes closed yes open yes None no 10.0",
    ),
    "or by who reports": (
        replace(SMALL, probes=1, longest_half_open=5.0),
        f"{OPENED},10 admit c,15 good c",
        "yes closed yes open yes open",
    ),
    "no timer half-opens unless that is wanted": (
        SMALL,
        f"{OPENED},99 expire",
        "yes closed yes open open",
    ),
    "a timer half-opens at its tick": (
        replace(SMALL, automatic=True),
        f"{OPENED},9 expire,10 expire",
        "yes closed yes open open half_open",
    ),
    "forced open refuses for ever": (
        SMALL,
        "0 forced_open,999 admit a,999 after",
        "forced_open no None",
    ),
    "disabled lets pass and counts nothing": (
        SMALL,
        "0 disabled,0 admit a,0 bad a,0 bad a,0 bad a",
        "disabled yes disabled disabled disabled",
    ),
    "metrics only lets pass": (
        SMALL,
        "0 metrics_only,0 admit a,0 bad a,0 bad a,0 bad a",
        "metrics_only yes metrics_only metrics_only metrics_only",
    ),
    "who was refused has nothing to report": (
        replace(SMALL, minimum=1),
        f"{OPENED},1 admit x,1 bad x,1 good x,10 admit c,10 bad x,10 bad x",
        "yes open no open no open open yes half_open half_open",
    ),
    "seconds: gone with its second": (
        replace(SMALL, timed=True, size=5, failure_rate=1.0),
        "0.8 admit a,0.8 bad a,5 good a,5.5 bad a,6 bad a",
        "yes closed closed closed closed",
    ),
    "seconds: still there in the fourth after": (
        replace(SMALL, timed=True, size=5, failure_rate=1.0),
        "0.8 admit a,0.8 bad a,4.8 bad a",
        "yes closed open",
    ),
    "seconds: a good call opens when older ones are gone": (
        replace(SMALL, timed=True, size=2, minimum=2),
        "0 admit a,0 good a,0 good a,1 bad a,2 good a",
        "yes closed closed closed open",
    ),
}


@pytest.mark.parametrize(("rules", "moves", "expected"), TABLE.values(), ids=TABLE)
def test_what_it_says(rules, moves, expected):
    """Every answer and every state, one after another."""
    assert " ".join(map(str, run(rules, moves)[0])) == expected


def test_changes_are_noted_with_their_times():
    """Each change once; to become what it is already is none."""
    moves = f"{OPENED},10 admit c,10 admit d,11 good c,12 good d,13 closed,14 disabled"
    _, changes = run(SMALL, f"{moves},15 disabled,16 metrics_only")
    assert changes == [
        ("closed", "open", 0.0),
        ("open", "half_open", 10.0),
        ("half_open", "closed", 12.0),
        ("closed", "disabled", 14.0),
        ("disabled", "metrics_only", 16.0),
    ]


def test_changes_that_nobody_fetches_are_bounded():
    """The newest are kept."""
    state = BreakerState(SMALL)
    for at in range(1000):
        state.go("disabled" if at % 2 else "metrics_only", float(at))
    assert len(state.changes) == 256
    assert state.changes[-1] == ("metrics_only", "disabled", 999.0)


def test_attempts_are_counted_until_it_closes():
    """1 for the first time it opens, one more each time the probes open it again."""
    state, seen = BreakerState(replace(SMALL, minimum=1, probes=1, wait=None)), []
    for good in (False, False, False, True, False):
        now = len(seen) * 100.0
        state.record(state.admit(now), now, 0 if good else FAILED)
        if state.state == "open":
            assert state.wants_wait
            assert state.retry_after(now) is None
            state.set_wait(state.serial, 5.0)
            assert state.retry_after(now) == 5.0
        seen.append(state.attempt)
    assert seen == [1, 2, 3, 0, 1]


def test_a_wait_for_an_older_opening_is_ignored():
    """A slow function may answer when the breaker has opened anew."""
    state = BreakerState(replace(SMALL, minimum=1, wait=None))
    state.record(state.admit(0.0), 0.0, FAILED)
    old = state.serial
    state.go("closed", 1.0)
    state.set_wait(old, 1.0)
    assert (state.state, state.wants_wait) == ("closed", False)
    state.record(state.admit(2.0), 2.0, FAILED)
    state.set_wait(old, 1.0)
    assert state.retry_after(2.0) is None
    state.set_wait(state.serial, 3.0)
    assert state.retry_after(2.0) == 3.0


def test_half_open_is_due_at_once_if_rounding_says_so():
    """Who waits for what `retry_after` says is let in, whatever the last bit is."""
    refused = 0
    for case in range(1, 300):
        opened, wait = case / 70, case / 3
        state = BreakerState(replace(SMALL, minimum=1, wait=wait))
        state.record(state.admit(opened), opened, FAILED)
        now = opened + case / 1300
        now += state.retry_after(now)
        refused += now < opened + wait  # by the last bit
        assert state.admit(now) >= 0
    assert refused, "no case of this test needs what it is for"


# -- windows -------------------------------------------------------------------

calls = st.lists(
    st.tuples(st.sampled_from([0.0, 0.0, 0.25, 0.5, 1.0, 1.75, 3.0, 9.0]), st.integers(0, 3)),
    max_size=60,
)


@settings(deadline=None)
@given(calls, st.sampled_from([1, 2, 3, 7]), st.booleans())
def test_windows_are_those_of_a_list(moves, size, timed):
    """The sums are those of the last calls, or of the calls of the last seconds."""
    window, seen, now = (TimeWindow if timed else CountWindow)(size), [], 0.0
    for step, how in moves:
        now += step
        window.forget(now)
        if step != 0.25:  # in that case it is only looked at
            window.add(now, how)
            seen.append((now, how))
        inside = [s for s in seen if floor(s[0]) > floor(now) - size] if timed else seen[-size:]
        assert window.calls == len(inside)
        assert window.failed == sum(how in (1, 3) for _, how in inside)
        assert window.slow == sum(how in (2, 3) for _, how in inside)
        assert window.full == (not timed and len(seen) >= size)


def test_a_clock_that_goes_back_loses_nothing():
    """Threads may report a little out of order."""
    window = TimeWindow(3)
    for now in (5.5, 6.1, 5.9, 6.2, 4.0):
        window.add(now, FAILED)
    assert (window.calls, window.failed) == (5, 5)
    window.forget(8.0)
    assert window.calls == 4
    window.forget(9.0)
    assert (window.calls, window.failed, window.slow) == (0, 0, 0)
    window.add(6.9, SLOW)  # when all is gone it has its own place
    assert (window.calls, window.slow) == (1, 1)
    window.forget(11.0)
    assert (window.calls, window.slow) == (0, 0)


# -- the whole -----------------------------------------------------------------


class Model:
    """Keeps every call and looks through all of them each time."""

    def __init__(self, rules):
        self.rules = rules
        self.state, self.era, self.attempt = "closed", 0, 0
        self.began, self.refused = 0.0, 0
        self.ended = []  # (time, failed, slow) of this era
        self.shown = None
        self.running = {}  # number of the call: (era, time it began)

    def passes(self):
        return self.state in ("closed", "disabled", "metrics_only")

    def enter(self, state, now):
        before = self.numbers(now)
        self.attempt = {"open": self.attempt + 1, "half_open": self.attempt}.get(state, 0)
        self.state, self.era, self.began = state, self.era + 1, now
        self.shown = before if state == "open" else None
        if state != "open":
            self.refused = 0
        self.ended = []

    def probes(self, now):
        timeout = self.rules.probe_timeout
        return [
            began
            for era, began in self.running.values()
            if era == self.era and (timeout is None or now < began + timeout)
        ]

    def tick(self, now):
        longest = self.rules.longest_half_open
        if self.state == "half_open" and longest is not None and now >= self.began + longest:
            self.enter("open", now)

    def admit(self, number, now):
        over = self.state == "open" and now >= self.began + self.rules.wait
        self.tick(now)
        if over:
            self.enter("half_open", now)
        if self.state == "half_open":
            allowed = len(self.probes(now)) + len(self.ended) < self.rules.probes
        else:
            allowed = self.passes()
        if allowed:
            self.running[number] = (self.era, now)
        else:
            self.refused += 1
        return allowed

    def end(self, number, now, how):
        era, began = self.running.pop(number)
        timeout = self.rules.probe_timeout
        if era != self.era or self.state == "disabled":
            return "stale"
        if self.state == "half_open":
            if timeout is not None and now >= began + timeout:
                return "given up"
            self.tick(now)
            if self.state == "open":
                return "too late"
        self.ended.append((now, how in (1, 3), how in (2, 3)))
        needed = self.needed() if self.state == "closed" else self.rules.probes
        calls, failed, slow = self.sums(now)
        bad = failed >= calls * self.rules.failure_rate or slow >= calls * self.rules.slow_rate
        if self.state == "closed" and calls >= needed and bad:
            self.enter("open", now)
        elif self.state == "half_open" and calls == needed:
            self.enter("open" if bad else "closed", now)
        return "counted"

    def needed(self):
        least = self.rules.minimum
        return least if self.rules.timed else min(least, self.rules.size)

    def sums(self, now):
        size = self.rules.size
        inside = self.ended
        if self.state != "half_open":
            if self.rules.timed:
                inside = [e for e in inside if floor(e[0]) > floor(now) - size]
            else:
                inside = inside[-size:]
        return len(inside), sum(e[1] for e in inside), sum(e[2] for e in inside)

    def numbers(self, now):
        if self.shown is not None:
            return self.shown
        calls, failed, slow = self.sums(now)
        enough = calls >= (self.rules.probes if self.state == "half_open" else self.needed())
        rates = (failed / calls, slow / calls) if enough else (None, None)
        return (*rates, calls, failed, slow)

    def retry_after(self, now):
        if self.passes():
            return 0.0
        if self.state == "open":
            return max(0.0, self.began + self.rules.wait - now)
        longest = self.rules.longest_half_open
        if self.state == "forced_open" or (longest is not None and now >= self.began + longest):
            return None
        probes = self.probes(now)
        if len(probes) + len(self.ended) < self.rules.probes:
            return 0.0
        timeout = self.rules.probe_timeout
        return None if timeout is None else min(probes) + timeout - now


rules = st.builds(
    BreakerRules,
    failure_rate=st.sampled_from([0.25, 0.5, 1.0]),
    slow_rate=st.sampled_from([0.5, 1.0]),
    timed=st.booleans(),
    size=st.sampled_from([1, 2, 4, 6]),
    minimum=st.sampled_from([1, 2, 4, 9]),
    probes=st.sampled_from([1, 2, 3]),
    wait=st.sampled_from([0.0, 2.0, 5.0]),
    longest_half_open=st.sampled_from([None, None, 4.0]),
    automatic=st.booleans(),
    probe_timeout=st.sampled_from([None, 3.0]),
)
verbs = ["admit"] * 12 + ["end"] * 14 + ["release", "after", "expire", "go"]
moves_of_a_breaker = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.0, 0.0, 0.25, 1.0, 1.0, 2.0, 5.0]),
        st.sampled_from(verbs),
        st.integers(0, 5),
        st.sampled_from([0, 0, 0, 1, 1, 2, 3]),
        st.sampled_from(["closed", "forced_open", "disabled", "metrics_only", "closed"]),
    ),
    min_size=30,
    max_size=100,
)


@settings(max_examples=150, deadline=None)
@given(rules, moves_of_a_breaker)
def test_a_breaker_is_that_of_the_model(given_rules, moves):
    """Every answer, state and number, whatever is done; and never too many probes."""
    state, model, now, number = BreakerState(given_rules), Model(given_rules), 0.0, 0
    permits = {}
    for step, verb, which, how, target in moves:
        now += step
        running = sorted(permits)
        if verb == "admit":
            number += 1
            permit = state.admit(now)
            assert (permit >= 0) == model.admit(number, now)
            if permit >= 0:
                permits[number] = permit
        elif verb == "end" and running:
            call = running[which % len(running)]
            event(model.end(call, now, how))
            permit = permits.pop(call)
            if how or permit != state.clean:  # else nothing has to be done
                state.record(permit, now, how)
            else:
                event("clean")
        elif verb == "release" and running:
            call = running[which % len(running)]
            del model.running[call]
            state.release(permits.pop(call))
        elif verb == "after":
            assert state.retry_after(now) == model.retry_after(now)
        elif verb == "expire":
            if given_rules.automatic and model.state == "open":
                if now >= model.began + given_rules.wait:
                    model.enter("half_open", now)
            else:
                model.tick(now)
            state.expire(now)
        elif verb == "go":
            if model.state != target or target == "closed":
                model.enter(target, now)
            state.go(target, now)
        assert (state.state, state.attempt) == (model.state, model.attempt)
        event(f"state {state.state}")
        metrics = state.metrics(now)
        assert metrics.not_permitted == model.refused
        assert metrics.state == model.state
        assert model.numbers(now) == (
            metrics.failure_rate,
            metrics.slow_call_rate,
            metrics.calls,
            metrics.failed,
            metrics.slow,
        ) or (model.state == "disabled" and metrics.calls == 0)


@settings(deadline=None)
@given(
    st.sampled_from([1, 2, 5]),
    st.sampled_from([None, 2.0]),
    st.lists(st.tuples(st.sampled_from("aaaerg"), st.integers(0, 9)), max_size=60),
)
def test_half_open_never_admits_more_than_its_permits(probes, timeout, moves):
    """Running and reported together, in one stay; with a timeout, those not given up."""
    state = BreakerState(
        BreakerRules(minimum=1, probes=probes, wait=1.0, probe_timeout=timeout)
    )
    state.record(state.admit(0.0), 0.0, FAILED)
    now, running, reported = 1.0, {}, 0
    for verb, which in moves:
        alive = [p for p, began in running.items() if timeout is None or now < began + timeout]
        if verb == "a":
            permit = state.admit(now)
            assert (permit >= 0) == (len(alive) + reported < probes)
            assert permit not in running
            if permit >= 0:
                running[permit] = now
        elif verb == "g":
            now += 0.5
        elif running:
            permit = sorted(running)[which % len(running)]
            del running[permit]
            if verb == "r":
                state.release(permit)
            else:
                state.record(permit, now, 0)
                reported += permit in alive
        if state.state == "closed":
            assert reported == probes
            return
        assert reported < probes
