"""Documents are not split or clustered by what the model said about them."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lmms_causal.compare import Options, Run, compare, read_run
from lmms_causal.errors import UserError

Write = Callable[..., Path]


def _with(run: Run, values: dict[str, list[Any]], name: str = "toy_order") -> Run:
    """The run with fields added to its documents, one value a document."""
    task = run.tasks[name]
    samples = tuple(
        dataclasses.replace(
            sample, attributes={**sample.attributes, **{key: it[row] for key, it in values.items()}}
        )
        for row, sample in enumerate(task.samples["none"])
    )
    return dataclasses.replace(
        run, tasks={name: dataclasses.replace(task, samples={"none": samples})}
    )


@pytest.fixture
def draws(write_run: Write) -> tuple[Run, Run]:
    """Two independent draws of one model that is right half of the time."""
    rng = np.random.default_rng(0)
    a, b = (
        read_run(write_run(name, rng.integers(0, 2, 200).astype(float).tolist())) for name in "ab"
    )
    return a, b


@pytest.mark.parametrize("options", [{"by": ("score",)}, {"cluster": "score"}])
def test_the_score_makes_no_groups(draws: tuple[Run, Run], options: dict[str, Any]) -> None:
    """Right in A can only get worse: groups by the score show effects between equal models."""
    with pytest.raises(
        UserError, match=r"score: is of the answers of task toy_order.*recorded.*id"
    ):
        compare(draws[0], [draws[1]], Options(**options))


def test_a_field_that_differs_between_the_runs_is_the_models(draws: tuple[Run, Run]) -> None:
    shared = [str(row % 4) for row in range(200)]
    said = [[*shared], [*shared]]
    said[1][7] = "x"
    a, b = (
        _with(run, {"said": it, "kind": shared, "pred": shared})
        for run, it in zip(draws, said, strict=True)
    )
    for options in ({"by": ("said",)}, {"cluster": "said"}):
        with pytest.raises(UserError, match=r"differs between A and B on 1 of 200 documents") as it:
            compare(a, [b], Options(**options))  # type: ignore[arg-type]
        choices = str(it.value).rpartition("are ")[2].split(", ")
        assert "kind" in choices and not {"said", "score", "pred"} & set(choices)
    assert len(compare(a, [b], Options(by=("kind",)))[0].rows) == 5
    with pytest.raises(UserError, match="--by nope") as refused:
        compare(a, [b], Options(by=("nope",)))
    choices = str(refused.value).rpartition("recorded are ")[2].split(", ")
    assert "kind" in choices and not {"said", "score", "pred"} & set(choices)


def test_the_tasks_own_score_key_is_refused(draws: tuple[Run, Run]) -> None:
    alike = ["yes", "no"] * 100
    runs = []
    for run in draws:
        task = dataclasses.replace(
            run.tasks["toy_order"], config={**run.tasks["toy_order"].config, "score_key": "mark"}
        )
        runs.append(_with(dataclasses.replace(run, tasks={"toy_order": task}), {"mark": alike}))
    with pytest.raises(UserError, match="--by mark: is of the answers"):
        compare(runs[0], runs[1:], Options(by=("mark",)))


def test_a_field_that_is_not_a_number_in_both_runs_is_no_difference(
    draws: tuple[Run, Run],
) -> None:
    fields = [float("nan"), 1.0] * 100, [float("nan"), 1] * 100
    a, b = (_with(run, {"depth": it}) for run, it in zip(draws, fields, strict=True))
    rows = compare(a, [b], Options(by=("depth",)))[0].rows
    assert sorted(row.stratum for row in rows if row.stratum) == ["1.0", "nan"]


def test_clusters_that_differ_between_the_runs_are_named(write_run: Write) -> None:
    a, b = (
        read_run(write_run(name, [0, 1] * 20, clusters=[str(row // size) for row in range(40)]))
        for name, size in (("a", 4), ("b", 2))
    )
    comparison = compare(a, [b])[0]
    assert comparison.rows[0].units == 10
    assert any("pair_id" in note and "differs in A and B" in note for note in comparison.notes)
