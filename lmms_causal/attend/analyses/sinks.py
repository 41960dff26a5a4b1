"""Attention sinks: tokens that get much from all that may see them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.reading import Wanted
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.interventions.analysis.sinks import sinks, strongest
from lmms_causal.kernels.column_statistics import ColumnMeans

__all__ = ["Sinks"]

_LISTED = 10
_SEEN_BY = 8  # a mean over fewer queries is not listed


class Sinks(Analysis):
    """Mean weight of each token, over all queries that may see it."""

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """There must be something to average."""
        return None if trace.length > 1 else "it has one token"

    def wanted(self, subject: Subject, trace: Trace, settings: Settings) -> dict[str, Wanted]:
        """Column means over all rows."""
        return {"means": Wanted(ColumnMeans)}

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """How many sinks a head has, and in how many heads a token is one."""
        means = found["means"]  # [L, H, n]
        are = sinks(means, settings.sink_threshold)
        are[..., -1:] = False  # seen by itself only
        average = means.mean(dim=(0, 1))
        listed = average[: max(1, trace.length - _SEEN_BY)]
        in_heads = are.float().mean(dim=(0, 1))
        return Findings(
            record={
                "threshold": settings.sink_threshold,
                "first_token": float(average[0]),
                "strongest": [
                    {
                        "token": column,
                        "text": trace.texts[column],
                        "mean": value,
                        "sink_in_heads": float(in_heads[column]),
                    }
                    for column, value in strongest(listed, _LISTED)
                ],
            },
            heads={"first_token": means[..., 0], "sinks": are.sum(dim=-1).float()},
            tokens={"received": average, "sink_in_heads": in_heads},
        )

    def summary(
        self, traces: Sequence[Trace], findings: Sequence[Findings], settings: Settings
    ) -> dict[str, Any]:
        """Means over traces."""
        count = len(findings)
        return {
            "first_token": sum(it.record["first_token"] for it in findings) / count,
            "sinks_of_a_head": sum(float(it.heads["sinks"].mean()) for it in findings) / count,
        }
