"""Runs made in memory, with answers and scores of our choice."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare import Comparison, Cost, Options, Run, Sample, Task, compare

Make = Callable[..., Run]


def run_of(
    name: str,
    scores: Mapping[str, Sequence[float]],
    *,
    interventions: str = "",
    answers: Sequence[str] | None = None,
    questions: Sequence[str] | None = None,
    attributes: Mapping[str, Sequence[Any]] | None = None,
    seconds: float | None = 1.0,
    task: str = "toy",
    ids: Sequence[str] | None = None,
) -> Run:
    """A run of one task: `scores` by metric, one a document, each metric the mean of its own."""
    count = len(next(iter(scores.values())))
    samples = tuple(
        Sample(
            task=task,
            filter="none",
            doc_id=index,
            key=ids[index] if ids else f"doc-{index}",
            metrics={metric: values[index] for metric, values in scores.items()},
            attributes={key: values[index] for key, values in (attributes or {}).items()},
            response=answers[index] if answers else ("yes" if scores_of(scores)[index] else "no"),
            target="yes",
            prompt=questions[index] if questions else f"Is it {index} ?",
        )
        for index in range(count)
    )
    return Run(
        harness="lmms-eval",
        harness_version="0.7.3",
        path=Path(f"{name}_results.json"),
        model="causal",
        model_args={"pretrained": "org/toy"},
        interventions=interventions,
        causal_version=None,
        date="2026-01-01 12:00:00",
        settings={},
        tasks={
            task: Task(
                name=task,
                config={"metric_list": [{"metric": m, "aggregation": "mean"} for m in scores]},
                version=1.0,
                num_fewshot=0,
                aggregates={(m, "none"): sum(v) / len(v) for m, v in scores.items()},
                higher_is_better=dict.fromkeys(scores, True),
                samples={"none": samples},
            )
        },
        cost=Cost(generation_seconds=seconds, forward_passes_per_request=seconds),
    )


def scores_of(scores: Mapping[str, Sequence[float]]) -> Sequence[float]:
    return next(iter(scores.values()))


@pytest.fixture(scope="session")
def make_run() -> Make:
    return run_of


@pytest.fixture(scope="session")
def comparisons() -> list[Comparison]:
    """A clear gain and no change: 40 documents, of which B1 gains 12 and loses 2."""
    reference = [1.0] * 20 + [0.0] * 20
    gained = [0.0] * 2 + [1.0] * 30 + [0.0] * 8
    kinds = {"kind": ["odd", "even"] * 20}
    runs = [
        run_of("a", {"acc": reference}, attributes=kinds),
        run_of(
            "b",
            {"acc": gained},
            interventions="vcd(alpha=1.0;beta=0.1)",
            seconds=2.0,
            attributes=kinds,
        ),
        run_of(
            "c", {"acc": reference}, interventions="re2(times=1)", seconds=1.1, attributes=kinds
        ),
    ]
    return compare(runs[0], runs[1:], Options())
