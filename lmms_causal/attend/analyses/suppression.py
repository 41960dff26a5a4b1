"""Suppression: what hiding a sentence does to the predictions in later ones."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import torch
from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.interventions.analysis.suppression import divergences, log_means, relative
from lmms_causal.interventions.attention.edits import AttentionEdit, Close, Where
from lmms_causal.interventions.attention.spans import Span, tokens

__all__ = ["Suppression", "final_states"]

_ROWS = 64  # predictions compared at a time: each has a number for every word


class Suppression(Analysis):
    """One further pass for every sentence of the answer."""

    default = False

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """There must be a sentence to hide, and one behind it."""
        count = len(trace.sentences)
        return f"its answer has {count} sentences, and two are needed" if count < 2 else None

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """The matrix of effects, affected sentence by suppressed sentence."""
        # the undisturbed pass hides a token that does not exist, so that it runs in the same way
        nothing = final_states(subject, trace, tokens(trace.length, trace.length))
        spans = [sentence.tokens for sentence in trace.sentences]
        made = []
        for start, stop in spans[:-1]:
            hidden = final_states(subject, trace, tokens(start, stop - 1))
            values = torch.zeros(trace.length)
            for first in range(stop, trace.length, _ROWS):
                rows = slice(first, first + _ROWS)
                logits = [subject.adapter.read(states[rows], False) for states in (nothing, hidden)]
                values[rows] = divergences(
                    *logits, temperature=settings.temperature, top_p=settings.top_p
                ).cpu()
            made.append(values)
        matrix = log_means(made, spans)
        return Findings(
            record={
                "temperature": settings.temperature,
                "top_p": settings.top_p,
                "log": True,
                "matrix": matrix.tolist(),
                "n_layers": subject.adapter.depth,
                "n_heads": subject.heads,
            },
            arrays={"suppression": matrix, "suppression_relative": relative(matrix)},
        )


@torch.no_grad()
def final_states(subject: Subject, trace: Trace, hidden: Span) -> Tensor:
    """Return what the head reads at each token, ``[n, D]``, with some keys hidden everywhere.

    Nothing of the tokens before the first hidden one changes, bit for bit.
    """
    edit = AttentionEdit(Close(), Where(keys=hidden))
    plan = replace(subject.edits, attention=(*subject.edits.attention, edit))
    found: list[Tensor] = []

    def keep(module: object, given: object, output: object) -> None:
        states = output[0] if isinstance(output, tuple) else output.last_hidden_state  # type: ignore[attr-defined]
        if states.shape[1] == trace.length:
            found.append(states[0])

    hook = subject.adapter.decoder.register_forward_hook(keep)
    try:
        subject.run(trace.inputs, trace.start, trace.turn, plan)
    finally:
        hook.remove()
    return found[-1]
