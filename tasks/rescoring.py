"""Judge answers that another run has logged (the command ``lmms-causal rescore``).

A machine without a network generates (``LMMS_CAUSAL_JUDGE=off`` with ``--log_samples``, or
``--predict_only``); one with a judge scores the samples file by the functions of the task file. The
same mends a run whose judge failed: verdicts are cached, so only the missing ones are asked for.
"""

from __future__ import annotations

import importlib
import importlib.util
import json
import re
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from lmms_causal.errors import UserError
from lmms_causal.tasks import HARNESSES, catalogue, roots
from lmms_causal.tasks.aggregates import mean

__all__ = ["Rescored", "rescore", "write_run"]

_TIME_OF_LMMS_EVAL = re.compile(r"(.+)_samples_(.+)\.jsonl")
_TIME_OF_LM_EVAL = re.compile(r"samples_(.+)_(\d{4}-\d{2}-\d{2}T[\d.-]+)\.jsonl")


@dataclass(frozen=True)
class Rescored:
    """Scores of logged answers.

    Attributes:
        task: the task whose functions scored.
        samples: the file with the answers.
        values: of each answer, by metric, in the order of the file.
        metrics: of all answers together.
    """

    task: str
    samples: Path
    values: tuple[Mapping[str, Any], ...]
    metrics: Mapping[str, Any]


def rescore(task: str, samples: Path, workers: int = 4) -> Rescored:
    """All metrics of the answers in a samples file of lmms-eval or lm-eval.

    Args:
        task: a task of a benchmark with a judge that generates text, such as ``mmhal``. It may be
            another one of the benchmark than the run's, such as ``mme_cc_rule``.
        samples: JSON lines with ``doc_id``, ``target`` and ``filtered_resps``.
        workers: answers scored at a time.

    Raises:
        UserError: no such task or file, a line without an answer or with another question's target,
            no data, or no judge.
    """
    definition = _definition(task)
    twin = f"{task}_blind"  # the same questions, without the pictures, which nobody needs here
    twin = twin if twin in catalogue.names() else task
    catalogue.check([twin])
    docs = importlib.import_module(f"{_package(task)}.documents").build(twin)
    field = definition["doc_to_target"]
    answers = [
        _answer(line, number, docs, field, samples) for number, line in enumerate(_lines(samples))
    ]
    score = definition["process_results"]
    with ThreadPoolExecutor(workers) as pool:
        values = tuple(pool.map(lambda pair: score(pair[0], [pair[1]]), answers))
    metrics = {}
    for entry in definition["metric_list"]:
        aggregate = mean if entry["aggregation"] == "mean" else entry["aggregation"]
        metrics[entry["metric"]] = aggregate([value[entry["metric"]] for value in values])
    return Rescored(task, samples, values, metrics)


def write_run(done: Rescored, folder: Path) -> Path:
    """Write samples and results as the harness would have, for ``lmms-causal compare``.

    Returns:
        The results file; it names the samples file that the answers come from.

    Raises:
        UserError: no results file of the run beside its samples, the run was of another task, or
            the folder is that of the run.
    """
    source = _results_beside(done.samples)
    data = json.loads(source.read_text(encoding="utf-8"))
    if done.task not in data["results"]:
        raise UserError(f"{source} is of {', '.join(data['results'])}; --output takes one of these")
    if folder.resolve() == source.parent.resolve():
        raise UserError(f"--output {folder} is the run's own folder; name another one")
    declared = _definition(done.task)["metric_list"]
    for part in ("results", "configs", "versions", "n-shot", "higher_is_better", "n-samples"):
        if done.task in (data.get(part) or {}):
            data[part] = {done.task: data[part][done.task]}
    data.pop("groups", None)
    data.pop("group_subtasks", None)
    alias = data["results"][done.task].get("alias", done.task)
    metrics = {f"{metric},none": value for metric, value in done.metrics.items()}
    data["results"] = {done.task: {"alias": alias, **metrics}}
    better = {entry["metric"]: entry["higher_is_better"] for entry in declared}
    data["higher_is_better"] = {done.task: better}
    data["rescored_from"] = done.samples.name
    lines = []
    for line, values in zip(_lines(done.samples), done.values, strict=True):
        line.pop("bypass", None)  # the metric of --predict_only
        line |= {"metrics": list(values)} if "metrics" in line else {}
        lines.append(json.dumps({**line, **values}) + "\n")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / done.samples.name).write_text("".join(lines), encoding="utf-8")
    (folder / source.name).write_text(json.dumps(data, indent=2), encoding="utf-8")
    return folder / source.name


def _lines(samples: Path) -> list[dict[str, Any]]:
    try:
        lines = samples.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.strip()]
    except (OSError, ValueError) as error:
        raise UserError(f"{samples} cannot be read as JSON lines ({error})") from error


def _answer(
    line: Any, number: int, docs: Sequence[Mapping[str, Any]], field: str, samples: Path
) -> tuple[Mapping[str, Any], str]:
    """The document that a logged line is about, and the answer in it."""
    place = line.get("doc_id") if isinstance(line, dict) else None
    if not isinstance(place, int) or not 0 <= place < len(docs) or "filtered_resps" not in line:
        raise UserError(f"{samples}: line {number + 1} is no logged answer to a question of it")
    if line.get("target") != str(docs[place][field]):
        raise UserError(
            f"{samples}: line {number + 1} has another reference than question {place} of the data "
            "here; use the copy of the data set that the run used"
        )
    answer = line["filtered_resps"]
    return docs[place], str(answer[0] if isinstance(answer, list) else answer)


def _results_beside(samples: Path) -> Path:
    if found := _TIME_OF_LMMS_EVAL.fullmatch(samples.name):
        results = samples.with_name(f"{found[1]}_results.json")
    elif found := _TIME_OF_LM_EVAL.fullmatch(samples.name):
        results = samples.with_name(f"results_{found[2]}.json")
    else:
        raise UserError(f"{samples} has no name of a samples file of lmms-eval or lm-eval")
    if not results.is_file():
        raise UserError(f"{results} is missing, which --output is made from")
    return results


def _package(task: str) -> str:
    return f"lmms_causal.tasks.{_file(task).parent.name}"


def _file(task: str) -> Path:
    files = [path for name in HARNESSES for path in sorted(roots(name).glob(f"*/{task}.yaml"))]
    with_judge = [
        path
        for path in files
        if importlib.util.find_spec(f"lmms_causal.tasks.{path.parent.name}.judge")
    ]
    if not with_judge:
        raise UserError(
            f"{task} is no task of a benchmark with a judge; for example mmhal, mme_cc_judge, "
            "mucr_exp_judge are"
        )
    return with_judge[0]


def _definition(task: str) -> Mapping[str, Any]:
    """What the task file and those it includes say; of two the including one."""
    found = _read(_file(task))
    if found.get("output_type") != "generate_until":
        raise UserError(f"{task} generates no text, so there are no answers to score again")
    return found


def _read(path: Path) -> dict[str, Any]:
    own = yaml.load(path.read_text(encoding="utf-8"), _Loader)
    includes = own.pop("include", [])
    found: dict[str, Any] = {}
    # The harnesses let the first of several included files win.
    for include in reversed([includes] if isinstance(includes, str) else includes):
        found |= _read(path.with_name(include))
    return found | own


class _Loader(yaml.SafeLoader):
    """Reads ``!function a.b.c`` as the function."""


def _function(loader: _Loader, node: yaml.ScalarNode) -> Callable[..., Any]:
    module, _, name = str(node.value).rpartition(".")
    function: Callable[..., Any] = getattr(importlib.import_module(module), name)
    return function


_Loader.add_constructor("!function", _function)
