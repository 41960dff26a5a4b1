"""The samples file of a record of Every Eval Ever: questions and answers, a row a document."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from typing import Any

from lmms_causal.compare.reading.locate import samples_file
from lmms_causal.compare.records import Sample, Task, score
from lmms_causal.submit.every_eval_ever import result_id
from lmms_causal.submit.evidence import Evidence
from lmms_causal.submit.schema import VERSION, check_sample

__all__ = ["is_conversation", "samples"]


def samples(evidence: Evidence, log: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row a document, for the first metric of each task that has a number for documents.

    Conversations are left out: the harness records the last reply only.

    Raises:
        UserError: a row is not valid.
    """
    results = {one["evaluation_result_id"]: one for one in log["evaluation_results"]}
    for name, task in evidence.tasks().items():
        if is_conversation(task):
            continue
        key = str(task.config.get("score_key") or "score")
        for metric, used in task.aggregates:
            rows = task.samples.get(used, ())
            result = results.get(result_id(name, metric, used))
            if result and any(score(row.metrics.get(metric), key) is not None for row in rows):
                break
        else:
            continue
        texts = _responses(evidence, name)
        for row in rows:
            value = score(row.metrics.get(metric), key)
            if value is not None:
                made = _sample(row, value, texts.get(row.doc_id), result, log)
                check_sample(made, log)
                yield made


def is_conversation(task: Task) -> bool:
    """Whether a document is more than one question and one answer."""
    kind = str(task.config.get("output_type"))
    return "multi_round" in kind or "agentic" in kind


def _responses(evidence: Evidence, task: str) -> dict[int, str]:
    """What the model answered before filters, by document."""
    file = samples_file(evidence.run.path, task)
    texts: dict[int, str] = {}
    if file is None:
        return texts
    with file.open(encoding="utf-8") as lines:
        for line in filter(str.strip, lines):
            row = json.loads(line)
            response = row.get("resps", row.get("filtered_resps"))
            while isinstance(response, list) and len(response) == 1:
                response = response[0]
            text = response if isinstance(response, str) else json.dumps(response)
            texts.setdefault(int(row["doc_id"]), text)
    return texts


def _sample(
    row: Sample, value: float, text: str | None, result: Mapping[str, Any], log: Mapping[str, Any]
) -> dict[str, Any]:
    correct = value <= 0.0 if result["metric_config"]["lower_is_better"] else value >= 1.0
    asked = {"raw": row.prompt or "", "reference": [row.target]}
    canonical = json.dumps(asked, sort_keys=True, separators=(",", ":"))
    recorded = {} if row.prompt else {"prompt": "not recorded by the harness"}
    made = {
        "schema_version": VERSION,
        "evaluation_id": log["evaluation_id"],
        "model_id": log["model_info"]["id"],
        "evaluation_name": result["evaluation_name"],
        "evaluation_result_id": result["evaluation_result_id"],
        "sample_id": row.key or str(row.doc_id),
        "interaction_type": "single_turn",
        "input": asked,
        "output": {"raw": [row.response if text is None else text]},
        "answer_attribution": [
            {
                "turn_idx": 0,
                "source": "output.raw",
                "extracted_value": row.response,
                "extraction_method": f"filter {row.filter} of the harness",
                "is_terminal": True,
            }
        ],
        "evaluation": {"score": value, "is_correct": correct},
        "metadata": {
            "intervention": log["model_info"]["additional_details"]["intervention"],
            **recorded,
        },
    }
    if row.prompt:  # a hash of nothing would join what is not the same
        made["sample_hash"] = hashlib.sha256(canonical.encode()).hexdigest()
    return made
