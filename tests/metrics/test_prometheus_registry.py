"""`PrometheusSink` where a name is taken, and in the multiprocess mode of prometheus-client."""

import prometheus_client
import pytest

from rxpool import MetricEvent, WorkerPool
from rxpool.metrics import METRICS, PrometheusSink
from tests.ends.programs import run


def event(name, value, **attributes):
    """An event of a known metric."""
    return MetricEvent(name, value, METRICS[name].unit, 0.0, attributes)


def taken(registry, kind):
    """Something else has the name of ``rxpool.queue.size``."""
    kind("rxpool_queue_size", "mine", registry=registry)


@pytest.mark.parametrize(
    "kind", [prometheus_client.Gauge, prometheus_client.Histogram, prometheus_client.Summary]
)
def test_a_name_that_is_taken(kind, caplog):
    """That metric is left out and logged once, for all sinks of the registry; others go on."""
    registry = prometheus_client.CollectorRegistry()
    taken(registry, kind)
    for sink in (PrometheusSink(registry), PrometheusSink(registry)):
        for pool in ("a", "b"):
            sink.on_next(event("rxpool.queue.size", 3, pool=pool))
            sink.on_next(event("rxpool.task.active", 2, pool=pool))
    assert registry.get_sample_value("rxpool_task_active", {"pool": "a"}) == 4
    records = [each for each in caplog.records if "left out" in each.getMessage()]
    assert len(records) == 1
    assert "rxpool.queue.size" in records[0].getMessage()
    assert "rxpool.queue.size" not in caplog.text.replace(records[0].getMessage(), "")


def test_the_sink_of_a_pool_goes_on():
    """It is not let go of, and nothing is on `faults`."""
    registry = prometheus_client.CollectorRegistry()
    taken(registry, prometheus_client.Gauge)
    faults = []
    with WorkerPool(2, name="p", monitor=PrometheusSink(registry)) as pool:
        pool.faults.subscribe(faults.append)
        for _ in range(3):
            list(pool.imap(abs, range(10)))
    labels = {"pool": "p", "outcome": "success", "error_type": ""}
    assert registry.get_sample_value("rxpool_tasks_total", labels) == 30
    assert faults == []


MULTIPROCESS = """
    import os, sys
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = os.getcwd()
    from prometheus_client import CollectorRegistry, multiprocess
    from rxpool import MetricEvent
    from rxpool.metrics import PrometheusSink

    def measure():
        sink = PrometheusSink()
        sink.on_next(MetricEvent("rxpool.queue.size", 3, "{task}", 0.0, {"pool": "p"}))
        sink.on_next(MetricEvent("rxpool.task.active", 2, "{task}", 0.0, {"pool": "p"}))
        sink.on_next(MetricEvent("rxpool.tasks", 5, "{task}", 0.0, {"pool": "p"}))

    def show():
        registry = CollectorRegistry()
        multiprocess.MultiProcessCollector(registry)
        for family in registry.collect():
            for sample in family.samples:
                if not sample.name.endswith("_created"):
                    print(sample.name, sorted(sample.labels), sample.value)

    if len(sys.argv) > 1:
        measure()
        print(os.getpid())
    else:
        import subprocess
        measure()
        dead = int(subprocess.check_output([sys.executable, __file__, "measure"]))
        show()
        multiprocess.mark_process_dead(dead)
        show()
"""


def test_multiprocess_mode(tmp_path):
    """One level for all processes that live, without a label of theirs; counters keep all."""
    ended = run(tmp_path, MULTIPROCESS)
    assert ended.err == ""
    assert sorted(ended.lines) == sorted(
        [
            "rxpool_queue_size ['pool'] 6.0",
            "rxpool_task_active ['pool'] 4.0",
            "rxpool_tasks_total ['error_type', 'outcome', 'pool'] 10.0",
            "rxpool_queue_size ['pool'] 3.0",
            "rxpool_task_active ['pool'] 2.0",
            "rxpool_tasks_total ['error_type', 'outcome', 'pool'] 10.0",
        ]
    )
