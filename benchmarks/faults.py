"""What faults cost rxpool: one of 1,000 items on 2 processes bad; a worker killed; Ctrl-C."""

import os
import signal
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from threading import Timer
from typing import Any

from benchmarks import work
from benchmarks.harness import failures
from benchmarks.peers import PEERS, Peer, stream, warm
from benchmarks.trial import answer_by, command, end_session, session_of, trial
from rxpool import Failure

ITEMS, LIMIT, WORKERS = 1000, 20.0, 2

#: kind of trial: title, function, target
TRIALS: dict[str, tuple[str, Callable[[int], Any], str]] = {
    "none": ("no fault", work.fine, "all good"),
    "exit": (
        "item 500 calls `os._exit(1)`",
        work.leave,
        "999 good, 1 WorkerCrashed, under 0.5 s",
    ),
    "result": (
        "item 500 returns what cannot be pickled",
        work.lock,
        "999 good, 1 failure that names it",
    ),
    "exception": (
        "item 500 raises what cannot be unpickled",
        work.raise_two,
        "999 good, 1 failure with the name of the type",
    ),
    "hang": (
        "item 500 never ends, limit 1 s",
        work.hang,
        "999 good, 1 TaskTimeout at 1.0 s, slot free within 0.1 s",
    ),
    "source": ("the source raises after 500", work.fine, "500 good, then the error"),
}

NAMES = ("rxpool map", "rxpool imap")


# -- in a process of its own ---------------------------------------------------------------


def numbers(items: int, fails: bool) -> Iterator[int]:
    """The items, the one in the middle bad; or the source fails in the middle."""
    for number in range(items):
        if number == items // 2:
            if fails:
                raise ValueError("the source")
            yield work.BAD
        else:
            yield number


class Tally:
    """Good results and errors, kept in the state that is printed."""

    def __init__(self, state: dict[str, Any]) -> None:
        self._state = state
        self.errors: Counter[str] = Counter()
        state.update(good=0, errors=self.errors)

    def good(self, _: Any) -> None:
        """A result."""
        self._state["good"] += 1

    def bad(self, error: BaseException) -> None:
        """An error, with what names its cause if the peer tells."""
        self.errors[type(error).__name__] += 1
        self._state["text"] = f"{error}"


def outcomes(pool: Any, fn: Any, items: Iterable[int], tally: Tally, **options: Any) -> None:
    """rxpool tells how each item ended."""

    def sink(outcome: Any) -> None:
        if isinstance(outcome, Failure):
            tally.bad(outcome.error)
        else:
            tally.good(outcome.value)

    stream(pool.outcomes(fn, **options), items, sink)


def fault(kind: str, name: str, items: int, limit: float) -> None:
    """Run one trial and print what came of it."""
    state: dict[str, Any] = {"after": ""}
    fn = TRIALS[kind][1]
    peer = PEERS[name]
    end = answer_by(limit + 10, state)
    with peer.open(WORKERS) as pool:
        warm(peer, pool, WORKERS)
        tally = Tally(state)
        answer_by(limit, state)
        began = time.monotonic()
        source = numbers(items, kind == "source")
        timeout = 1.0 if kind == "hang" else None
        try:
            if name == "rxpool map":
                options = {"timeout": 1.0} if timeout else {}
                outcomes(pool, fn, source, tally, **options)
            else:
                peer.feed(pool, fn, source, 1, tally.good)
        except Exception as error:
            tally.bad(error)
        state["seconds"] = time.monotonic() - began
        state["after"] = "one slot lost" if kind == "hang" else "hangs"
        state["after"] = afterwards(peer, pool, kind)
        end()


def afterwards(peer: Peer, pool: Any, kind: str) -> str:
    """Whether the pool takes work yet; after a hang, on how many processes."""
    try:
        if peer.submit is None:
            peer.feed(pool, work.increment, range(4), 1, lambda _: None)
        elif kind == "hang":
            return both_free(peer, pool)
        else:
            peer.submit(pool, work.increment, 1, 5.0)()
    except Exception as error:
        return f"broken ({type(error).__name__})"
    return "works"


def both_free(peer: Peer, pool: Any) -> str:
    """Two tasks take the time of one when both processes run them."""
    assert peer.submit is not None
    began = time.monotonic()
    while (start := time.monotonic()) < began + 5:
        for result in [peer.submit(pool, work.rest, 0.3, 5.0) for _ in range(WORKERS)]:
            result()
        now = time.monotonic()
        if now - start < 0.5:
            return f"both slots free after {now - began - 0.3:.2f} s"
    return "one slot lost"


def killed(name: str, items: int, limit: float) -> None:
    """Kill a worker in the midst of tasks of 2 ms; each result says where it was made."""
    state: dict[str, Any] = {"lost": items, "replaced": None, "silent": False}
    end = answer_by(limit + 10, state)
    peer = PEERS[name]
    seen: list[tuple[int, float]] = []
    at = [0.0]

    def kill() -> None:
        known.update(pid for pid, _ in seen)
        at[0] = time.monotonic()
        os.kill(seen[-1][0], signal.SIGKILL)

    def note(result: tuple[int, float]) -> None:
        seen.append(result)
        state["lost"] = items - len(seen)
        if state["replaced"] is None and at[0] and result[0] not in known:
            state["replaced"] = result[1] - at[0]

    with peer.open(WORKERS) as pool:
        known: set[int] = set()
        peer.feed(pool, work.who, range(16), 1, known.add)
        answer_by(limit, state)
        Timer(0.4, kill).start()
        tally = Tally(state)
        tally.good = note  # type: ignore[method-assign]
        try:
            if name == "rxpool map":
                outcomes(pool, work.stamp, range(items), tally)
            else:
                peer.feed(pool, work.stamp, range(items), 1, note)
        except Exception as error:
            tally.bad(error)
        end()


def serve(name: str) -> None:
    """Work without end, until somebody presses Ctrl-C."""
    peer = PEERS[name]
    ready = [False]

    def sink(_: int) -> None:
        if not ready[0]:
            ready[0] = True
            print("ready", flush=True)

    with peer.open(WORKERS) as pool:
        peer.feed(pool, work.nap, count(), 1, sink)


def child(kind: str, *arguments: str) -> None:
    """What a process of its own does."""
    if kind == "fault":
        fault(arguments[0], arguments[1], int(arguments[2]), float(arguments[3]))
    elif kind == "killed":
        killed(arguments[0], int(arguments[1]), float(arguments[2]))
    else:
        serve(arguments[0])


# -- the tables ----------------------------------------------------------------------------


def interrupted(name: str, group: bool, limit: float) -> str:
    """The cells of a row: how a run ends on SIGINT."""
    with tempfile.TemporaryFile("w+") as err:
        process = subprocess.Popen(
            command("benchmarks.faults", "serve", name),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=err,
            start_new_session=True,
        )
        try:
            assert process.stdout is not None
            patience = Timer(limit, end_session, (process,))
            patience.start()
            ready = process.stdout.readline().strip() == b"ready"
            patience.cancel()
            if ready:
                time.sleep(0.5)
                began = time.monotonic()
                (os.killpg if group else os.kill)(process.pid, signal.SIGINT)
                try:
                    process.wait(limit)
                    took = f"{time.monotonic() - began:.2f}"
                except subprocess.TimeoutExpired:
                    took = f"**not in {limit:.0f}**"
                time.sleep(1.0)
                left = len([pid for pid in session_of(process.pid) if pid != process.pid])
        finally:
            end_session(process)
            if process.stdout is not None:
                process.stdout.close()
        err.seek(0)
        text = err.read()
    if not ready:
        last = (text.strip().splitlines() or ["no answer"])[-1]
        failures.append(f"faults: SIGINT: {name}: {last[:80]}")
        return f"| | | | | {last[:80]} |"
    tracebacks = text.count("Traceback (most recent call last)")
    return (
        f"| {took} | {process.returncode} | {left} | {tracebacks} "
        f"| {text.count('KeyboardInterrupt')} |"
    )


def told(state: dict[str, Any]) -> str:
    """The errors that a caller saw; with its text, if it is one alone."""
    errors = state["errors"]
    text = ", ".join(f"{value} × {key}" for key, value in errors.items())
    if sum(errors.values()) == 1:
        text += ": " + " ".join(state["text"].replace("|", "/").split())[:90]
    return text or "none"


def faults(items: int, limit: float) -> None:
    """A table for each kind."""
    for kind, (title, _, target) in TRIALS.items():
        print(f"\n### Faults: {title}; {items:,} items on 2 processes (target: {target})\n")
        print("| pool | good results | errors | seconds | pool afterwards |")
        print("| ---- | -----------: | ------ | ------: | --------------- |")
        for name in NAMES:
            if kind == "hang" and name == "rxpool imap":
                continue  # no limit of the run is given there
            state = trial(
                "benchmarks.faults", "fault", kind, name, items, limit, limit=limit + 10
            )
            if "good" not in state:
                text = state.get("failed", "no answer")
                failures.append(f"faults: {title}: {name}: {text}")
                print(f"| {name} | | {text} | | |")
                continue
            seconds = f"{state['seconds']:.2f}" if "seconds" in state else "**hung**"
            print(
                f"| {name} | {state['good']} | {told(state)} | {seconds} | {state['after']} |",
                flush=True,
            )


def main(rounds: int, quick: bool) -> None:
    """Print the tables; one run of each."""
    items = 100 if quick else ITEMS
    limit = 3.0 if quick else LIMIT
    faults(items, limit)
    tasks = 600
    print(
        f"\n### Faults: a worker killed, {tasks} tasks of 2 ms on 2 processes "
        "(target: 1 lost, replaced in under 100 ms)\n"
    )
    print("| pool | lost | errors | replaced after ms | ended |")
    print("| ---- | ---: | ------ | ----------------: | ----- |")
    for name in NAMES[:1]:
        state = trial("benchmarks.faults", "killed", name, tasks, limit, limit=limit + 10)
        if "lost" not in state:
            text = state.get("failed", "no answer")
            failures.append(f"faults: worker killed: {name}: {text}")
            print(f"| {name} | | {text} | | |")
            continue
        after = state["replaced"]
        print(
            f"| {name} | {state['lost']} | {told(state)} "
            f"| {'never' if after is None else f'{after * 1000:.0f}'} "
            f"| {'**hung**' if state['hung'] else 'yes'} |",
            flush=True,
        )
    print(
        "\n### SIGINT during tasks of 1 ms on 2 processes (target: exit in under 0.5 s, "
        "one KeyboardInterrupt, nothing left)\n"
    )
    print("| pool | signal to | exit after s | code | left 1 s later | tracebacks | names |")
    print("| ---- | --------- | -----------: | ---: | -------------: | ---------: | ----: |")
    for name in NAMES:
        for group in (False, True):
            row = interrupted(name, group, limit)
            print(f"| {name} | {'the group' if group else 'main'} {row}", flush=True)
