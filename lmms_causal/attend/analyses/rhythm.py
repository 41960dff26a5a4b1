"""The rhythm of an answer: windowed distance in local heads, future influence in global ones."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.reading import Wanted
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.interventions.analysis.rhythm import (
    average,
    co_occurrence,
    local_and_global,
    peaks,
)
from lmms_causal.kernels.column_statistics import FutureInfluence
from lmms_causal.kernels.statistics import Distances

__all__ = ["Rhythm"]

_SHORTEST = 3


class Rhythm(Analysis):
    """Head spans, WAAD, FAI and their peaks, over the tokens of the answer."""

    def obstacle(self, subject: Subject, trace: Trace, settings: Settings) -> str | None:
        """There must be an answer of a few tokens."""
        count = trace.length - trace.start
        return f"its answer has {count} tokens" if count < _SHORTEST else None

    def wanted(self, subject: Subject, trace: Trace, settings: Settings) -> dict[str, Wanted]:
        """Distances of the answer's queries, influence of its keys."""
        return {
            "distances": Wanted(lambda: Distances([None, settings.window]), trace.written),
            "influence": Wanted(
                lambda: FutureInfluence(settings.low, settings.high), trace.written
            ),
        }

    def findings(
        self, subject: Subject, trace: Trace, found: Mapping[str, Tensor], settings: Settings
    ) -> Findings:
        """Each head's span; which heads are local is decided over all traces."""
        distances = found["distances"]  # [L, H, T, 2]
        return Findings(
            record={"window": settings.window, "influence": [settings.low, settings.high]},
            heads={"span": distances[..., 0].mean(dim=-1)},
            arrays={
                "windowed_distance": distances[..., 1],
                "future_influence": found["influence"][..., trace.written],
            },
        )

    def summary(
        self, traces: Sequence[Trace], findings: Sequence[Findings], settings: Settings
    ) -> dict[str, Any]:
        """Local and global heads by mean span; WAAD, FAI and peaks of each trace."""
        spans = torch.stack([it.heads["span"] for it in findings]).mean(dim=0)
        local, far = local_and_global(spans, settings.share)
        rates = []
        for trace, one in zip(traces, findings, strict=True):
            series = {
                "waad": average(one.arrays.pop("windowed_distance"), local),
                "fai": average(one.arrays.pop("future_influence"), far),
            }
            found = {name: peaks(values, settings.quantile) for name, values in series.items()}
            # an anchor is said to come at, or one token behind, a peak of distance
            rate = co_occurrence(
                found["waad"], found["fai"], trace.length - trace.start, before=0, behind=1
            )
            rates.append(rate)
            for name, values in series.items():
                one.tokens[name] = torch.full((trace.length,), torch.nan)
                one.tokens[name][trace.written] = values
                one.record[f"{name}_peaks"] = [place + trace.start for place in found[name]]
            one.record["co_occurrence"] = rate._asdict()
        known = [it for it in rates if it.observed == it.observed]
        return {
            "local_heads": local.nonzero().tolist(),
            "global_heads": far.nonzero().tolist(),
            "co_occurrence": {
                name: sum(getattr(it, name) for it in known) / len(known) if known else None
                for name in ("observed", "expected")
            },
        }
