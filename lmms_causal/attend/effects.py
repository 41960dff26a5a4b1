"""Heads by their effect on a task's metric: the task is run once plain, and once without each head.

The task runs in lm-eval, by this project's model, which is loaded once; the edits are put on it and
taken off again around each run.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from typing import Any, Literal

from lmms_causal.attend.subject import Subject
from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions import Plan, apply
from lmms_causal.interventions.analysis.causal_effect import HeadEffect, effects
from lmms_causal.interventions.attention.edits import (
    AttentionEdit,
    HeadScale,
    Operation,
    Uniform,
    Where,
)
from lmms_causal.interventions.attention.heads import Heads
from lmms_causal.models.loading import Checkpoint

__all__ = ["Ablation", "ablation", "head_effects", "lm_eval_scores"]

Ablation = Literal["zero", "uniform"]

_OPERATIONS: dict[str, Operation] = {"zero": HeadScale(0.0), "uniform": Uniform()}

Run = Callable[[Plan | None], Mapping[str, float]]
"""From an edit, or None for the plain model, to a score for each document."""


def ablation(layer: int, head: int, kind: Ablation = "zero") -> Plan:
    """Return the plan that ablates one head.

    Args:
        layer, head: counted from 0.
        kind: ``zero``: its output becomes 0. ``uniform``: it attends alike to all it may see, so
            that its output is the mean of values, as what the code of arXiv 2404.15574 calls
            masking.
    """
    where = Where(heads=Heads.of_layers({layer: [head]}))
    return Plan(attention=(AttentionEdit(_OPERATIONS[kind], where),))


def head_effects(
    run: Run, heads: Sequence[tuple[int, int]], kind: Ablation = "zero", level: float = 0.95
) -> list[HeadEffect]:
    """Run everything and return the effects, the most harmful ablation first.

    Raises:
        UserError: fewer than two documents.
    """
    plain = run(None)
    edited = {(layer, head): run(ablation(layer, head, kind)) for layer, head in heads}
    return effects(plain, edited, level)


def lm_eval_scores(
    checkpoint: Checkpoint,
    task: str,
    metric: str | None = None,
    *,
    limit: int | None = None,
    batch_size: int = 1,
    chat: bool = False,
) -> tuple[Run, Subject]:
    """Return what runs a task of lm-eval, and the model it runs.

    Args:
        checkpoint: the model.
        task: a task, or a group of tasks.
        metric: whose value for each document is taken; by default the first that is a number.
        limit: how many documents; None for all.
        batch_size: rows at a time.
        chat: whether a text model's chat template is applied; a vision-language model's always is.

    Raises:
        UserError: there is no such task, or metric.
    """
    from lmms_causal import lm_eval_plugin

    lm_eval_plugin.install()
    import lm_eval
    from lm_eval.tasks import TaskManager

    from lmms_causal.models.for_lm_eval import Causal, CausalMultimodal
    from lmms_causal.models.prompts import Encoder

    manager = TaskManager()
    if task not in manager.all_tasks:
        raise UserError(
            f"--effect {task}: lm-eval has no such task{nearest(task, manager.all_tasks)}"
        )
    made = CausalMultimodal if checkpoint.kind() == "vision" else Causal
    options: dict[str, Any] = {
        "pretrained": checkpoint.pretrained,
        "revision": checkpoint.revision,
        "dtype": checkpoint.dtype,
        "device": checkpoint.place(),
        "batch_size": batch_size,
        "trust_remote_code": checkpoint.trust_remote_code,
    }
    if checkpoint.attn_implementation:
        options["attn_implementation"] = checkpoint.attn_implementation
    model = made.create_from_arg_obj(options)
    encoder = Encoder(model.tokenizer, getattr(model, "processor", None))
    subject = Subject.of(model.model, encoder, name=checkpoint.pretrained)

    def run(plan: Plan | None) -> dict[str, float]:
        edited = nullcontext() if plan is None else apply(model.model, plan, encoder.tokenizer)
        with edited:
            results = lm_eval.simple_evaluate(
                model=model,
                tasks=[task],
                limit=limit,
                log_samples=True,
                bootstrap_iters=0,
                verbosity="ERROR",
                task_manager=manager,
                apply_chat_template=chat or made is CausalMultimodal,
            )
        return _scores(results["samples"], task, metric)

    return run, subject


def _scores(
    samples: Mapping[str, Sequence[Mapping[str, Any]]], task: str, metric: str | None
) -> dict[str, float]:
    """One number for each document of a run."""
    found = {}
    for name, documents in samples.items():
        for document in documents:
            values = {key: _number(document.get(key)) for key in document.get("metrics", ())}
            known = {key: value for key, value in values.items() if value is not None}
            chosen = next(iter(known), None) if metric is None else metric
            if chosen is None or chosen not in known:
                raise UserError(
                    f"--effect {task}: no document has a number for the metric {metric}; those "
                    f"there are: {', '.join(known) or 'none'}"
                )
            found[f"{name}/{document['doc_id']}"] = known[chosen]
    return found


def _number(value: Any) -> float | None:
    """A metric's value for a document: a number, or a record that has a score."""
    if isinstance(value, Mapping):
        value = value.get("score")
    return float(value) if isinstance(value, (int, float)) else None
