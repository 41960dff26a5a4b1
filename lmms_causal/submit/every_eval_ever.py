"""A record of Every Eval Ever (evaleval), the shared schema of evaluation results.

Field rules: the schema and the notes of ``evaleval/every_eval_ever``. The model's id is the join
key there and must stay the base model's, so that the intervention is said in the model's name and
details, in the name of the evaluation (``lmms_causal.intervened.TASK``) and in its description.
"""

from __future__ import annotations

import hashlib
import json
import re
import shlex
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from lmms_causal import __version__
from lmms_causal.compare import aggregations
from lmms_causal.compare.locate import samples_file
from lmms_causal.compare.records import LMMS_EVAL, Sample, Task, number, score
from lmms_causal.submit.evidence import Evidence
from lmms_causal.submit.schema import VERSION, check_log, check_sample

__all__ = ["COLLECTION", "Evaluator", "record", "record_path", "samples"]

COLLECTION = "lmms-causal"
"""Folder of the data store, one for the source of the records."""

_HUB_ID = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")


@dataclass(frozen=True)
class Evaluator:
    """Who made the run, and how they stand to the model's developer; whether weights are open."""

    organisation: str
    relationship: str = "third_party"
    open_weights: bool = False


def record_path(evidence: Evidence) -> str:
    """Path in the data store without the file's ending; the same run gives the same path."""
    seed = f"{evidence.model_id}|{evidence.digest}|{evidence.run.path.name}|{evidence.run.date}"
    digest = hashlib.sha256(seed.encode()).digest()
    developer, _, model = evidence.model_id.partition("/")
    return f"data/{COLLECTION}/{developer}/{model}/{uuid.UUID(bytes=digest[:16], version=4)}"


def record(evidence: Evidence, by: Evaluator, now: float) -> tuple[dict[str, Any], list[str]]:
    """The aggregate record, and what was left out and why.

    Args:
        evidence: the run.
        by: who made it.
        now: seconds since 1970; when the record is made.

    Raises:
        UserError: the record is not valid, which is a mistake of this module.
    """
    run, intervention = evidence.run, evidence.intervention
    left_out: list[str] = []
    results = [
        _result(evidence, task, metric, name)
        for task in evidence.tasks().values()
        for metric, name in task.aggregates
        if _has_direction(task, metric, left_out)
    ]
    details = {
        "intervention": intervention or "none",
        "deployment_type": "self_deployed",
        "model_availability": "open_weights" if by.open_weights else "unknown",
        "revision": run.model_args.get("revision", "main"),
        "harness_model": run.model,
        **({"commit": evidence.commit} if evidence.commit else {}),
    }
    log = {
        "schema_version": VERSION,
        "evaluation_id": f"{COLLECTION}/{evidence.model_id.replace('/', '_')}/"
        f"{_stamp(run.date)}-{evidence.digest}",
        "evaluation_timestamp": run.date,
        "retrieved_timestamp": str(int(now)),
        "source_metadata": {
            "source_name": "lmms-causal",
            "source_type": "evaluation_run",
            "source_organization_name": by.organisation,
            "evaluator_relationship": by.relationship,
        },
        "eval_library": {
            "name": "lmms_eval" if run.harness == LMMS_EVAL else "lm_eval",
            "version": evidence.harness_version,
            "additional_details": {
                "lmms_causal": run.causal_version or __version__,
                "recorded_version": run.harness_version or "none",
            },
        },
        "model_info": {
            "name": evidence.model_id + (f" with {intervention}" if intervention else ""),
            "id": evidence.model_id,
            "developer": evidence.model_id.partition("/")[0],
            "inference_engine": {"name": "transformers"},
            "additional_details": details,
        },
        "evaluation_results": results,
    }
    check_log(log, intervention)
    return log, left_out


def samples(evidence: Evidence, log: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """One row a document, for the first metric of each task that has a number for documents.

    Raises:
        UserError: a row is not valid.
    """
    results = {one["evaluation_result_id"]: one for one in log["evaluation_results"]}
    for name, task in evidence.tasks().items():
        key = str(task.config.get("score_key") or "score")
        for metric, used in task.aggregates:
            rows = task.samples.get(used, ())
            result = results.get(_result_id(name, metric, used))
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


def _has_direction(task: Task, metric: str, left_out: list[str]) -> bool:
    known = task.higher_is_better.get(metric) is not None
    text = f"{task.name}: {metric} (neither high nor low is better, which a record cannot say)"
    if not known and text not in left_out:
        left_out.append(text)
    return known


def _result_id(task: str, metric: str, name: str) -> str:
    return f"{task}/{metric}" + ("" if name == "none" else f"/{name}")


def _result(evidence: Evidence, task: Task, metric: str, name: str) -> dict[str, Any]:
    intervention = evidence.intervention
    count = len(task.samples.get(name, ()))
    low, high, unit = _bounds(task, metric, name)
    told = f"under intervention {intervention}; " if intervention else ""
    prefix = "lmms_causal.intervened." if intervention else ""
    uncertainty: dict[str, Any] = {"num_samples": count}
    error = evidence.standard_error(task.name, metric, name)
    if error is not None:
        uncertainty["standard_error"] = {"value": error, "method": "reported by the harness"}
    return {
        "evaluation_result_id": _result_id(task.name, metric, name),
        "evaluation_name": f"{prefix}{task.name}",
        "source_data": _source(task, count),
        "metric_config": {
            "evaluation_description": f"{told}task {task.name} {task.version}, metric {metric}, "
            f"filter {name}",
            "metric_id": f"{task.name}.{metric}",
            "metric_name": metric,
            **({"metric_unit": unit} if unit else {}),
            "lower_is_better": not task.higher_is_better[metric],
            "score_type": "continuous",
            "min_score": low,
            "max_score": high,
        },
        "score_details": {"score": task.aggregates[metric, name], "uncertainty": uncertainty},
        "generation_config": {
            "generation_args": _generation(evidence, task),
            "additional_details": {
                "intervention": intervention or "none",
                "seeds": str(evidence.run.settings.get("seeds", "unknown")),
                "num_fewshot": str(task.num_fewshot),
            },
        },
    }


def _bounds(task: Task, metric: str, name: str) -> tuple[Any, Any, str]:
    """Bounds and unit: 0 and 1 of shares, if the documents' scores prove it; else unknown."""
    scale = aggregations.mean_scale(task, metric, name)
    key = str(task.config.get("score_key") or "score")
    found = [score(row.metrics.get(metric), key) for row in task.samples.get(name, ())]
    shares = scale is not None and all(value is None or 0 <= value <= 1 for value in found)
    if not shares:
        return "-Infinity", "Infinity", ""
    return (0, 1, "proportion") if scale == 1 else (0, 100, "percent")


def _source(task: Task, count: int) -> dict[str, Any]:
    path = str(task.config.get("dataset_path") or "")
    split = task.config.get("test_split") or task.config.get("validation_split")
    if _HUB_ID.fullmatch(path):
        made = {"dataset_name": task.name, "source_type": "hf_dataset", "hf_repo": path}
        config = task.config.get("dataset_name")
        return {
            **made,
            **({"hf_config": str(config)} if config else {}),
            **({"hf_split": str(split)} if split else {}),
            "samples_number": count,
        }
    # A task of this package loads its documents itself; its README names their source.
    return {
        "dataset_name": task.name,
        "source_type": "other",
        "source_id": f"lmms_causal task {task.name}",
        "source_version": str(task.version),
    }


def _generation(evidence: Evidence, task: Task) -> dict[str, Any]:
    given = dict(task.config.get("generation_kwargs") or {})
    arguments: dict[str, Any] = {"execution_command": shlex.join(evidence.command)}
    for key, names in (
        ("temperature", ("temperature",)),
        ("top_p", ("top_p",)),
        ("max_tokens", ("max_new_tokens", "max_gen_toks")),
    ):
        value = next((number(given[name]) for name in names if name in given), None)
        if value is not None:
            arguments[key] = int(value) if key == "max_tokens" else value
    return arguments


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
        "evaluation": {"score": value, "is_correct": value >= 1.0},
        "metadata": {
            "intervention": log["model_info"]["additional_details"]["intervention"],
            **recorded,
        },
    }
    if row.prompt:  # a hash of nothing would join what is not the same
        made["sample_hash"] = hashlib.sha256(canonical.encode()).hexdigest()
    return made


def _stamp(date: str) -> str:
    return re.sub(r"\D", "", date)[:14] or "undated"
