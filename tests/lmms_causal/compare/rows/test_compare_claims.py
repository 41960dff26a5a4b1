"""What a report may say: of which documents, of which runs, with what else that differs."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import Run, Task, compare, read_run
from lmms_causal.compare.output.report import to_json, to_text
from lmms_causal.compare.output.verdict import verdict
from lmms_causal.compare.pairing.checks import _digest
from lmms_causal.compare.pairing.pairs import natural_order
from lmms_causal.compare.rows.row import Options
from lmms_causal.errors import UserError

Write = Callable[..., Path]
_BUT = "but the runs also differ in"


def _targets(run: Run, target: str, of: int) -> Run:
    """The run with another expected answer of its first documents."""
    task = run.tasks["toy_order"]
    samples = tuple(
        dataclasses.replace(sample, target=target) if row < of else sample
        for row, sample in enumerate(task.samples["none"])
    )
    return _with(run, dataclasses.replace(task, samples={"none": samples}))


def _with(run: Run, *tasks: Task) -> Run:
    return dataclasses.replace(run, tasks={**run.tasks, **{task.name: task for task in tasks}})


def _reads(write_run: Write, **scores: list[Any]) -> list[Run]:
    return [read_run(write_run(name, it)) for name, it in scores.items()]


def test_equivalence_of_other_models_is_not_that_of_an_intervention(write_run: Write) -> None:
    a = read_run(write_run("a", [1] * 600))
    b = read_run(write_run("b", [1] * 600, model_args="pretrained=org/else,interventions=re2"))
    claimed = verdict(compare(a, [b], Options(margin=1.0))[0])
    assert "equivalence is shown" in claimed and f"{_BUT} model argument pretrained" in claimed
    assert _BUT not in verdict(compare(a, [b])[0])  # nothing is claimed


def test_a_lower_precision_is_a_serious_difference(write_run: Write) -> None:
    a = read_run(write_run("a", [0, 1] * 50))
    b = read_run(write_run("b", [1] * 100, model_args="pretrained=org/toy,dtype=float16"))
    (comparison,) = compare(a, [b])
    assert [(it.what, it.serious) for it in comparison.differences] == [
        ("model argument dtype", True)
    ]
    assert f"{_BUT} model argument dtype" in verdict(comparison)
    assert "should not matter" not in to_text([comparison])


def test_documents_scored_against_other_answers_are_other_documents(write_run: Write) -> None:
    a, b = _reads(write_run, a=[0, 1] * 20, b=[1] * 40)
    (comparison,) = compare(a, [_targets(b, "B", of=3)])
    (check,) = [check for check in comparison.checks if check.what == "documents"]
    assert check.status == "different" and "3 of them have other expected answers" in check.note
    assert [(it.what, it.a, it.b, it.serious) for it in comparison.differences] == [
        ("expected answers of 3 of 40 documents of task toy_order", "A", "B", True)
    ]
    assert f"{_BUT} expected answers of 3 of 40 documents" in verdict(comparison)


def test_aggregates_over_other_documents_are_not_shown(write_run: Write) -> None:
    """What is not tested, and a group, hold what the harness counted: all documents of each run."""
    a, b = _reads(write_run, a=[0, 1] * 20, b=[1] * 20)
    runs = []
    for run, value in ((a, 0.3), (b, 0.9)):
        task = run.tasks["toy_order"]
        more = {**task.aggregates, ("f1", "none"): value}
        group = dataclasses.replace(task, name="all", samples={}, is_group=True)
        runs.append(_with(run, dataclasses.replace(task, aggregates=more), group))
    (comparison,) = compare(runs[0], runs[1:], Options(intersect=True))
    data = json.loads(json.dumps(to_json([comparison]), allow_nan=False))["comparisons"][0]
    shown = {(row["task"], row["metric"]): row for row in data["rows"]}
    assert shown["toy_order", "toy_score"]["a"] == 0.5
    for place in (("toy_order", "f1"), ("all", "toy_score")):
        row = shown[place]
        assert row["a"] is row["b"] is row["difference"] is None
        assert "all documents of each run, so not shown" in row["note"]
    whole = compare(runs[0], [runs[0]], Options(intersect=True))[0].rows
    assert {row.metric: row.a for row in whole if row.task == "toy_order"}["f1"] == 0.3


def test_the_trouble_of_one_task_stops_no_other(write_run: Write) -> None:
    a, b = _reads(write_run, a=[0, 1] * 20, b=[1] * 40)
    task = b.tasks["toy_order"]
    other = dataclasses.replace(task, name="other")
    fewer = dataclasses.replace(other, samples={"none": other.samples["none"][:-1]})
    nothing = dataclasses.replace(task, samples={})
    two = _with(a, dataclasses.replace(a.tasks["toy_order"], name="other"))
    (comparison,) = compare(two, [_with(b, fewer)])
    assert {row.task for row in comparison.rows} == {"toy_order"}
    assert any(
        note.startswith("not compared: task other: the two runs answered different documents")
        for note in comparison.notes
    )
    (comparison,) = compare(two, [_with(b, other, nothing)])
    assert {row.task for row in comparison.rows} == {"other"}
    with pytest.raises(UserError, match=r"run B has no documents of this task.*has 40"):
        compare(a, [_with(b, nothing)])


def test_an_empty_samples_file_is_refused_in_one_line(write_run: Write) -> None:
    a, file = read_run(write_run("a", [0, 1])), write_run("b", [0, 1])
    next(file.parent.glob("*.jsonl")).write_text("")
    with pytest.raises(UserError, match="task toy_order: run B has no documents") as refused:
        compare(a, [read_run(file)])
    assert "\n" not in str(refused.value)


def test_documents_that_share_an_id_are_compared_as_dependent(write_run: Write) -> None:
    """An id of the video: three questions each, told apart by their rows."""
    runs = []
    for run in _reads(write_run, a=[0, 1, 0] * 14, b=[1, 1, 0] * 14):
        task = run.tasks["toy_order"]
        samples = tuple(
            dataclasses.replace(sample, key=f"v{row // 3}", attributes={"id": f"v{row // 3}"})
            for row, sample in enumerate(task.samples["none"])
        )
        runs.append(_with(run, dataclasses.replace(task, samples={"none": samples})))
    (comparison,) = compare(runs[0], runs[1:])
    row = comparison.rows[0]
    assert (row.n, row.units, row.cluster_key, row.gained) == (42, 14, "id", 14)
    assert any("several documents have the same id" in note for note in comparison.notes)


def test_negative_numbers_are_written_as_asked(write_run: Write) -> None:
    a, b = _reads(write_run, a=[1] * 20 + [0] * 20, b=[1] * 40)
    (comparison,) = compare(b, [a])
    plain, typographic = verdict(comparison), verdict(comparison, minus="−")
    assert "(-50.0 points, 95 % interval -66.2 to -33.8" in plain and "p = 1.9e-06" in plain
    assert "(−50.0 points, 95 % interval −66.2 to −33.8" in typographic
    assert "p = 1.9e−06" in typographic and "-" not in typographic.replace("right-", "")


def test_text_that_is_no_text_stops_nothing(write_run: Write) -> None:
    (run,) = _reads(write_run, a=[0, 1])
    samples = [
        dataclasses.replace(sample, prompt=f"why \ud800 {row}")
        for row, sample in enumerate(run.tasks["toy_order"].samples["none"])
    ]
    assert _digest(samples) != _digest(samples[:1])
    assert natural_order("x²") != natural_order("x2")
