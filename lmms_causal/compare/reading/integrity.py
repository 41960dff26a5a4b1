"""Whether the files of a run fit each other: what was written together must still agree.

Both harnesses write the results and the samples of a run apart. Nothing stops anybody from editing
one of the two, from a copy that is not whole, or from a folder of two runs. What both of them say
is checked here; a run that was forged throughout is not seen.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Mapping
from typing import Any

from lmms_causal import __version__
from lmms_causal.compare.reading import aggregations
from lmms_causal.compare.reading.locate import samples_file
from lmms_causal.compare.records import LM_EVAL, Run, Task, number, score
from lmms_causal.errors import UserError

__all__ = ["OURS", "require_consistent"]

OURS = ("causal", "causal-multimodal")
"""Names under which the harnesses know this package's models."""

_IN_BRACKETS = re.compile(r"\[(.*)\]")


def require_consistent(run: Run, data: Mapping[str, Any]) -> None:
    """Refuse a run whose files disagree, or do not say what was evaluated.

    Args:
        run: as read for comparison.
        data: the results file.

    Raises:
        UserError: interventions are not recorded, or twice and differently; numbers of documents
            are not recorded; a samples file is not the one that was written with the results; a
            number does not follow from the documents' scores.
    """
    _require_known(run, data)
    for task in run.tasks.values():
        if not task.is_group:
            _require_counted(run, data, task)
            _require_own_samples(run, data, task)
            _require_own_numbers(run, task)


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


def _require_counted(run: Run, data: Mapping[str, Any], task: Task) -> None:
    counts = (data.get("n-samples") or {}).get(task.name)
    counts = counts if isinstance(counts, Mapping) else {}
    done = number(counts.get("effective"))
    if done is None or number(counts.get("original")) is None:
        raise UserError(
            f"{run.path}: does not say how many documents {task.name} has and how many of them "
            "were evaluated (n-samples), which both harnesses write: it was edited; evaluate again"
        )
    for used, rows in task.samples.items():
        if len(rows) != done:
            raise UserError(
                f"{run.path}: the samples file of {task.name} has {len(rows)} documents (filter "
                f"{used}), the results {done:g}: rows were lost or added after the run; evaluate "
                "again"
            )
    if done and not task.samples:
        raise UserError(
            f"{run.path}: the samples file of {task.name} is empty, the results have {done:g} "
            "documents: rows were lost after the run; evaluate again"
        )


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
            "documents is another one; evaluate again"
        )


def _require_own_numbers(run: Run, task: Task) -> None:
    """Numbers that are known as functions of the documents' scores must follow from them."""
    key = str(task.config.get("score_key") or "score")
    # lmms-eval does not record this package's version, but every change of a score has a new
    # version of its task.
    same = run.causal_version == __version__ or aggregations.is_installed_version(task)
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
        elif same:
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
