"""What a journal keeps of a run, and what the next run makes of it."""

import pytest

from rxpool import Journal, NotPicklable
from tests.pool.marbles import Oops, Run, outcome
from tests.pool.plans import Plan, run


@pytest.mark.parametrize("order", ["completion", "input"])
@pytest.mark.parametrize("emit", ["skip", "stored"])
@pytest.mark.parametrize("method", ["map", "outcomes"])
def test_what_a_run_before_finished(tmp_path, order, emit, method):
    """It is left out, or its stored result comes out in its place; failures run again."""
    path = tmp_path / "journal"
    calls = []

    def work(item):
        calls.append(item)
        if item == "b" and calls.count("b") == 1:
            raise Oops(item)
        return item.upper()

    def once(source):
        with Journal(path, emit=emit, fingerprint="1") as journal:
            extra = {"on_failure": "skip"} if method == "map" else {}
            found = Run(
                source,
                lambda run: getattr(run.pool, method)(
                    work, journal=journal, order=order, **extra
                ),
            )
        return [
            outcome(m.value.value) if method == "outcomes" else m.value.value
            for m in found.messages
            if m.value.kind == "N"
        ], found.counts

    first, counts = once("a@210 b@211 c@212 |@213")
    assert first == (["A", "-b:Oops*1", "C"] if method == "outcomes" else ["A", "C"])
    assert counts == {"accepted": 3, "succeeded": 2, "failed": 1}
    again, counts = once("a@210 b@211 c@212 d@213 |@214")
    assert again == (["B", "D"] if emit == "skip" else ["A", "B", "C", "D"])
    assert counts == {"accepted": 4, "succeeded": 4}
    assert calls == ["a", "b", "c", "b", "d"]


def test_a_result_that_cannot_be_kept(tmp_path):
    """It is the failure of its item."""
    with Journal(tmp_path / "journal") as journal:
        found = Run(
            "a@210 |@211",
            lambda run: run.pool.outcomes(lambda item: lambda: item, journal=journal),
        )
    (record,) = [m.value.value for m in found.messages if m.value.kind == "N"]
    assert isinstance(record.error, NotPicklable)


def test_results_of_observables_are_not_kept(tmp_path):
    """That is said."""
    with Journal(tmp_path / "journal") as journal:
        found = run(Plan(), "a@210 |@211", journal=journal)
    assert "Observable" in str(found.messages[-1].value.exception)
