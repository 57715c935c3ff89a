"""What a pool tells of its work, wherever that runs."""

from collections import Counter

import pytest

from tests import jobs


@pytest.mark.parametrize("order", ["completion", "input"])
def test_every_item_is_told_once(lane, order):
    """One outcome, one duration and one wait for each item."""
    events, attempts = [], []
    with lane.pool(2, monitor=events.append) as pool:
        pool.attempts.subscribe(attempts.append)
        source = pool.pull(range(200))
        flow = source.pipe(pool.map(jobs.double, order=order))
        assert sorted(lane.collect(flow)) == list(range(0, 400, 2))
    told = Counter(event.name for event in events)
    assert told["rxpool.tasks"] == 200
    assert told["rxpool.task.duration"] == 200
    assert told["rxpool.task.wait"] == 200
    assert len(attempts) == 200
    assert {record.outcome for record in attempts} == {"success"}
    assert all(r.accepted <= r.started <= r.ended for r in attempts)
    lanes = {}
    for record in sorted(attempts, key=lambda record: record.started):
        assert lanes.get(record.worker, record.started) <= record.started, "slices overlap"
        lanes[record.worker] = record.ended
    levels = [event.value for event in events if event.name == "rxpool.task.active"]
    assert sum(levels) == 0
