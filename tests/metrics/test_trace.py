"""The trace file, against what the documentation of the Trace Event Format demands."""

import json
import math
import os
import subprocess
import sys
import threading

import pytest
from reactivex.subject import Subject

from rxpool.metrics import AttemptRecord, TraceWriter

# Members an event of each phase must have, and their types.  Times are microseconds and may
# have fractions; the scope of an instant is global, process or thread.
COMMON = {"name": str, "ph": str, "pid": int, "tid": int}
PHASES = {
    "X": {"ts": (int, float), "dur": (int, float), "args": dict, "cat": str},
    "i": {"ts": (int, float), "s": str, "args": dict, "cat": str},
    "M": {"args": dict},
}
METADATA = {
    "process_name": ("name", str),
    "thread_name": ("name", str),
    "thread_sort_index": ("sort_index", int),
}


def check(events):
    """The schema."""
    assert isinstance(events, list)
    for event in events:
        members = {**COMMON, **PHASES[event["ph"]]}
        for name, kind in members.items():
            assert isinstance(event[name], kind), (name, event)
            assert not isinstance(event[name], bool)
        assert event.get("dur", 0) >= 0
        assert event.get("s", "t") in ("g", "p", "t")
        if event["ph"] == "M":
            name, kind = METADATA[event["name"]]
            assert isinstance(event["args"][name], kind)
    named = {e["tid"] for e in events if e["name"] == "thread_name"}
    used = {e["tid"] for e in events if e["ph"] != "M"}
    assert used <= named
    assert len({e["pid"] for e in events}) == 1


RECORDS = [
    AttemptRecord("worker-1", "fetch", 10.0, 10.5, 11.0),
    AttemptRecord("worker-2", "fetch", 10.0, 10.25, 12.0, 1, "failure", "ValueError"),
    AttemptRecord("worker-2", "fetch", 10.0, 13.0, 13.5, 2, "crashed", "WorkerCrashed"),
    AttemptRecord('odd "näme"\n', "fetch", 10.0, 13.0, 13.0, outcome="cancelled"),
]


def test_the_file(tmp_path):
    """A lane per worker, a slice per attempt, marks for retries and crashes."""
    path = tmp_path / "trace.json"
    with TraceWriter(path, name="crawler") as writer:
        for record in RECORDS:
            writer.on_next(record)
    writer.on_next(RECORDS[0])  # too late
    writer.close()
    events = json.loads(path.read_text(encoding="utf-8"))
    check(events)
    assert [(e["name"], e["tid"], e["args"]) for e in events if e["ph"] == "M"] == [
        ("process_name", 0, {"name": "crawler"}),
        ("thread_name", 1, {"name": "worker-1"}),
        ("thread_sort_index", 1, {"sort_index": 1}),
        ("thread_name", 2, {"name": "worker-2"}),
        ("thread_sort_index", 2, {"sort_index": 2}),
        ("thread_name", 3, {"name": 'odd "näme"\n'}),
        ("thread_sort_index", 3, {"sort_index": 3}),
    ]
    slices = [e for e in events if e["ph"] == "X"]
    assert [(e["tid"], e["ts"], e["dur"]) for e in slices] == [
        (1, 10.5e6, 0.5e6),
        (2, 10.25e6, 1.75e6),
        (2, 13e6, 0.5e6),
        (3, 13e6, 0.0),
    ]
    assert slices[0]["args"] == {"waited_s": 0.5, "outcome": "success", "attempt": 1}
    wanted = {"waited_s": 3.0, "outcome": "crashed", "attempt": 2, "error": "WorkerCrashed"}
    assert slices[2]["args"] == wanted
    assert [(e["name"], e["ts"], e["tid"]) for e in events if e["ph"] == "i"] == [
        ("retry", 13e6, 2),
        ("crash", 13.5e6, 2),
    ]


def test_an_empty_trace(tmp_path):
    """Is valid as well."""
    TraceWriter(tmp_path / "trace.json").close()
    check(json.loads((tmp_path / "trace.json").read_text()))


def test_after_a_crash_only_the_bracket_is_missing(tmp_path):
    """The program is gone at once; all that it wrote can be read."""
    path = tmp_path / "trace.json"
    code = (
        "import os, sys; from rxpool.metrics import AttemptRecord, TraceWriter;"
        "w = TraceWriter(sys.argv[1]);"
        "[w.on_next(AttemptRecord('w', 'f', 0.0, n, n + 1.0)) for n in range(50)];"
        "os._exit(9)"
    )
    done = subprocess.run([sys.executable, "-c", code, os.fspath(path)], timeout=50)
    assert done.returncode == 9
    text = path.read_text()
    assert not text.rstrip().endswith("]")
    events = json.loads(text + "]")
    check(events)
    assert len([e for e in events if e["ph"] == "X"]) == 50


def test_at_any_instant_only_the_bracket_is_missing(tmp_path):
    """After each record."""
    path = tmp_path / "trace.json"
    with TraceWriter(path) as writer:
        for count, record in enumerate(RECORDS, 1):
            writer.on_next(record)
            events = json.loads(path.read_text() + "]")
            assert len([e for e in events if e["ph"] == "X"]) == count


@pytest.mark.parametrize("end", ["on_completed", "on_error"])
def test_as_an_observer(tmp_path, end):
    """The end of the stream closes the file."""
    records = Subject()
    records.subscribe(TraceWriter(tmp_path / "trace.json"))
    records.on_next(RECORDS[0])
    getattr(records, end)(*([ValueError("no")] if end == "on_error" else []))
    check(json.loads((tmp_path / "trace.json").read_text()))


def test_times_that_json_cannot_say_are_refused(tmp_path):
    """And nothing of the record is written."""
    path = tmp_path / "trace.json"
    with TraceWriter(path) as writer:
        with pytest.raises(ValueError, match="JSON compliant"):
            writer.on_next(AttemptRecord("w", "f", 0.0, math.nan, 1.0))
        writer.on_next(AttemptRecord("w", "f", 0.0, 0.5, 1.0))
    check(json.loads(path.read_text()))


def test_threads(tmp_path, frantic):
    """Records of several threads do not mix, and a worker that several name has one lane."""
    path = tmp_path / "trace.json"
    start = threading.Barrier(4)
    with TraceWriter(path) as writer:

        def write():
            start.wait()
            for n in range(500):
                writer.on_next(AttemptRecord(f"w{n}", "f", 0.0, n, n + 1.0))

        threads = [threading.Thread(target=write) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    events = json.loads(path.read_text())
    check(events)
    assert len([e for e in events if e["ph"] == "X"]) == 2000
    names = [e["args"]["name"] for e in events if e["name"] == "thread_name"]
    assert sorted(names) == sorted({f"w{n}" for n in range(500)})
