"""Retrieval heads: which copy the needle, or look at the picture, as the answer is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.reading import Wanted
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import PARTS, Trace
from lmms_causal.interventions.analysis.retrieval import (
    looks,
    mean_scores,
    recall,
    retrieval_heads,
    retrieval_scores,
)
from lmms_causal.kernels.statistics import Strongest

__all__ = ["Retrieval"]


class Retrieval(Analysis):
    """Scores of copying a needle (arXiv 2404.15574), and of looking at a picture (ours)."""

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """There must be an answer, and something to find."""
        if trace.needle is None and not trace.shows_picture:
            return "it has neither a needle nor a picture"
        return None if trace.answered else "it has no answer"

    def wanted(self, subject: Subject, trace: Trace, settings: Settings) -> dict[str, Wanted]:
        """The key of greatest weight at each step."""
        return {"strongest": Wanted(Strongest, trace.predicting)}

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """Scores of every head."""
        strongest, ids = found["strongest"], trace.ids.cpu()
        made = Findings()
        if trace.needle is not None:
            scores = retrieval_scores(strongest, ids[trace.written], ids, trace.needle)
            covered = recall(trace.answer, trace.document.needle or "")
            made.heads["retrieval"] = scores
            made.record.update(
                needle=list(trace.needle), recall=covered, counted=covered > settings.recall
            )
        if trace.shows_picture:
            picture = trace.parts.cpu() == PARTS.index("image")
            made.heads["looks_at_picture"] = looks(strongest, picture)
            made.record["looks_at_picture"] = float(made.heads["looks_at_picture"].mean())
        return made

    def summary(
        self, traces: Sequence[Trace], findings: Sequence[Findings], settings: Settings
    ) -> dict[str, Any]:
        """Mean scores over the runs that found their needle, and the heads above the threshold."""
        runs = [
            (it.heads["retrieval"], it.record["recall"])
            for it in findings
            if "retrieval" in it.heads
        ]
        if not runs:
            return {"runs": 0}
        means, count = mean_scores(runs, settings.recall)
        heads = [] if means is None else retrieval_heads(means, settings.copy_threshold)
        return {
            "runs": len(runs),
            "counted": count,
            "threshold": settings.copy_threshold,
            "layers_heads": [list(it) for it in heads],
            "share": None if means is None else len(heads) / means.numel(),
        }
