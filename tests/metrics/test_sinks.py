"""Sinks, each with the real library on the other side."""

import itertools
import json
import logging
import subprocess
import sys
import threading
import urllib.request

import prometheus_client
import pytest
import structlog
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from prometheus_client.parser import text_string_to_metric_families

from rxpool import operators as ops
from rxpool.errors import InvalidArgument
from rxpool.events import MetricEvent
from rxpool.metrics import (
    METRICS,
    JsonLinesSink,
    OpenTelemetrySink,
    PerformanceMonitor,
    PrometheusSink,
    StructlogSink,
    fan_out,
)


def event(name, value, attributes=None):
    unit = METRICS[name].unit if name in METRICS else "s"
    return MetricEvent(name, value, unit, 1.5, attributes or {})


EVENTS = [
    event("rxpool.tasks", 1, {"outcome": "success", "pool": "p"}),
    event("rxpool.tasks", 2, {"outcome": "success", "pool": "p"}),
    event("rxpool.tasks", 1, {"outcome": "failure", "error.type": "ValueError"}),
    event("rxpool.task.duration", 0.2, {"outcome": "success"}),
    event("rxpool.task.duration", 0.3, {"outcome": "success"}),
    event("rxpool.task.active", 1),
    event("rxpool.task.active", 1),
    event("rxpool.task.active", -1),
    event("rxpool.queue.size", 7),
    event("rxpool.queue.size", 3),
    event("rxpool.worker.cpu", 0.25, {"worker": "1"}),
    event("rxpool.worker.memory", 1024, {"worker": "1"}),
    event("rxpool.breaker.transitions", 1, {"from": "closed", "to": "open"}),
    event("mine", 4.0, {"a": "b"}),
]


class TestPrometheus:
    """Scraped as Prometheus would."""

    def scrape(self, registry):
        server, thread = prometheus_client.start_http_server(0, "127.0.0.1", registry)
        try:
            address = f"http://127.0.0.1:{server.server_port}/metrics"
            with urllib.request.urlopen(address, timeout=10) as answer:
                text = answer.read().decode()
        finally:
            server.shutdown()
            server.server_close()
            thread.join()
        return {
            (
                sample.name,
                frozenset((k, v) for k, v in sample.labels.items() if v),
            ): sample.value
            for family in text_string_to_metric_families(text)
            for sample in family.samples
        }

    def test_scrape(self):
        """Names, suffixes, labels and values of each kind of instrument."""
        registry = prometheus_client.CollectorRegistry()
        sink = PrometheusSink(registry)
        for each in EVENTS:
            sink.on_next(each)
        found = self.scrape(registry)

        def value(name, **labels):
            return found[name, frozenset(labels.items())]

        assert value("rxpool_tasks_total", outcome="success", pool="p") == 3
        assert value("rxpool_tasks_total", outcome="failure", error_type="ValueError") == 1
        assert value("rxpool_task_duration_seconds_count", outcome="success") == 2
        assert value("rxpool_task_duration_seconds_sum", outcome="success") == 0.5
        assert value("rxpool_task_duration_seconds_bucket", outcome="success", le="0.25") == 1
        assert value("rxpool_task_active") == 1
        assert value("rxpool_queue_size") == 3
        assert value("rxpool_worker_cpu_seconds_total", worker="1") == 0.25
        assert value("rxpool_worker_memory_bytes", worker="1") == 1024
        named = {"from": "closed", "to": "open"}
        assert value("rxpool_breaker_transitions_total", **named) == 1
        assert value("mine_seconds_sum", a="b") == 4

    def test_all_of_the_table_can_be_exported(self):
        """No name or label is refused, none is taken twice."""
        registry = prometheus_client.CollectorRegistry()
        sink = PrometheusSink(registry)
        for name, metric in METRICS.items():
            sink.on_next(event(name, 1, dict.fromkeys(metric.attributes, "x")))
        samples = {s.name for family in registry.collect() for s in family.samples}
        assert len([name for name in samples if name.startswith("rxpool_")]) >= len(METRICS)

    def test_sinks_of_one_registry_share_its_metrics(self):
        """So several pools can each have one."""
        registry = prometheus_client.CollectorRegistry()
        for _ in range(2):
            PrometheusSink(registry).on_next(event("rxpool.queue.size", 4))
            PrometheusSink(registry).on_next(event("rxpool.task.active", 1))
        assert registry.get_sample_value("rxpool_task_active", {"pool": ""}) == 2

    def test_series_are_bounded(self):
        """What is beyond them is counted as other; further names are left out."""
        registry = prometheus_client.CollectorRegistry()
        sink = PrometheusSink(registry, max_series=3)
        for n in range(10):
            sink.on_next(event("rxpool.dropped", 1, {"policy": f"p{n}"}))
        sink.on_next(event("rxpool.queue.size", 1))
        rest = {"pool": "other", "policy": "other"}
        assert registry.get_sample_value("rxpool_dropped_total", rest) == 7
        assert registry.get_sample_value("rxpool_queue_size", {"pool": ""}) is None

    def test_threads(self, frantic):
        """Many that see a name first at the same time."""
        labels = {"pool": "p", "outcome": "success", "error_type": ""}
        for _ in range(10):
            registry = prometheus_client.CollectorRegistry()
            sink = PrometheusSink(registry)
            take = sink.on_next
            assert not run_at_once(8, lambda take=take: [take(each) for each in EVENTS])
            assert registry.get_sample_value("rxpool_tasks_total", labels) == 24

    def test_argument(self):
        """Checked where it is written."""
        with pytest.raises(InvalidArgument, match="max_series must be 1 or more, got 0"):
            PrometheusSink(prometheus_client.CollectorRegistry(), max_series=0)


class TestOpenTelemetry:
    """Read back from the SDK."""

    def test_measurements(self):
        """Names, units, attributes and values of each kind of instrument."""
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        sink = OpenTelemetrySink(provider.get_meter("test"))
        for each in EVENTS:
            sink.on_next(each)
        data = reader.get_metrics_data()
        provider.shutdown()
        (scope,) = data.resource_metrics[0].scope_metrics
        found = {metric.name: metric for metric in scope.metrics}

        def values(name):
            points = found[name].data.data_points
            return {
                frozenset(p.attributes.items()): p.sum if hasattr(p, "sum") else p.value
                for p in points
            }

        assert set(found) == {each.name for each in EVENTS}
        assert values("rxpool.tasks") == {
            frozenset({("outcome", "success"), ("pool", "p")}): 3,
            frozenset({("outcome", "failure"), ("error.type", "ValueError")}): 1,
        }
        assert values("rxpool.task.duration") == {frozenset({("outcome", "success")}): 0.5}
        assert values("rxpool.task.active") == {frozenset(): 1}
        assert values("rxpool.queue.size") == {frozenset(): 3}
        assert values("mine") == {frozenset({("a", "b")}): 4}
        assert found["rxpool.tasks"].data.is_monotonic
        assert not found["rxpool.task.active"].data.is_monotonic
        assert all(found[name].unit == METRICS[name].unit for name in found if name in METRICS)
        (point,) = found["rxpool.task.duration"].data.data_points
        assert 0.25 in point.explicit_bounds

    def test_attributes_that_are_not_listed_stay_out(self):
        """As in the other exports."""
        reader = InMemoryMetricReader()
        provider = MeterProvider([reader], shutdown_on_exit=False)
        sink = OpenTelemetrySink(provider.get_meter("test"))
        sink.on_next(event("rxpool.queue.size", 1, {"pool": "p", "item": "17"}))
        (scope,) = reader.get_metrics_data().resource_metrics[0].scope_metrics
        provider.shutdown()
        assert dict(scope.metrics[0].data.data_points[0].attributes) == {"pool": "p"}

    def test_without_an_sdk_nothing_happens(self):
        """The API alone drops what it is given."""
        sink = OpenTelemetrySink()
        for each in EVENTS:
            sink.on_next(each)


class TestStructlog:
    """Through structlog and through logging."""

    def test_silent_unless_configured(self, capfd):
        """As any library below WARNING."""
        code = (
            "from rxpool.metrics import StructlogSink; from rxpool.events import MetricEvent;"
            "e = MetricEvent('rxpool.tasks', 1, '{task}', 0.0, {'outcome': 'success'});"
            "StructlogSink().on_next(e); StructlogSink(level='info').on_next(e);"
            "StructlogSink(level='error').on_next(e)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, timeout=50
        )
        assert done.returncode == 0
        assert done.stdout == ""
        assert done.stderr == "rxpool.tasks value=1 unit='{task}' outcome='success'\n"

    def test_records(self, caplog):
        """Name, value, unit and attributes, in words and as fields."""
        caplog.set_level(logging.DEBUG, "rxpool")
        StructlogSink().on_next(EVENTS[2])
        (record,) = caplog.records
        assert record.levelno == logging.DEBUG
        assert record.getMessage().startswith("rxpool.tasks value=1 unit='{task}'")
        wanted = {
            "value": 1,
            "unit": "{task}",
            "outcome": "failure",
            "error.type": "ValueError",
        }
        assert record.rxpool == wanted

    def test_a_logger_of_the_program(self):
        """Attributes never hide the fields of the event, nor arguments of logging."""
        with structlog.testing.capture_logs() as seen:
            sink = StructlogSink(structlog.get_logger(), level="info")
            sink.on_next(event("mine", 2.0, {"event": "e", "value": "v", "self": "s"}))
        fields = {"value": 2.0, "unit": "s", "event_": "e", "value_": "v", "self_": "s"}
        assert seen == [{"event": "mine", "log_level": "info", **fields}]

    def test_argument(self):
        """Checked where it is written."""
        with pytest.raises(InvalidArgument, match=r"level must be one of .* got 'loud'"):
            StructlogSink(level="loud")


class TestJsonLines:
    """Read back from the file."""

    def test_lines(self, tmp_path):
        """Each event is a line, at once; an existing file is continued."""
        path = tmp_path / "events.jsonl"
        with JsonLinesSink(path) as sink:
            sink.on_next(EVENTS[0])
            first = json.loads(path.read_text())
        with JsonLinesSink(path) as sink:
            sink.on_next(EVENTS[8])
        sink.on_next(EVENTS[9])
        sink.close()
        assert first == {
            "name": "rxpool.tasks",
            "value": 1,
            "unit": "{task}",
            "at": 1.5,
            "attributes": {"outcome": "success", "pool": "p"},
        }
        assert [json.loads(line)["name"] for line in path.read_text().splitlines()] == [
            "rxpool.tasks",
            "rxpool.queue.size",
        ]

    def test_what_json_cannot_say_is_refused(self, tmp_path):
        """The file stays valid."""
        path = tmp_path / "events.jsonl"
        with JsonLinesSink(path) as sink, pytest.raises(ValueError, match="JSON compliant"):
            sink.on_next(event("mine", float("nan")))
        assert path.read_text() == ""

    def test_threads(self, tmp_path, frantic):
        """Lines of several threads do not mix; one may close the file at any time."""
        for number in range(40):
            path = tmp_path / f"{number}.jsonl"
            sink = JsonLinesSink(path)
            turn = itertools.count()

            def work(sink=sink, turn=turn):
                if next(turn) == 0:
                    sink.on_next(EVENTS[0])
                    sink.close()
                for _ in range(40):
                    sink.on_next(EVENTS[0])

            assert not run_at_once(4, work)
            lines = path.read_text().splitlines()
            assert {json.loads(line)["name"] for line in lines} == {"rxpool.tasks"}


class TestFanOut:
    """Several monitors as one."""

    def test_one_that_raises_is_let_go(self, caplog):
        """Logged once; the others and the sender do not notice."""
        before, after = [], PerformanceMonitor()

        def broken(_):
            raise ValueError("no")

        both = fan_out(before.append, broken, after)
        for each in EVENTS:
            both.on_next(each)
        assert before == EVENTS
        assert after.report("rxpool.tasks").count == 4
        assert both.monitors == (before.append, after)
        assert caplog.text.count("a monitor raised") == 1
        assert "ValueError: no" in caplog.text

    def test_threads_log_it_once(self, caplog, frantic):
        """Also if it raises on several threads at the same time."""
        gate = threading.Barrier(4)

        def broken(_):
            gate.wait(10)
            raise ValueError("no")

        seen = []
        both = fan_out(broken, seen.append)
        assert not run_at_once(4, lambda: both.on_next(EVENTS[0]))
        assert len(seen) == 4
        assert caplog.text.count("a monitor raised") == 1

    def test_as_the_monitor_of_an_operator(self):
        """It is a monitor like any other."""
        import reactivex as rx

        first, second = PerformanceMonitor(), PerformanceMonitor()
        monitor = fan_out(first, second)
        rx.from_iterable(range(7)).pipe(ops.batch(3, monitor=monitor)).run()
        for each in (first, second):
            assert each.report("rxpool.batch.flushes").count == 3
            assert each.report("rxpool.batch.size").max == 3

    @pytest.mark.parametrize("wrong", [None, 3])
    def test_arguments(self, wrong):
        """Checked where they are written."""
        with pytest.raises(InvalidArgument, match=f"callable or have on_next, got {wrong}"):
            fan_out(print, wrong)


@pytest.mark.parametrize(
    ("blocked", "make", "command"),
    [
        ("prometheus_client", PrometheusSink, r"pip install 'rxpool\[prometheus\]'"),
        ("opentelemetry", OpenTelemetrySink, r"pip install 'rxpool\[opentelemetry\]'"),
    ],
)
def test_a_missing_library(monkeypatch, blocked, make, command):
    """The error says what to type."""
    monkeypatch.setitem(sys.modules, blocked, None)
    with pytest.raises(ImportError, match=command):
        make()


def test_libraries_are_imported_where_they_are_used():
    """Importing the package imports none of them."""
    code = (
        "import sys, rxpool.metrics;"
        "names = 'prometheus_client', 'opentelemetry', 'psutil';"
        "print([name for name in names if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=50
    )
    assert done.stdout == "[]\n"


def run_at_once(count, job):
    start, failures = threading.Barrier(count), []

    def run():
        start.wait()
        try:
            job()
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=run) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failures
