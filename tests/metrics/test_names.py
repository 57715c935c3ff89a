"""The table of metrics: its own rules, and that it holds all that is emitted."""

import ast
from pathlib import Path

import pytest
import reactivex as rx

from rxpool import operators as ops
from rxpool.events import MetricEvent
from rxpool.metrics import METRICS, Metric
from rxpool.metrics.names import metric_of

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = [ROOT / "operators", *sorted(p for p in (ROOT / "rxpool").iterdir() if p.is_dir())]


def emitted():
    """Each tuple of a name, a value, a unit and perhaps attributes in the sources."""
    for folder in FOLDERS:
        if folder.is_symlink() or folder.name == "metrics":
            continue
        for path in sorted(folder.rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                parts = node.elts if isinstance(node, ast.Tuple) else getattr(node, "args", [])
                if not isinstance(parts, list) or len(parts) < 3:
                    continue
                name, unit = parts[0], parts[2]
                if all(
                    isinstance(p, ast.Constant) and isinstance(p.value, str)
                    for p in (name, unit)
                ) and name.value.startswith("rxpool."):
                    keys = [
                        key.value
                        for part in parts
                        if isinstance(part, ast.Dict)
                        for key in part.keys
                        if isinstance(key, ast.Constant)
                    ]
                    yield path.relative_to(ROOT), name.value, unit.value, keys


def test_all_that_is_emitted_is_in_the_table():
    """With its unit and attributes."""
    found = list(emitted())
    assert {"rxpool.dropped", "rxpool.throttle.wait", "rxpool.batch.size"} <= {
        f[1] for f in found
    }
    for path, name, unit, attributes in found:
        assert name in METRICS, f"{path} emits {name}"
        assert METRICS[name].unit == unit, f"{path} emits {name} in {unit}"
        assert set(attributes) <= set(METRICS[name].attributes), f"{path} emits {name}"


def test_all_that_is_in_the_table_is_emitted():
    """No name that nothing uses."""
    texts = [
        path.read_text(encoding="utf-8")
        for folder in ("rxpool", "operators")
        for path in (ROOT / folder).rglob("*.py")
        if path.name != "names.py"
    ]
    for name in METRICS:
        assert any(f'"{name}"' in text for text in texts), f"nothing emits {name}"


def test_what_operators_emit_is_in_the_table():
    """Seen while they run."""
    events = []
    rx.from_iterable(range(10)).pipe(
        ops.batch(3, monitor=events.append),
        ops.throttle(1e9, monitor=events.append),
        ops.debounce(0.001, monitor=events.append),
    ).run()
    assert {"rxpool.batch.size", "rxpool.throttle.wait", "rxpool.dropped"} <= {
        e.name for e in events
    }
    for each in events:
        assert METRICS[each.name].unit == each.unit
        assert set(each.attributes) <= set(METRICS[each.name].attributes)


@pytest.mark.parametrize("metric", METRICS.values(), ids=METRICS)
def test_conventions(metric):
    """Dotted lower case without units; known units; counts in braces."""
    assert METRICS[metric.name] is metric
    assert metric.name.startswith("rxpool.")
    assert metric.name == metric.name.lower()
    assert not metric.name.endswith(("seconds", "bytes", "total"))
    assert metric.unit in ("s", "By") or (metric.unit[0], metric.unit[-1]) == ("{", "}")
    assert metric.kind in ("histogram", "counter", "updowncounter", "gauge")
    assert metric.description
    assert not {"key", "item"} & set(metric.attributes)
    assert list(metric.bounds) == sorted(set(metric.bounds))


def test_an_unknown_name_is_taken_for_a_histogram():
    """With the attributes of the event."""
    event = MetricEvent("mine", 1, "s", 0.0, {"b": "1", "a": "2"})
    assert metric_of(event) == Metric("mine", "histogram", "s", ("a", "b"), "")
