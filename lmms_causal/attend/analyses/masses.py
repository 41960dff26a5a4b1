"""Where the answer looks: attention on each part of the prompt."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.reading import Wanted
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import PARTS, Trace
from lmms_causal.interventions.analysis.masses import context_dependence, per_token, shares
from lmms_causal.kernels.statistics import Masses

__all__ = ["PartMasses"]


class PartMasses(Analysis):
    """Mean masses of the queries that predict the answer."""

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """It can always be said."""
        return None

    def wanted(self, subject: Subject, trace: Trace, settings: Settings) -> dict[str, Wanted]:
        """Masses by part."""
        parts = trace.parts[None]
        return {"masses": Wanted(lambda: Masses(parts, len(PARTS)), trace.predicting)}

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """Means by head, by layer and over all; how much depends on the user's words."""
        masses = found["masses"]  # [L, H, T, S]
        means = shares(masses)
        lengths = torch.bincount(trace.parts.cpu(), minlength=len(PARTS))
        relative = per_token(means, lengths).mean(dim=(0, 1))
        user = PARTS.index("user")
        return Findings(
            record={
                "tokens": dict(zip(PARTS, lengths.tolist(), strict=True)),
                "mean": dict(zip(PARTS, means.mean(dim=(0, 1)).tolist(), strict=True)),
                "relative_to_length": dict(zip(PARTS, relative.tolist(), strict=True)),
                "by_layer": dict(zip(PARTS, means.mean(dim=1).T.tolist(), strict=True)),
                "context_dependence": context_dependence(masses[..., user]).tolist(),
            },
            heads={f"mass_{part}": means[..., index] for index, part in enumerate(PARTS)},
        )

    def summary(
        self, traces: Sequence[Trace], findings: Sequence[Findings], settings: Settings
    ) -> dict[str, Any]:
        """Means over traces."""
        means = [it.record["mean"] for it in findings]
        return {"mean": {part: sum(it[part] for it in means) / len(means) for part in PARTS}}
