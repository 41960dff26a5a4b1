"""Checks of Every Eval Ever's records (schema 0.3.0), in our own words.

Written after ``every_eval_ever/schemas/*.json`` and the rules of its validator, as released in
package ``every-eval-ever`` 0.3.0. That package needs Python 3.12; where it is installed,
``every_eval_ever validate`` is the authority, and this is what can be said without it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

from lmms_causal.errors import UserError

__all__ = ["VERSION", "check_log", "check_sample"]

VERSION = "0.3.0"

_UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}"
_SAMPLES = re.compile(rf"data/[^/]+/[^/]+/[^/]+/{_UUID}_samples\.jsonl")

# A form maps keys to what they hold: a type, a set of allowed values, a list of one form (a list
# of such things), another form, or STRINGS (a mapping of text to text). "?" ends optional keys.
STRINGS = "strings"
_SOURCE_DATA: dict[str, Any] = {
    "dataset_name": str,
    "source_type": {"hf_dataset", "url", "other"},
    "hf_repo?": str,
    "hf_split?": str,
    "hf_config?": str,
    "hf_revision?": str,
    "samples_number?": int,
    "url?": [str],
    "source_id?": str,
    "source_version?": str,
    "additional_details?": STRINGS,
}
_LOG: dict[str, Any] = {
    "schema_version": {VERSION},
    "evaluation_id": str,
    "evaluation_timestamp?": str,
    "retrieved_timestamp": str,
    "source_metadata": {
        "source_name?": str,
        "source_type": {"documentation", "evaluation_run"},
        "source_organization_name": str,
        "source_organization_url?": str,
        "evaluator_relationship": {"first_party", "third_party", "collaborative", "other"},
        "additional_details?": STRINGS,
    },
    "eval_library": {"name": str, "version": str, "additional_details?": STRINGS},
    "model_info": {
        "name": str,
        "id": str,
        "developer?": str,
        "inference_platform?": str,
        "inference_engine?": {"name?": str, "version?": str},
        "additional_details": STRINGS,
    },
    "evaluation_results": [
        {
            "evaluation_result_id?": str,
            "evaluation_name": str,
            "source_data": _SOURCE_DATA,
            "evaluation_timestamp?": str,
            "metric_config": {
                "evaluation_description?": str,
                "metric_id?": str,
                "metric_name?": str,
                "metric_kind?": str,
                "metric_unit?": str,
                "lower_is_better": bool,
                "score_type?": {"binary", "continuous", "levels"},
                "min_score?": "bound",
                "max_score?": "bound",
                "additional_details?": STRINGS,
            },
            "score_details": {
                "score": float,
                "details?": STRINGS,
                "uncertainty?": {
                    "standard_error?": {"value": float, "method?": str},
                    "num_samples?": int,
                },
            },
            "generation_config?": {
                "generation_args?": {
                    "temperature?": float,
                    "top_p?": float,
                    "top_k?": float,
                    "max_tokens?": int,
                    "execution_command?": str,
                },
                "additional_details?": STRINGS,
            },
        }
    ],
    "detailed_evaluation_results?": {
        "format": {"jsonl"},
        "file_path": str,
        "hash_algorithm?": {"sha256"},
        "checksum?": str,
        "total_rows?": int,
    },
}
_SAMPLE: dict[str, Any] = {
    "schema_version": {VERSION},
    "evaluation_id": str,
    "model_id": str,
    "evaluation_name": str,
    "evaluation_result_id?": str,
    "sample_id": str,
    "sample_hash?": str,
    "interaction_type": {"single_turn"},
    "input": {"raw": str, "reference": [str]},
    "output": {"raw": [str]},
    "answer_attribution": [
        {
            "turn_idx": int,
            "source": str,
            "extracted_value": str,
            "extraction_method": str,
            "is_terminal": bool,
        }
    ],
    "evaluation": {"score": float, "is_correct": bool},
    "metadata?": STRINGS,
}


def check_log(log: Mapping[str, Any], intervention: str) -> None:
    """Check an aggregate record: its form, its bounds, and that it names the intervention.

    Raises:
        UserError: what is wrong, and where.
    """
    _check(log, _LOG, "record")
    details = log["model_info"]["additional_details"]
    for key, known in (
        ("deployment_type", {"self_deployed", "externally_managed", "unknown"}),
        ("model_availability", {"open_weights", "closed_weights", "unknown"}),
    ):
        _require(details.get(key) in known, f"record: model_info: {key}: one of {sorted(known)}")
    for place, result in enumerate(log["evaluation_results"]):
        where = f"record: evaluation_results[{place}]"
        config, score = result["metric_config"], result["score_details"]["score"]
        _require(math.isfinite(score), f"{where}: the score is not finite")
        if config.get("score_type") == "continuous":
            low, high = (float(config[key]) for key in ("min_score", "max_score"))
            _require(low <= score <= high, f"{where}: {score} is not within {low} and {high}")
        source = result["source_data"]
        needed = {"hf_dataset": "hf_repo", "url": "url"}.get(source["source_type"])
        _require(needed is None or bool(source.get(needed)), f"{where}: {needed} is missing")
        prefix = "lmms_causal.intervened."
        named = {
            result["evaluation_name"].startswith(prefix),
            config.get("metric_id", "").startswith(prefix),
        }
        described = config.get("evaluation_description", "")
        told = f"under intervention {intervention}; " if intervention else ""
        _require(
            named == {bool(intervention)} and described.startswith(told or "task "),
            f"{where}: a number made under an intervention, and only such a one, must be named so",
        )
    info = log["model_info"]
    _require(
        info["name"] == info["id"] + (f" with {intervention}" if intervention else "")
        and details.get("intervention") == (intervention or "none"),
        "record: model_info does not name the intervention",
    )
    detailed = log.get("detailed_evaluation_results")
    if detailed is not None:
        _require(
            bool(_SAMPLES.fullmatch(detailed["file_path"])), "record: file_path of the samples"
        )


def check_sample(row: Mapping[str, Any], log: Mapping[str, Any]) -> None:
    """Check a row of the samples file: its form, and that it belongs to the record.

    Raises:
        UserError: what is wrong.
    """
    _check(row, _SAMPLE, "samples")
    results = {one["evaluation_result_id"]: one for one in log["evaluation_results"]}
    _require(
        row["evaluation_id"] == log["evaluation_id"]
        and row["model_id"] == log["model_info"]["id"]
        and row["evaluation_result_id"] in results
        and row["evaluation_name"] == results[row["evaluation_result_id"]]["evaluation_name"],
        f"samples: {row['sample_id']} belongs to another record",
    )


def _check(value: Any, form: Any, where: str) -> None:
    if isinstance(form, dict):
        _require(isinstance(value, Mapping), f"{where}: a mapping is expected")
        known = {key.rstrip("?") for key in form}
        extra = set(value) - known
        _require(not extra, f"{where}: unknown key {', '.join(sorted(extra))}")
        for key, inner in form.items():
            name = key.rstrip("?")
            if name in value:
                _check(value[name], inner, f"{where}: {name}")
            else:
                _require(key.endswith("?"), f"{where}: {name} is missing")
    elif isinstance(form, list):
        _require(isinstance(value, list) and bool(value), f"{where}: a list is expected")
        for place, item in enumerate(value):
            _check(item, form[0], f"{where}[{place}]")
    elif isinstance(form, set):
        _require(value in form, f"{where}: {value!r} is none of {', '.join(sorted(form))}")
    elif form == STRINGS:
        texts = isinstance(value, Mapping) and all(isinstance(one, str) for one in value.values())
        _require(texts, f"{where}: all values must be text")
    elif form == "bound":
        _require(value in ("Infinity", "-Infinity") or _is(value, float), f"{where}: no bound")
    else:
        _require(_is(value, form), f"{where}: {value!r} is no {form.__name__}")


def _is(value: Any, kind: type) -> bool:
    if kind is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if kind is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, kind)


def _require(holds: bool, complaint: str) -> None:
    if not holds:
        raise UserError(f"Every Eval Ever {complaint}")
