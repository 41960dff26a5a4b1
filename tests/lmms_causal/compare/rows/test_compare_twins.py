"""The same scores under another name or as another part are one hypothesis, if their aim is one."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import Comparison, Options, Run, compare, read_run
from lmms_causal.compare.output.report import to_text
from lmms_causal.compare.output.verdict import outcome, verdict

Write = Callable[..., Path]

_A, _B = [0] * 12 + [1] * 48, [1] * 60
_PARTS = ["x", "y"] * 30


def _add(
    run: Run, metric: str, values: list[float | None], higher_is_better: bool | None = True
) -> Run:
    """The run with one more metric."""
    task = run.tasks["toy_order"]
    samples = tuple(
        dataclasses.replace(sample, metrics={**sample.metrics, metric: value})
        for sample, value in zip(task.samples["none"], values, strict=True)
    )
    present = [value for value in values if value is not None]
    changed = dataclasses.replace(
        task,
        samples={"none": samples},
        aggregates={**task.aggregates, (metric, "none"): sum(present) / len(present)},
        higher_is_better={**task.higher_is_better, metric: higher_is_better},
    )
    return dataclasses.replace(run, tasks={"toy_order": changed})


def _compared(
    write_run: Write, change: Callable[[Run, list[int]], Run], **options: Any
) -> Comparison:
    runs = [
        change(read_run(write_run(name, scores, strata=_PARTS)), scores)
        for name, scores in (("a", _A), ("b", _B))
    ]
    return compare(runs[0], runs[1:], Options(**options))[0]


def _same(comparison: Comparison) -> Mapping[tuple[str, str | None], str | None]:
    return {(row.metric, row.stratum): row.same_as for row in comparison.rows}


def test_a_part_that_is_another_metric_is_counted_once(write_run: Write) -> None:
    """The accuracy on x is a metric of its own: three hypotheses in five tested rows."""

    def on_x(run: Run, scores: list[int]) -> Run:
        values = [
            float(it) if part == "x" else None for it, part in zip(scores, _PARTS, strict=True)
        ]
        return _add(run, "x_acc", values)

    comparison = _compared(write_run, on_x, by=("stratum",))
    assert _same(comparison) == {
        ("toy_score", None): None,
        ("toy_score", "x"): "x_acc",
        ("toy_score", "y"): None,
        ("x_acc", None): None,
        ("x_acc", "x"): "x_acc",
        ("x_acc", "y"): None,
    }
    p = {(row.metric, row.stratum): row.p_holm for row in comparison.rows}
    # 12 gains in all, 6 on each part: of three hypotheses, the two smaller ones count as two.
    assert p["toy_score", None] == pytest.approx(3 * 2 * 0.5**12)
    assert p["toy_score", "x"] == p["x_acc", None] == p["x_acc", "x"]
    assert p["x_acc", None] == pytest.approx(2 * 2 * 0.5**6)
    text = " ".join(to_text([comparison]).split())
    assert "3 rows are tested" in text and "toy_score on stratum x is x_acc" in text


def test_two_fields_that_split_alike_are_one(write_run: Write) -> None:
    def again(run: Run, scores: list[int]) -> Run:
        task = run.tasks["toy_order"]
        samples = tuple(
            dataclasses.replace(
                sample, attributes={**sample.attributes, "kind": sample.attributes["stratum"] * 2}
            )
            for sample in task.samples["none"]
        )
        changed = dataclasses.replace(task, samples={"none": samples})
        return dataclasses.replace(run, tasks={"toy_order": changed})

    comparison = _compared(write_run, again, by=("stratum", "kind"))
    assert _same(comparison)["toy_score", "xx"] == "toy_score on stratum x"
    assert sum(row.p is not None and row.same_as is None for row in comparison.rows) == 3


def test_an_error_rate_is_no_twin_of_an_accuracy(write_run: Write) -> None:
    """The same numbers, of which more is better in one and worse in the other."""

    def error(run: Run, scores: list[int]) -> Run:
        return _add(run, "error", [float(it) for it in scores], higher_is_better=False)

    comparison = _compared(write_run, error, margin=5.0)
    good, bad = comparison.rows
    assert (good.same_as, bad.same_as) == (None, None)
    assert (outcome(good, 0.95), outcome(bad, 0.95)) == ("improved", "worse")
    assert good.equivalence is not None and bad.equivalence is not None
    assert good.equivalence.no_harm and not bad.equivalence.no_harm
    assert good.equivalence.no_harm_p != bad.equivalence.no_harm_p
    said = verdict(comparison)
    assert "improved toy_score" in said and "worse error" in said
    assert "no harm is shown in toy_score of toy_order" in said


def test_the_same_scores_of_other_documents_are_other_rows(write_run: Write) -> None:
    """On x and on y the same numbers come up, of different documents."""
    comparison = _compared(write_run, lambda run, scores: run, by=("stratum",))
    on = {row.stratum: row for row in comparison.rows}
    assert (on["x"].a, on["x"].b, on["x"].p) == (on["y"].a, on["y"].b, on["y"].p)
    assert on["x"].same_as is on["y"].same_as is None
