"""Who writes what of a task and of a flow: a table, and whoever is not in it fails here.

A field that anybody may write can be understood by nobody.  What is meant are assignments
from outside, `task.error = error`; an object's own methods write as they like.
"""

import ast
from collections import defaultdict
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent

TASK = "pool/_state/task"
FLOW = "pool/_state/flow_state"
SLOTS = "pool/_state/slots"
THREADS = "pool/_engine/thread_runner"
CHUNKS = "pool/_engine/chunk_runner"
TIMEOUTS = "pool/_engine/timeouts"
RESULTS = "pool/_state/results"
GATE = "pool/_engine/gate"
HEDGING = "pool/_state/hedging"
PARKING = "pool/_state/parking"
AWAITABLES = "pool/_engine/awaitables"
IMAP = "pool/_flows/imap_flow"
SUBSCRIPTION = "pool/_flows/subscription"

#: by record and field: the files that write it.  The two runners and `FlowState` write out
#: what would be a call for each item; that is no precedent.
OWNERS = {
    "Task": {
        "attempts": {TASK, FLOW, THREADS, CHUNKS},
        "error": {CHUNKS},
        "future": {TASK},
        "item": {TASK},
        "key": {TASK},
        "note": {THREADS},
        "permit": {THREADS},
        "placed": {TASK},
        "rank": {TASK},
        "running": {FLOW, THREADS, CHUNKS},
        "settled": {FLOW, THREADS, CHUNKS},
        "slot": {SLOTS, THREADS},
        "started": {TASK, THREADS, CHUNKS},
        "took": {TASK, FLOW, THREADS, CHUNKS},
        "value": {FLOW, THREADS, CHUNKS},
    },
    "Extra": {
        "asked": {GATE},
        "collected": {AWAITABLES},
        "crashes": {TASK},
        "ending": {"pool/_state/time_limits"},
        "hedged": {HEDGING},
        "held": {GATE},
        "inner": {TASK},
        "journalled": {TASK, "pool/_engine/journalled"},
        "number": {TASK, "pool/_engine/task_log"},
        "parts": {RESULTS},
        "refused": {TASK, PARKING},
        "rival": {HEDGING},
        "spent": {TASK},
        "ticket": {TASK, GATE},
        "unclaimed": {PARKING},
    },
    "FlowState": {
        "reserved": {CHUNKS},
        "runnable": {SLOTS},
        "running": {THREADS, CHUNKS},
    },
    "FlowCounts": {
        "accepted": {FLOW, SLOTS},
        "cancelled": {FLOW},
        "succeeded_locked": {FLOW},
    },
    "Capacity": {"pulled": {SUBSCRIPTION}, "unfetched": {IMAP}},
    "Parking": {"head": {FLOW}},
    "TimeLimits": {"alarm": {FLOW, TIMEOUTS}, "armed": {TIMEOUTS}},
    "Cancellation": {"reason": {"pool/_flows/kinds"}},
    "Slots": {"max_bytes": {"pool/_engine/engine"}},
}

#: by record: its file, by what names it is known, and what to call instead of writing
RECORDS = {
    "Task": (
        "task.py",
        (),
        "a transition of Task: began, ended, succeed, fail, cancel, handed, take_permit, "
        "stand_at, …; from a runner or FlowState alone, where calls are counted, write it out",
    ),
    "Extra": (
        "task.py",
        ("extra", "own"),
        "the part that owns the field: gate, hedging, parking, TimeLimits.end and goes_on, "
        "Task.killed_worker; for another attempt `again` carries it over",
    ),
    "FlowState": (
        "flow_state.py",
        ("flow", "state"),
        "bind, guard, end, remember, start, stop, settle, promote, count_reserved, "
        "mark_runnable of FlowState",
    ),
    "FlowCounts": (
        "counts.py",
        ("counts",),
        "one_more, divided, one_succeeded, one_failed, one_dropped, one_cancelled of "
        "FlowCounts",
    ),
    "Capacity": ("capacity.py", ("capacity",), "a method of Capacity"),
    "Parking": ("parking.py", ("parking",), "a method of Parking"),
    "TimeLimits": ("time_limits.py", ("times",), "hedge_after, end, goes_on of TimeLimits"),
    "Cancellation": ("cancellation.py", ("cancellation",), "a method of Cancellation"),
    "Slots": ("slots.py", ("slots",), "occupy, release, pass_on, resize of Slots"),
    "CompletionOrder": ("results.py", (), "a method of the order"),
    "InputOrder": ("results.py", ("results",), "a method of the order"),
}

#: what has a field of such a name and is another thing
OTHERS = {
    ("backends/event_loop/_work", "call.note"),
    ("backends/executors/_backend", "landing.note"),
    ("faces/_debouncing", "future.item"),
    ("faces/_queue", "batch.attempts"),
}

#: files that write fields of the two records that everybody knows, at most
MOST = {"Task": 5, "FlowState": 4}


def fields_of(record):
    """The names in its `__slots__`."""
    path = ROOT / "rxpool/pool/_state" / RECORDS[record][0]
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.ClassDef) and node.name == record:
            for line in node.body:
                if isinstance(line, ast.Assign) and ast.unparse(line.targets[0]) == "__slots__":
                    return set(ast.literal_eval(line.value))
    raise AssertionError(record)


FIELDS = {record: fields_of(record) for record in RECORDS}
NAMES = {name: record for record, (_, names, _) in RECORDS.items() for name in names}


def record_of(receiver, field):
    """Of which record *field* of *receiver* is, or None: by what it is called.

    Whatever else has a field of a task's name is taken for a task.
    """
    while isinstance(receiver, ast.Call):  # `task.own().rival`
        receiver = receiver.func
    name = getattr(receiver, "attr", getattr(receiver, "id", "")).lstrip("_")
    if name == "self":
        return None
    if name in NAMES:
        return NAMES[name] if field in FIELDS[NAMES[name]] else None
    return next((record for record in ("Task", "Extra") if field in FIELDS[record]), None)


def assigned(tree):
    """What is assigned to in a module: line, object and name of the attribute."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store | ast.Del):
            yield node.lineno, node.value, node.attr
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("setattr"):
            receiver, name, *_ = node.args
            if isinstance(name, ast.Constant):
                yield node.lineno, receiver, name.value


def writes(text):
    """Which fields of the records a module writes: line, record, field, as it is written."""
    for line, receiver, field in assigned(ast.parse(text)):
        record = record_of(receiver, field)
        if record is not None:
            yield line, record, field, f"{ast.unparse(receiver)}.{field}"


def files():
    """Those that can have a task or a flow, by name."""
    for folder in ("backends", "pool", "faces"):
        for path in sorted((ROOT / "rxpool" / folder).rglob("*.py")):
            yield path.relative_to(ROOT / "rxpool").with_suffix("").as_posix(), path


WRITES = {name: list(writes(path.read_text(encoding="utf-8"))) for name, path in files()}


@pytest.mark.parametrize("name", WRITES)
def test_a_file_writes_what_it_owns(name):
    """And calls a method for all else."""
    for line, record, field, written in WRITES[name]:
        if (name, written) in OTHERS:
            continue
        owners = OWNERS.get(record, {}).get(field, set())
        assert name in owners, (
            f"rxpool/{name}.py:{line} writes {written}, a field of {record} that "
            f"{', '.join(sorted(owners)) or 'only its own class'} may write.  Call instead "
            f"{RECORDS[record][2]}."
        )


def test_the_table_names_nobody_who_does_not_write():
    """So it can be read as it is."""
    found = defaultdict(lambda: defaultdict(set))
    for name, lines in WRITES.items():
        for _, record, field, written in lines:
            if (name, written) not in OTHERS:
                found[record][field].add(name)
    assert found == OWNERS
    assert {
        (name, written) for name, lines in WRITES.items() for *_, written in lines
    } >= OTHERS


@pytest.mark.parametrize("record", MOST)
def test_few_files_change_a_record(record):
    """The class itself counts as one."""
    own = "pool/_state/" + RECORDS[record][0].removesuffix(".py")
    assert len({own}.union(*OWNERS[record].values())) <= MOST[record]


def test_of_what_only_some_tasks_have_each_field_has_one_owner():
    """`again` carries it to the next attempt."""
    assert max(len(owners - {TASK}) for owners in OWNERS["Extra"].values()) == 1


@pytest.mark.parametrize(
    ("line", "record"),
    [
        ("task.error = 1", "Task"),
        ("job.took, other = 1, 2", "Task"),
        ("whatever.settled += 1", "Task"),
        ("del a.b.value", "Task"),
        ("setattr(task, 'note', 1)", "Task"),
        ("task.own().rival = 1", "Extra"),
        ("task.extra.held = 1", "Extra"),
        ("loser.crashes = 1", "Extra"),
        ("self._flow.running -= 1", "FlowState"),
        ("self.state.note = 1", "FlowState"),
        ("flow.counts.failed += 1", "FlowCounts"),
        ("flow.results.held = 1", "InputOrder"),
    ],
)
def test_the_rule_sees_what_it_should(line, record):
    """However it is written."""
    assert [found for _, found, _, _ in writes(line)] == [record]


@pytest.mark.parametrize("line", ["self.error = 1", "x = task.error", "flow.name = 1"])
def test_the_rule_leaves_all_else_alone(line):
    """Reading, and what an object does with its own."""
    assert list(writes(line)) == []
