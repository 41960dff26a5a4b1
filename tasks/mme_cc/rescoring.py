"""Judge answers that another run has logged: ``python -m lmms_causal.tasks.mme_cc.rescoring FILE``.

A machine without a network generates (``LMMS_CAUSAL_JUDGE=off``, ``--log_samples`` or
``--predict_only``); one with a judge scores the samples file by the functions of the task file.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import yaml

from lmms_causal.errors import UserError
from lmms_causal.tasks import roots
from lmms_causal.tasks.aggregates import mean
from lmms_causal.tasks.mme_cc.documents import build
from lmms_causal.tasks.mme_cc.generated import judged, ruled
from lmms_causal.tasks.mme_cc.judge import preflight

__all__ = ["main", "rescore"]


def rescore(samples: Path, scoring: str = "judge", workers: int = 4) -> dict[str, Any]:
    """All metrics of the answers in a samples file of lmms-eval or lm-eval.

    Args:
        samples: JSON lines with ``doc_id``, ``target`` and ``filtered_resps``, of any of our tasks.
        scoring: ``judge`` or ``rule``.
        workers: answers scored at a time.

    Raises:
        UserError: no such file, a line without an answer or with another question's target, or no
            judge.
    """
    docs = build("mme_cc_rule_blind")
    answers = [_answer(line, number, docs, samples) for number, line in enumerate(_lines(samples))]
    if scoring == "judge":
        preflight()
    score = judged if scoring == "judge" else ruled
    with ThreadPoolExecutor(workers) as pool:
        values = list(pool.map(lambda pair: score(pair[0], [pair[1]]), answers))
    return {
        metric: aggregate([value[metric] for value in values])
        for metric, aggregate in _aggregations(scoring).items()
    }


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; prints one metric a line, or JSON."""
    parser = argparse.ArgumentParser(prog="python -m lmms_causal.tasks.mme_cc.rescoring")
    parser.add_argument("samples", type=Path, help="*_samples_mme_cc_*.jsonl of a run")
    parser.add_argument("--scoring", choices=("judge", "rule"), default="judge")
    parser.add_argument("--workers", type=int, default=4, help="answers scored at a time")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    chosen = parser.parse_args(arguments)
    try:
        metrics = rescore(chosen.samples, chosen.scoring, chosen.workers)
    except UserError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if chosen.json:
        print(json.dumps(metrics, indent=1))
    else:
        for metric, value in metrics.items():
            print(
                f"{metric:50} {value:.4f}" if isinstance(value, float) else f"{metric:50} {value}"
            )
    return 0


def _lines(samples: Path) -> list[dict[str, Any]]:
    try:
        lines = samples.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{samples} cannot be read as JSON lines ({error})") from error


def _answer(
    line: dict[str, Any], number: int, docs: list[dict[str, Any]], samples: Path
) -> tuple[dict[str, Any], str]:
    """The document that a logged line is about, and the answer in it."""
    place = line.get("doc_id")
    if not isinstance(place, int) or not 0 <= place < len(docs) or "filtered_resps" not in line:
        raise UserError(f"{samples}: line {number + 1} is no logged answer to a question of MME-CC")
    if line.get("target") != docs[place]["answer"]:
        raise UserError(
            f"{samples}: line {number + 1} has another reference than question {place} of the data "
            "here; use the copy of the data set that the run used"
        )
    answer = line["filtered_resps"]
    return docs[place], str(answer[0] if isinstance(answer, list) else answer)


def _aggregations(scoring: str) -> dict[str, Any]:
    """The aggregations that the task file names, by metric."""
    file = roots("lmms-eval") / "mme_cc" / f"_{scoring}.yaml"
    metrics = yaml.load(file.read_text(encoding="utf-8"), _Loader)["metric_list"]
    return {
        entry["metric"]: mean if entry["aggregation"] == "mean" else entry["aggregation"]
        for entry in metrics
    }


class _Loader(yaml.SafeLoader):
    """Reads ``!function a.b.c`` as the function."""


def _function(loader: _Loader, node: yaml.ScalarNode) -> Any:
    module, _, name = str(node.value).rpartition(".")
    return getattr(importlib.import_module(module), name)


_Loader.add_constructor("!function", _function)

if __name__ == "__main__":
    sys.exit(main())
