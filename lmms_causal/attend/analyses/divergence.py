"""Vision-aware heads: what the picture changes in each head's output."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.reading import head_outputs
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.interventions.analysis.divergence import (
    aware_heads,
    head_divergence,
    token_divergence,
    without_outliers,
)

__all__ = ["Divergence"]


class Divergence(Analysis):
    """VHD and T-VHD (arXiv 2412.13949); one further pass, without the picture."""

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """There must be a picture to leave out."""
        return None if trace.shows_picture else "it shows no picture"

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """Divergence at the first token and on average; of each token of the answer."""
        shown = head_outputs(subject, trace, picture=True)
        text = head_outputs(subject, trace, picture=False)
        pairs = zip(shown, text, strict=True)
        divergence = torch.stack([head_divergence(one, other) for one, other in pairs])  # [L, T, H]
        loudness = torch.stack([it[0].float().square().sum(dim=-1) for it in text])
        first = without_outliers(divergence[:, 0], loudness)
        by_token = token_divergence(divergence, settings.top)
        tokens = torch.full((trace.length,), torch.nan)
        where = trace.written if trace.answered else trace.predicting
        tokens[where] = by_token
        return Findings(
            record={
                "first_token": first.mean(dim=1).tolist(),
                "aware_heads": aware_heads(first).nonzero().tolist(),
                "mean": float(divergence.mean()),
            },
            heads={"divergence": divergence.mean(dim=1), "divergence_first_token": first},
            tokens={"t_vhd": tokens},
        )

    def summary(
        self, traces: Sequence[Trace], findings: Sequence[Findings], settings: Settings
    ) -> dict[str, Any]:
        """The mean, and how often each layer's heads are chosen."""
        chosen = torch.stack([aware_heads(it.heads["divergence_first_token"]) for it in findings])
        often = chosen.float().mean(dim=0)
        return {
            "mean": sum(it.record["mean"] for it in findings) / len(findings),
            "always_aware": (often == 1).nonzero().tolist(),
        }
