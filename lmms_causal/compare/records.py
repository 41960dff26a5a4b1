"""What a finished evaluation is, whichever of the two harnesses wrote it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LMMS_EVAL = "lmms-eval"
LM_EVAL = "lm-eval"

#: Names under which a document says with which others it shares an image, a sentence or a pair.
CLUSTER_KEYS = ("cluster", "cluster_id", "image_id", "image", "sentence_id", "pair_id", "pair")


@dataclass(frozen=True)
class Sample:
    """One document's answer and its scores under one answer filter.

    Attributes:
        task: Task name.
        filter: Name of the harness's answer filter ("none" when the task declares none).
        doc_id: Row number of the document in the task's split.
        key: Our own document id, when a metric value carries one ("id", or pair and order).
        metrics: Raw metric values by metric name: numbers, or dictionaries holding a "score".
        attributes: Scalar facts about the document (pair_id, image_id, stratum, category, ...).
        response: The filtered answer, as text.
        target: The expected answer, as text.
        prompt: The text the model was asked; None when the harness did not record it.
        doc_hash: Hash of the document; None where the harness writes a constant (lmms-eval).
    """

    task: str
    filter: str
    doc_id: int
    key: str | None
    metrics: Mapping[str, Any]
    attributes: Mapping[str, Any]
    response: str
    target: str
    prompt: str | None = None
    doc_hash: str | None = None


@dataclass(frozen=True)
class Task:
    """One task of a run: its configuration, its aggregates and its documents.

    Attributes:
        name: Task name.
        config: The task's configuration as the results file holds it.
        version: The task's version.
        num_fewshot: Number of examples in the prompt.
        aggregates: Aggregate by (metric, filter), in the file's order.
        higher_is_better: Direction by metric name; None or absent when the task does not say.
        samples: Documents by filter name. Empty for a group of tasks.
        is_group: True for a group, which has aggregates but no documents of its own.
    """

    name: str
    config: Mapping[str, Any]
    version: Any
    num_fewshot: Any
    aggregates: Mapping[tuple[str, str], float]
    higher_is_better: Mapping[str, bool | None]
    samples: Mapping[str, tuple[Sample, ...]] = field(default_factory=dict)
    is_group: bool = False


@dataclass(frozen=True)
class Cost:
    """What a run took; None where the harness or the model did not record it.

    Attributes:
        wall_seconds: The whole evaluation, loading of the model included.
        generation_seconds: Time spent inside the model's answering calls.
        generated_tokens: Tokens generated over all documents.
        tokens_per_second: Generated tokens per second of generation.
        forward_passes: Rows sent through the network over the whole run.
        forward_passes_per_request: Rows sent through the network for each prompt answered or
            continuation scored, every branch and step counted.
        peak_memory_bytes: Highest memory allocation of the run.
        judge_calls: Replies that scoring asked a judge model for; cached ones cost none.
        from_cache: True when a response cache was in use, which makes times meaningless.
    """

    wall_seconds: float | None = None
    generation_seconds: float | None = None
    generated_tokens: float | None = None
    tokens_per_second: float | None = None
    forward_passes: float | None = None
    forward_passes_per_request: float | None = None
    peak_memory_bytes: float | None = None
    judge_calls: float | None = None
    from_cache: bool = False


@dataclass(frozen=True)
class Run:
    """One run of a harness, read from its results file and its samples files.

    Attributes:
        harness: "lmms-eval" or "lm-eval".
        harness_version: The harness's version as it recorded it; None when it could not tell.
        path: The results file.
        model: The harness's model name (the argument of ``--model``).
        model_args: Arguments of the model, without the interventions.
        interventions: Canonical specification of the interventions; "" for none.
        causal_version: Version of this package that produced the run, when recorded.
        date: Start of the run as text; lm-eval's in UTC, lmms-eval's in its ``--timezone``.
        settings: Everything else of the run's configuration (batch size, seeds, ...).
        tasks: Tasks and groups by name.
        cost: What the run took.
    """

    harness: str
    harness_version: str | None
    path: Path
    model: str
    model_args: Mapping[str, str]
    interventions: str
    causal_version: str | None
    date: str
    settings: Mapping[str, Any]
    tasks: Mapping[str, Task]
    cost: Cost


def number(value: Any) -> float | None:
    """Read a finite number, also from its text form; None for anything else.

    lmms-eval writes "N/A" for what it did not compute and stores the total time as text.
    """
    if isinstance(value, (bool, int, float)):
        try:
            result = float(value)
        except OverflowError:  # an integer of hundreds of digits: beyond every score, as 1e999
            return None
    elif isinstance(value, str):
        try:
            result = float(value)
        except ValueError:
            return None
    else:
        return None
    return result if math.isfinite(result) else None


def score(value: Any, score_key: str = "score") -> float | None:
    """Return the document's score in a metric value, or None when it holds none.

    Args:
        value: A number, or a dictionary with the number under `score_key`.
        score_key: The task's ``score_key`` (lmms-eval); "score" by default in both harnesses.
    """
    if type(value) is float:  # by far the most frequent, and runs have many
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        value = value.get(score_key, value.get("score"))
    return None if isinstance(value, str) else number(value)
