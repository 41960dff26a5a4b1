"""Documents in, results out: every document read once, every analysis of it, then all together."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from tqdm import tqdm

from lmms_causal.attend.analyses import ANALYSES, chosen
from lmms_causal.attend.documents import Document
from lmms_causal.attend.findings import Analysis, Findings, Settings
from lmms_causal.attend.reading import Wanted, read
from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.errors import UserError

__all__ = ["Results", "analyse"]


@dataclass(frozen=True)
class Results:
    """What a run found.

    Attributes:
        model: what was analysed.
        interventions: the spec.
        settings: the numbers in definitions.
        traces: in the order of documents.
        findings: by analysis, one for each trace; None where it does not apply.
        skipped: by analysis, why it does not apply to a trace, by the trace's id.
        summaries: by analysis, over all traces.
    """

    model: str
    interventions: str
    settings: Settings
    traces: tuple[Trace, ...]
    findings: dict[str, list[Findings | None]]
    skipped: dict[str, dict[str, str]] = field(default_factory=dict)
    summaries: dict[str, dict[str, Any]] = field(default_factory=dict)

    @property
    def config_hash(self) -> str:
        """A hash of model, interventions and settings, twelve hexadecimal digits."""
        text = json.dumps([self.model, self.interventions, self.settings.as_dict()], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]


def analyse(
    subject: Subject,
    documents: Sequence[Document],
    *,
    names: Sequence[str] | None = None,
    settings: Settings | None = None,
    max_new_tokens: int = 0,
    quiet: bool = True,
) -> Results:
    """Analyse a model on documents.

    Args:
        subject: the model.
        documents: what is asked, and perhaps answered.
        names: analyses; by default those that need no pass for each sentence, where they apply.
        settings: numbers in definitions.
        max_new_tokens: length of answers that the model writes to documents without one.
        quiet: whether to show no progress.

    Raises:
        UserError: an analysis that was named applies to no document; no analysis applies to one.
    """
    settings = settings or Settings()
    default = [name for name, it in ANALYSES.items() if it.default]
    if any(document.rollouts for document in documents):
        default.append("importance")
    analyses = chosen(default if names is None else names)
    findings: dict[str, list[Findings | None]] = {name: [] for name in analyses}
    skipped: dict[str, dict[str, str]] = {name: {} for name in analyses}
    traces = []
    for document in tqdm(documents, desc="Reading", disable=quiet):
        trace = subject.trace(document, max_new_tokens)
        traces.append(trace)
        applies = {}
        for name, analysis in analyses.items():
            reason = analysis.obstacle(subject, trace, settings)
            if reason is None:
                applies[name] = analysis
            else:
                skipped[name][document.id] = reason
        made = _of_trace(subject, trace, applies, settings)
        for name in analyses:
            findings[name].append(made.get(name))
    summaries = {}
    for name, analysis in analyses.items():
        ones = [one for one in findings[name] if one is not None]
        if ones:
            pairs = zip(traces, findings[name], strict=True)
            own = [trace for trace, one in pairs if one is not None]
            summaries[name] = analysis.summary(own, ones, settings)
        elif names is not None:
            trace_id, reason = next(iter(skipped[name].items()))
            answered = any(trace.answered for trace in traces)
            hint = "" if answered or "answer" not in reason else "; add --response or --generate"
            raise UserError(
                f"--statistics {name} applies to no document: {trace_id}: {reason}{hint}"
            )
        else:
            del findings[name]
    return Results(
        subject.name, subject.spec, settings, tuple(traces), findings, skipped, summaries
    )


@torch.no_grad()
def _of_trace(
    subject: Subject, trace: Trace, analyses: Mapping[str, Analysis], settings: Settings
) -> dict[str, Findings]:
    """All analyses of one trace, from one pass."""
    wanted: dict[str, Wanted] = {}
    for name, analysis in analyses.items():
        for key, want in analysis.wanted(subject, trace, settings).items():
            wanted[f"{name}/{key}"] = want
    found = read(subject, trace, wanted) if wanted else {}
    return {
        name: analysis.findings(
            subject,
            trace,
            {
                key.removeprefix(f"{name}/"): value
                for key, value in found.items()
                if key.startswith(f"{name}/")
            },
            settings,
        )
        for name, analysis in analyses.items()
    }
