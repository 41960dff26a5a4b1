"""Results in words, for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lmms_causal.attend.running import Results
from lmms_causal.interventions.analysis.causal_effect import HeadEffect

__all__ = ["effects_text", "text_of"]

_LISTED = 10


def text_of(results: Results) -> str:
    """Return what was found over all traces, a few lines for each analysis."""
    lines = [f"{results.model}, interventions={results.interventions}"]
    for trace in results.traces[:_LISTED]:
        answer = trace.answer if len(trace.answer) <= 60 else f"{trace.answer[:59]}…"
        lines.append(f"  {trace.document.id}: {trace.length} tokens, answer {answer!r}")
    if len(results.traces) > _LISTED:
        lines.append(f"  and {len(results.traces) - _LISTED} more")
    for name, found in results.summaries.items():
        count = sum(one is not None for one in results.findings[name])
        lines += ["", f"{name} ({count} {'trace' if count == 1 else 'traces'})"]
        lines += [f"  {key.replace('_', ' ')}: {_words(value)}" for key, value in found.items()]
        if not found:
            lines.append("  see --output")
    for name, why in results.skipped.items():
        if why and name not in results.summaries:
            lines += ["", f"{name}: not made, for {next(iter(why.values()))}"]
    return "\n".join(lines)


def effects_text(effects: Sequence[HeadEffect], task: str, kind: str) -> str:
    """Return a table of effects, the most harmful ablations first."""
    lines = [
        f"{task}: score under {kind} ablation of one head, less the plain score, "
        f"{effects[0].documents} documents"
        if effects
        else f"{task}: no head was chosen",
        f"{'layer.head':>10}  {'effect':>8}  {'95 % interval':>18}  {'p':>7}  {'q':>7}",
    ]
    for it in effects[: 2 * _LISTED]:
        interval = f"[{it.low:+.3f}, {it.high:+.3f}]"
        name = f"{it.layer}.{it.head}"
        lines.append(f"{name:>10}  {it.mean:>+8.4f}  {interval:>18}  {it.p:>7.4f}  {it.q:>7.4f}")
    if len(effects) > 2 * _LISTED:
        lines.append(f"and {len(effects) - 2 * _LISTED} heads with smaller harm")
    return "\n".join(lines)


def _words(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, dict):
        return ", ".join(f"{key} {_words(it)}" for key, it in value.items()) or "none"
    if isinstance(value, (list, tuple)):
        shown = [_head(it) for it in value[:_LISTED]]
        more = f" and {len(value) - _LISTED} more" if len(value) > _LISTED else ""
        return ", ".join(shown) + more if shown else "none"
    return "none" if value is None else str(value)


def _head(value: Any) -> str:
    """``layer.head``, with a value where there is one."""
    if isinstance(value, (list, tuple)) and len(value) in (2, 3):
        name = f"{value[0]}.{value[1]}"
        return name if len(value) == 2 else f"{name} ({value[2]:.3g})"
    return _words(value)
