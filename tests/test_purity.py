"""What decides knows no clock, thread, loop or stream: `now` is an argument.

Such a class can be tested with numbers alone, and be read without knowing who calls it.
"""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

#: modules of which nothing is known to what decides
EFFECTS = {
    "_thread",
    "asyncio",
    "concurrent",
    "multiprocessing",
    "queue",
    "reactivex",
    "sched",
    "select",
    "signal",
    "socket",
    "threading",
    "time",
    "rxpool.timing",
    "rxpool._threads",
    "rxpool._core.broadcast",
    "rxpool._core.sleeper",
    "rxpool._core.stage",
}

#: each file with the classes that decide; None: all of it
STATES = {
    "operators/_batch.py": ["BatchState"],
    "operators/_debounce.py": ["DebounceState"],
    "operators/_progress_state.py": None,
    "operators/_throttle_state.py": None,
    "rxpool/_core/rate_limiters.py": None,
    "rxpool/_core/relay.py": ["PassState"],
    "rxpool/backends/executors/_window.py": None,
    "rxpool/backends/executors/_lots.py": None,
    "rxpool/backends/processes/_buffer_ring.py": None,
    "rxpool/backends/_chunk_size.py": None,
    "rxpool/backends/processes/_parting.py": None,
    "rxpool/backends/processes/_roster.py": ["Roster"],
    "rxpool/backends/processes/_starts.py": None,
    "rxpool/_core/drain.py": None,
    "rxpool/faces/_counts.py": None,
    "rxpool/faces/_line.py": None,
    "rxpool/faces/_queue.py": ["QueueState"],
    "rxpool/metrics/_bottleneck.py": None,
    "rxpool/metrics/_histogram.py": None,
    "rxpool/metrics/_series.py": None,
    "rxpool/policies/_adaptive.py": None,
    "rxpool/policies/_attempts.py": None,
    "rxpool/policies/_breaker_state.py": None,
    "rxpool/policies/_breaker_windows.py": None,
    "rxpool/policies/_budget.py": None,
    "rxpool/policies/_limit_parts.py": None,
    "rxpool/policies/_limit_state.py": None,
    "rxpool/policies/_shared_state.py": None,
    "rxpool/pool/_flows/fetched.py": None,
    "rxpool/pool/_flows/iterate_state.py": None,
    "rxpool/pool/_flows/on_failure.py": None,
    "rxpool/pool/_flows/outcome.py": None,
    "rxpool/pool/_engine/trace_lanes.py": None,
    "rxpool/pool/_state/lifecycle.py": None,
    "rxpool/pool/_state/parking.py": None,
    "rxpool/pool/_profile.py": ["Shares"],
    "rxpool/pool/_state/batches.py": None,
    "rxpool/pool/_state/byte_bound.py": None,
    "rxpool/pool/_state/cancellation.py": None,
    "rxpool/pool/_state/capacity.py": None,
    "rxpool/pool/_state/chunks.py": None,
    "rxpool/pool/_state/counts.py": None,
    "rxpool/pool/_state/effects.py": None,
    "rxpool/pool/_state/flow_state.py": None,
    "rxpool/pool/_state/hedging.py": None,
    "rxpool/pool/_state/overdue.py": None,
    "rxpool/pool/_state/producers.py": None,
    "rxpool/pool/_state/queues.py": None,
    "rxpool/pool/_state/report.py": None,
    "rxpool/pool/_state/results.py": None,
    "rxpool/pool/_state/settlement.py": None,
    "rxpool/pool/_state/slots.py": None,
    "rxpool/pool/_state/tally.py": None,
    "rxpool/pool/_state/task.py": None,
    "rxpool/pool/_state/time_limits.py": None,
    "rxpool/pool/_state/uncommitted.py": None,
    "rxpool/pool/_state/verdicts.py": None,
}


def effects(tree):
    """The names that a module has from those modules, and what they come from."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                if is_effect(alias.name):
                    yield (alias.asname or alias.name).split(".")[0], alias.name
        elif isinstance(node, ast.ImportFrom) and node.module:
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                if is_effect(whole):
                    yield alias.asname or alias.name, whole


def is_effect(name):
    """Whether *name* is in one of those modules."""
    parts = name.split(".")
    return any(".".join(parts[:end]) in EFFECTS for end in range(1, len(parts) + 1))


def uses(text, classes):
    """Which of those names a module uses, in these classes or anywhere."""
    tree = ast.parse(text)
    known = dict(effects(tree))
    if classes is None:
        return sorted(known.values())
    chosen = [n for n in tree.body if isinstance(n, ast.ClassDef) and n.name in classes]
    assert len(chosen) == len(classes), f"no such classes: {classes}"
    names = {n.id for each in chosen for n in ast.walk(each) if isinstance(n, ast.Name)}
    return sorted(known[name] for name in names & set(known))


@pytest.mark.parametrize("file", STATES)
def test_what_decides_is_pure(file):
    """It imports nothing that waits, runs or tells the time."""
    assert uses((ROOT / file).read_text(encoding="utf-8"), STATES[file]) == []


def test_the_rule_sees_what_it_should():
    """In whole modules and in classes, however it is imported."""
    text = "import time as t\nfrom rxpool.timing import Clock\nclass A:\n  now = t.time\n"
    assert uses(text, None) == ["rxpool.timing.Clock", "time"]
    assert uses(text, ["A"]) == ["time"]
    assert uses(text + "class B:\n  pass\n", ["B"]) == []
    assert uses("from concurrent.futures import Future", None) == ["concurrent.futures.Future"]


def test_every_state_is_listed():
    """Whatever is called one, wherever it is."""
    for folder in ("rxpool", "operators"):
        for path in (ROOT / folder).rglob("*.py"):
            name = path.relative_to(ROOT).as_posix()
            if "rxpool/operators/" in name:
                continue
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and node.name.endswith("State"):
                    protocol = any(
                        getattr(b, "id", "") == "Protocol" for b in node.bases
                    ) or any(isinstance(b, ast.Subscript) for b in node.bases)
                    chosen = STATES.get(name, [])
                    listed = chosen is None or node.name in chosen
                    assert protocol or listed, f"{name}: {node.name} is not in STATES"
