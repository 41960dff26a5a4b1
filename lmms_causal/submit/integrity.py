"""What must not be submitted: parts of a benchmark, unknown interventions, files that disagree."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from lmms_causal import __version__
from lmms_causal.compare import aggregations
from lmms_causal.compare.locate import samples_file
from lmms_causal.compare.records import LM_EVAL, Run, Task, number, score
from lmms_causal.errors import UserError

__all__ = ["OURS", "require_integrity"]

OURS = ("causal", "causal-multimodal")
"""Names under which the harnesses know this package's models."""

_IN_BRACKETS = re.compile(r"\[(.*)\]")


def require_integrity(run: Run, data: Mapping[str, Any]) -> None:
    """Refuse a run whose numbers are not those of whole tasks under known interventions.

    Args:
        run: as read for comparison.
        data: the results file.

    Raises:
        UserError: documents were left out; interventions are not recorded, or twice and
            differently; a samples file is not the one that was written with the results.
    """
    _require_whole(run, data)
    _require_known(run, data)
    for task in run.tasks.values():
        if not task.is_group:
            _require_own_samples(run, data, task)
            _require_own_numbers(run, task)


def _require_whole(run: Run, data: Mapping[str, Any]) -> None:
    config = data["config"]
    for key in ("limit", "offset", "samples"):
        if config.get(key):
            raise UserError(
                f"{run.path}: evaluated with {key}={config[key]}: a number of some documents is no "
                "number of the benchmark; evaluate all of them"
            )
    for name, counts in (data.get("n-samples") or {}).items():
        original, done = number(counts.get("original")), number(counts.get("effective"))
        if original is not None and done is not None and done < original:
            raise UserError(
                f"{run.path}: {done:g} of {original:g} documents of {name} were evaluated; "
                "evaluate all of them"
            )
        task = run.tasks.get(name)
        if task is None or done is None:
            continue
        for used, rows in task.samples.items():
            if len(rows) != done:
                raise UserError(
                    f"{run.path}: the samples file of {name} has {len(rows)} documents (filter "
                    f"{used}), the results {done:g}: rows were lost or added after the run"
                )


def _require_known(run: Run, data: Mapping[str, Any]) -> None:
    """Our models write the spec into every results file; one without it proves nothing, and one
    that says two things proves less."""
    config = data["config"]
    written = [config[key] for key in ("lmms_causal_interventions",) if key in config]
    written += _IN_BRACKETS.findall(str(config.get("model_backend")))
    if run.model in OURS and not written:
        raise UserError(
            f"{run.path}: --model {run.model}, but the file does not say under which interventions "
            "(an old version, or an edited file); evaluate again"
        )
    specs = {_spec(one) for one in written}
    typed = _spec(_typed(config))
    if len(specs) > 1 or (specs and bool(typed) != bool(*specs)):
        told = ", ".join(one or "none" for one in sorted({*specs, typed}))
        raise UserError(
            f"{run.path}: names different interventions in different places ({told}): it was "
            "edited; evaluate again"
        )


def _typed(config: Mapping[str, Any]) -> Any:
    """The spec among the model's arguments, which lmms-eval has as one text."""
    arguments = config.get("model_args")
    if isinstance(arguments, Mapping):
        return arguments.get("interventions")
    found = re.search(r"(?:^|,)\s*interventions=([^,]*)", str(arguments or ""))
    return found[1] if found else None


def _spec(text: Any) -> str:
    text = str(text or "").strip()
    return "" if text.lower() in ("none", "off") else text


def _require_own_samples(run: Run, data: Mapping[str, Any], task: Task) -> None:
    """Both harnesses write a hash of the documents' hashes into the results (lmms-eval, whose hash
    of a document is a constant, in effect their number)."""
    written = (data.get("task_hashes") or {}).get(task.name)
    file = samples_file(run.path, task.name)
    if not written or file is None:
        return
    digest = hashlib.sha256()
    with file.open(encoding="utf-8") as lines:
        for place, line in enumerate(filter(str.strip, lines)):
            row = json.loads(line)
            keys = ("doc_hash", "prompt_hash", "target_hash")
            if run.harness == LM_EVAL:
                text = "".join(str(row.get(key)) for key in keys)
            else:
                text = f"sample_{place}{row.get('doc_hash')}"
            digest.update(text.encode())
    if digest.hexdigest() != written:
        raise UserError(
            f"{file}: not the samples file that was written with {run.path.name}: the hash of its "
            "documents is another one"
        )


def _require_own_numbers(run: Run, task: Task) -> None:
    """Numbers that are known as functions of the documents' scores must follow from them."""
    key = str(task.config.get("score_key") or "score")
    for (metric, used), reported in task.aggregates.items():
        rows = task.samples.get(used, ())
        # lmms-eval does not name the filter of a row, so that with several it is a guess.
        if not rows or (run.harness != LM_EVAL and len(task.samples) > 1):
            continue
        problem = None
        if _declared(task, metric) == "mean":
            scores = [score(row.metrics.get(metric), key) for row in rows]
            found = [value for value in scores if value is not None]
            mean = math.fsum(found) / len(found) if len(found) == len(scores) else reported
            if not math.isclose(mean, reported, rel_tol=1e-6, abs_tol=1e-9):
                problem = f"gives {mean:.6g}, the file says {reported:.6g}"
        elif run.causal_version == __version__:
            aggregate = aggregations.offered_aggregation(task, metric)
            if aggregate is not None:
                problem = aggregations.reproduces(aggregate, task, metric, used)
        if problem:
            raise UserError(
                f"{run.path}: {task.name}, {metric}: what its samples file holds {problem}: one of "
                "the two was changed after the run; evaluate again"
            )


def _declared(task: Task, metric: str) -> str:
    for entry in task.config.get("metric_list") or []:
        if entry.get("metric") == metric:
            return str(entry.get("aggregation", ""))
    return ""
