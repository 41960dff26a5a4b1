"""Runs as the harnesses' files read, with scores of our choice."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from lmms_causal.compare.records import Cost, Run, Sample, Task
from lmms_causal.interventions.spec import parse
from lmms_causal.reproduce import running


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


@pytest.fixture
def nothing_runs(monkeypatch):
    def refuse(command, log):
        raise AssertionError(command)

    monkeypatch.setattr(running, "execute", refuse)


@pytest.fixture
def harness(monkeypatch):
    """Stands in for the harness: writes a results file with 1,000 documents for each command."""
    commands = []

    def execute(command, log):
        commands.append(list(command))
        words = dict(pairwise(command))
        spec = words["--model_args"].rpartition("interventions=")[2]
        plain = spec == "none"
        folder = log.parent / "model"
        folder.mkdir()
        tasks = words["--tasks"].split(",")
        right = 936 if plain else 964
        results = {
            "results": {
                task: {"causal_score,none": right / 1000, "causal_acc,none": right / 1000}
                for task in tasks
            },
            "configs": {
                task: {
                    "metric_list": [
                        {"metric": "causal_score", "aggregation": "mean"},
                        {"metric": "causal_acc", "aggregation": "<function mean_score at 0x7f>"},
                    ],
                    "output_type": "generate_until",
                }
                for task in tasks
            },
            "config": {
                "model": "causal",
                "model_args": words["--model_args"],
                "model_backend": f"lmms_causal.models.for_lmms_eval.Causal[{parse(spec)}] (simple)",
            },
            "n-samples": {task: {"original": 1000, "effective": 1000} for task in tasks},
            "versions": dict.fromkeys(tasks, 1.2),
            "higher_is_better": {task: {"causal_score": True} for task in tasks},
            "lmms_eval_version": "0.7.3",
        }
        (folder / "20260101_000000_results.json").write_text(json.dumps(results))
        for task in tasks:
            rows = [
                {
                    "doc_id": doc,
                    "target": "A",
                    "causal_score": float(doc < right),
                    "causal_acc": {"id": f"{doc}", "score": float(doc < right)},
                }
                for doc in range(1000)
            ]
            text = "\n".join(json.dumps(row) for row in rows)
            (folder / f"20260101_000000_samples_{task}.jsonl").write_text(text)

    monkeypatch.setattr(running, "execute", execute)
    return commands
