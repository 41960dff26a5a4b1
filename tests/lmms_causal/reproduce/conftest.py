"""Runs as the harnesses' files read, with scores of our choice."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare.records import Cost, Run, Sample, Task


@pytest.fixture
def run_of() -> Callable[..., Run]:
    """A run with one metric ``score`` (a mean) for each task, given as lists of values."""

    def build(
        tasks: dict[str, Sequence[Any]],
        clusters: Sequence[str] | None = None,
        reported: float | None = None,
        first: int = 0,
    ) -> Run:
        made = {}
        for name, values in tasks.items():
            samples = tuple(
                Sample(
                    task=name,
                    filter="none",
                    doc_id=first + place,
                    key=None,
                    metrics={"score": value},
                    attributes={} if clusters is None else {"image_id": clusters[place]},
                    response="",
                    target="",
                )
                for place, value in enumerate(values)
            )
            numbers = [v["score"] if isinstance(v, dict) else v for v in values if v is not None]
            mean = sum(numbers) / len(numbers) if reported is None else reported
            made[name] = Task(
                name=name,
                config={},
                version=1,
                num_fewshot=0,
                aggregates={("score", "none"): mean},
                higher_is_better={"score": True},
                samples={"none": samples},
            )
        return Run(
            harness="lmms-eval",
            harness_version=None,
            path=Path("results.json"),
            model="causal",
            model_args={},
            interventions="",
            causal_version=None,
            date="",
            settings={},
            tasks=made,
            cost=Cost(),
        )

    return build
