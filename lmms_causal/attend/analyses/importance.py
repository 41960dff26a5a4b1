"""Importance of sentences, from continuations that the document brings along."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.errors import UserError
from lmms_causal.interventions.analysis.anchors import (
    By,
    counterfactual,
    on_later_sentences,
    over_determination,
    resampling,
)

__all__ = ["EMBEDDER", "SentenceImportance", "embedded"]

EMBEDDER = "sentence-transformers/all-MiniLM-L6-v2"


class SentenceImportance(Analysis):
    """Resampling and counterfactual importance (arXiv 2506.19143)."""

    default = False

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """Rollouts must be given, for the sentences that the answer has."""
        rollouts, count = trace.document.rollouts, len(trace.sentences)
        if not rollouts:
            return "it comes without rollouts"
        if len(rollouts) not in (count, count + 1):
            return f"it has rollouts for {len(rollouts)} sentences, and its answer has {count}"
        return None if len(rollouts) > 1 else "it has rollouts for one sentence only"

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """A value for every sentence, NaN for the last if nothing was sampled behind it."""
        rollouts = trace.document.rollouts
        texts = [sentence.text for sentence in trace.sentences]
        known = all(it.correct is not None for group in rollouts for it in group)
        by: By = "correct" if known else "answer"
        again = [resampling(*rollouts[i : i + 2], by) for i in range(len(rollouts) - 1)]
        counter = [
            counterfactual(texts[i], *rollouts[i : i + 2], embedded, by, similar=settings.similar)
            for i in range(len(rollouts) - 1)
        ]
        missing = [float("nan")] * (len(texts) - len(again))
        arrays = {}
        if any(it.sentences for group in rollouts for it in group):
            arrays["sentence_effects"] = on_later_sentences(
                texts, rollouts, embedded, similar=settings.similar
            )
        return Findings(
            record={
                "n_rollouts": [len(group) for group in rollouts],
                "threshold": settings.similar,
                "by": by,
                "acc": [it.accuracy for it in counter] + missing,
                "kl": [it.kl for it in counter] + missing,
                "frac_different": [it.different for it in counter] + missing,
                "resampling_acc": [it.accuracy for it in again] + missing,
                "resampling_kl": [it.kl for it in again] + missing,
                "over_determination": [over_determination(it) for it in rollouts[: len(texts)]],
            },
            arrays=arrays,
        )


def embedded(texts: Sequence[str]) -> Tensor:
    """Return vectors of sentences ``[n, D]`` by the paper's embedder.

    Raises:
        UserError: sentence-transformers is not installed, or its model not at hand.
    """
    return torch.as_tensor(_embedder().encode(list(texts), show_progress_bar=False))


@cache
def _embedder() -> Any:
    try:
        from sentence_transformers import SentenceTransformer
    except ImportError:
        raise UserError(
            "the importance of sentences compares their meaning: pip install sentence-transformers"
        ) from None
    try:
        return SentenceTransformer(EMBEDDER, device="cpu")
    except (OSError, ValueError) as error:
        reason = (str(error).strip() or "no reason given").splitlines()[0]
        raise UserError(
            f"{EMBEDDER}, which compares sentences, cannot be loaded: {reason}"
        ) from None
