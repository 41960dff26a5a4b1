"""What must be alike in two runs for their difference to be the intervention's, item by item."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lmms_causal.compare.pairing.differences import generation_settings, plain, shorten
from lmms_causal.compare.pairing.judges import judge_of
from lmms_causal.compare.pairing.pairs import Pairing
from lmms_causal.compare.records import Run, Sample, Task

#: Model arguments that say which weights are loaded, in either harness.
_WEIGHTS = (
    "pretrained",
    "model",
    "model_version",
    "model_name",
    "model_id",
    "path",
    "base",
    "revision",
    "subfolder",
    "gguf_file",
    "peft",
    "delta",
)
#: Task settings from which prompts are made.
_PROMPT_KEYS = (
    "doc_to_text",
    "doc_to_messages",
    "doc_to_choice",
    "description",
    "lmms_eval_specific_kwargs",
    "gen_prefix",
    "fewshot_delimiter",
    "target_delimiter",
)
_NOTHING_GENERATED = ("loglikelihood", "loglikelihood_rolling", "multiple_choice")


@dataclass(frozen=True)
class Check:
    """One thing that must be alike.

    Attributes:
        what: "base model", "wrapper", "documents", "task version", "prompts", "decoding" or
            "judge".
        task: Task it is about; None for the whole run.
        status: "unknown" when a run does not record it.
        a: What it is in A, shortened for reading; prompts as a hash.
        b: What it is in B.
        note: What else there is to know.
    """

    what: str
    task: str | None
    status: Literal["same", "different", "unknown"]
    a: str
    b: str
    note: str = ""


def check_runs(a: Run, b: Run) -> list[Check]:
    """Checks of the runs as a whole: the weights, and the wrapper that makes the prompts."""
    weights = [
        ", ".join(f"{key}={run.model_args[key]}" for key in _WEIGHTS if run.model_args.get(key))
        for run in (a, b)
    ]
    known = all(weights) or weights[0] != weights[1]
    return [
        _check("base model", None, (weights[0], weights[1]), known=known),
        _check("wrapper", None, (_wrapper(a), _wrapper(b))),
    ]


def check_task(
    a: Task, b: Task, runs: tuple[Run, Run], pairings: Mapping[str, Pairing]
) -> list[Check]:
    """Checks of one task.

    Args:
        a: The task in A.
        b: The task in B.
        runs: Both runs.
        pairings: Its paired documents by answer filter.
    """
    versions = plain(a.version), plain(b.version)
    checks = [
        _check("task version", a.name, versions, known=None not in (a.version, b.version)),
        _check("decoding", a.name, (_decoding(a, runs[0]), _decoding(b, runs[1]))),
    ]
    judges = judge_of(a), judge_of(b)
    if judges != (None, None):
        known = None not in judges
        checks.append(_check("judge", a.name, (plain(judges[0]), plain(judges[1])), known=known))
    for pairing in list(pairings.values())[:1]:  # filters read the same answers
        checks.insert(0, _documents(a.name, pairing))
        checks.append(_prompts(a, b, pairing, runs[0].harness == runs[1].harness))
    return checks


def _check(what: str, task: str | None, values: tuple[str, str], known: bool = True) -> Check:
    status: Literal["same", "different", "unknown"] = "unknown"
    if known:
        status = "same" if values[0] == values[1] else "different"
    return Check(what, task, status, shorten(values[0]), shorten(values[1]))


def _wrapper(run: Run) -> str:
    return f"{run.harness} --model {run.model}"


def _documents(task: str, pairing: Pairing) -> Check:
    count = len(pairing.pairs)
    targets = len(pairing.targets_differ)
    alike = not (pairing.only_a or pairing.only_b or targets)
    return Check(
        "documents",
        task,
        "same" if alike else "different",
        str(count + pairing.only_a),
        str(count + pairing.only_b),
        f"{count} paired by {pairing.by}"
        + (f"; {targets} of them have other expected answers" if targets else ""),
    )


def _prompts(a: Task, b: Task, pairing: Pairing, same_harness: bool) -> Check:
    left = _digest([one for one, _ in pairing.pairs])
    right = _digest([two for _, two in pairing.pairs])
    if left is None or right is None:
        settings = [[plain(task.config.get(key)) for key in _PROMPT_KEYS] for task in (a, b)]
        alike = "alike" if settings[0] == settings[1] else "different"
        return Check(
            "prompts",
            a.name,
            "unknown",
            left or "not recorded",
            right or "not recorded",
            f"the harness did not record them; the task's prompt settings are {alike}"
            if same_harness
            else "the harness did not record them",
        )
    if left == right:
        return Check("prompts", a.name, "same", left, right)
    note = f"{pairing.prompts_differ} of {len(pairing.pairs)} differ"
    if same_harness:
        return Check("prompts", a.name, "different", left, right, note)
    return Check(
        "prompts", a.name, "unknown", left, right, f"{note}; harnesses spell images differently"
    )


def _digest(samples: Sequence[Sample]) -> str | None:
    """First digits of the SHA-256 of all prompts in order; None when one is not recorded."""
    digest = hashlib.sha256()
    for sample in samples:
        if sample.prompt is None:
            return None
        digest.update(sample.prompt.encode("utf-8", "surrogatepass"))  # as JSON may have them
        digest.update(b"\0")
    return digest.hexdigest()[:12]


def _decoding(task: Task, run: Run) -> str:
    """Generation settings in one spelling, with the run's own on top and seeds where it samples."""
    if task.config.get("output_type") in _NOTHING_GENERATED:
        return "none: texts are scored"
    own = run.settings.get("gen_kwargs")
    settings: Any = task.config.get("generation_kwargs") or {}
    if isinstance(own, Mapping) and isinstance(settings, Mapping):
        settings, own = {**settings, **own}, None
    settings = generation_settings(settings)
    text = plain(settings)
    if own:
        text += f", then --gen_kwargs {own}"
    if isinstance(settings, Mapping) and settings.get("do_sample"):
        text += f", seeds {run.settings.get('seeds')}"
    return text
