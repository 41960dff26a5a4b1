"""Receiver heads, and what each sentence receives from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.reading import Wanted
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.interventions.analysis.receiver import (
    head_kurtosis,
    kurtosis,
    receiver_heads,
    receiver_scores,
    reliability,
    vertical_scores,
)
from lmms_causal.kernels.column_statistics import BlockMeans

__all__ = ["ReceiverHeads"]

_BEYOND = 6  # the kurtosis of fewer scores says little (of three it is always -1.5)


class ReceiverHeads(Analysis):
    """Vertical scores of sentences in every head, and their kurtosis."""

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """There must be sentences far enough apart."""
        needed = settings.proximity + _BEYOND
        if len(trace.sentences) < needed:
            return f"its answer has {len(trace.sentences)} sentences, and {needed} are needed"
        return None

    def wanted(self, subject: Subject, trace: Trace, settings: Settings) -> dict[str, Wanted]:
        """Mean weights between sentences."""
        labels = torch.full_like(trace.ids, -1)
        for sentence in trace.sentences:
            labels[slice(*sentence.tokens)] = sentence.index
        count = len(trace.sentences)
        blocks = labels[None]
        return {"blocks": Wanted(lambda: BlockMeans(blocks, blocks, (count, count)), trace.written)}

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """Scores, their kurtosis, and attention between sentences in the trace's own receivers."""
        blocks = found["blocks"]  # [L, H, S, S]
        vertical = vertical_scores(blocks, settings.proximity)
        own = receiver_heads(kurtosis(vertical), settings.receivers)
        arrays = {"vertical": vertical}
        if own:
            arrays["sentence_attention"] = torch.stack(
                [blocks[it.layer, it.head] for it in own]
            ).mean(dim=0)
        return Findings(
            record={"proximity_ignore": settings.proximity},
            heads={"kurtosis": kurtosis(vertical)},
            arrays=arrays,
        )

    def summary(
        self, traces: Sequence[Trace], findings: Sequence[Findings], settings: Settings
    ) -> dict[str, Any]:
        """Receiver heads by their mean kurtosis; each sentence's score in them."""
        vertical = [it.arrays["vertical"] for it in findings]
        heads = receiver_heads(head_kurtosis(vertical), settings.receivers)
        listed = [list(it) for it in heads]
        for one in findings:
            scores = receiver_scores(one.arrays["vertical"], heads).tolist() if heads else []
            one.record.update(layers_heads=listed, score=scores)
        stable = reliability(vertical) if len(vertical) > 1 and len(vertical[0]) > 1 else None
        return {"layers_heads": listed, "reliability": stable, "traces": len(vertical)}
