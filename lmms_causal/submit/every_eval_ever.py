"""A record of Every Eval Ever (evaleval), the shared schema of evaluation results.

Field rules: the schema and the notes of ``evaleval/every_eval_ever``. The model's id is the join
key there and must stay the base model's, so that the intervention is said in the model's name and
details, in the evaluation's and the metric's name (``lmms_causal.intervened.TASK``) and in its
description.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import uuid
from dataclasses import dataclass
from typing import Any

from lmms_causal import __version__
from lmms_causal.compare.reading import aggregations
from lmms_causal.compare.reading.integrity import OURS
from lmms_causal.compare.records import LMMS_EVAL, Run, Task, number, score
from lmms_causal.submit.evidence import Evidence
from lmms_causal.submit.schema import VERSION, check_log

__all__ = ["COLLECTION", "Evaluator", "record", "record_path", "result_id"]

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
    left_out += [f"{one} (no finite number)" for one in evidence.undefined()]
    details = {
        "intervention": intervention or "none",
        "deployment_type": "self_deployed" if run.model_args.get("pretrained") else "unknown",
        "model_availability": "open_weights" if by.open_weights else "unknown",
        "revision": run.model_args.get("revision", "main"),
        "harness_model": run.model,
        "model_args": ",".join(f"{key}={value}" for key, value in run.model_args.items()),
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
            **_engine(run),
            "additional_details": details,
        },
        "evaluation_results": results,
    }
    check_log(log, intervention)
    return log, left_out


def _engine(run: Run) -> dict[str, Any]:
    """What computed the answers, where the harness's model tells."""
    if run.model in OURS or run.model.startswith(("hf", "steered")):
        known = run.settings.get("transformers_version")
        return {
            "inference_engine": {"name": "transformers", **({"version": known} if known else {})}
        }
    found = [name for name in ("vllm", "sglang") if name in run.model]
    return {"inference_engine": {"name": found[0]}} if found else {}


def _has_direction(task: Task, metric: str, left_out: list[str]) -> bool:
    known = task.higher_is_better.get(metric) is not None
    text = f"{task.name}: {metric} (neither high nor low is better, which a record cannot say)"
    if not known and text not in left_out:
        left_out.append(text)
    return known


def result_id(task: str, metric: str, name: str) -> str:
    """Joins a result with its samples: task, metric and, if there are several, the filter."""
    return f"{task}/{metric}" + ("" if name == "none" else f"/{name}")


def _result(evidence: Evidence, task: Task, metric: str, name: str) -> dict[str, Any]:
    intervention = evidence.intervention
    count = len(task.samples.get(name) or next(iter(task.samples.values()), ()))
    low, high, unit = _bounds(task, metric, name)
    told = f"under intervention {intervention}; " if intervention else ""
    prefix = "lmms_causal.intervened." if intervention else ""
    uncertainty: dict[str, Any] = {"num_samples": count}
    error = evidence.standard_error(task.name, metric, name)
    if error is not None:
        uncertainty["standard_error"] = {"value": error, "method": "reported by the harness"}
    return {
        "evaluation_result_id": result_id(task.name, metric, name),
        "evaluation_name": f"{prefix}{task.name}",
        "source_data": _source(task, count),
        "metric_config": {
            "evaluation_description": f"{told}task {task.name} {task.version}, metric {metric}, "
            f"filter {name}",
            "metric_id": f"{prefix}{task.name}.{metric}",
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
    scale = aggregations.mean_scale(task, metric, name) if name in task.samples else None
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


def _stamp(date: str) -> str:
    return re.sub(r"\D", "", date)[:14] or "undated"
