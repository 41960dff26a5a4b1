"""Remarks on the runs, each once however many runs it is about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.pairing.checks import Check
from lmms_causal.report.names import Named

__all__ = ["gather", "serious"]


def gather(comparisons: Sequence[Comparison], runs: Sequence[Named]) -> list[tuple[str, str]]:
    """Return (the runs' keys, remark): checks, then notes, then differences that do not matter."""
    found: dict[str, list[str]] = {}
    for kind in (_checks, _notes, _differences):
        for named, comparison in zip(runs[1:], comparisons, strict=True):
            for text in kind(comparison):
                keys = found.setdefault(text, [])
                if named.key not in keys:
                    keys.append(named.key)
    return [(_joined(keys, len(comparisons)), text) for text, keys in found.items()]


def serious(
    comparisons: Sequence[Comparison], runs: Sequence[Named]
) -> list[tuple[str, str, str, str]]:
    """Differences besides the interventions: (the runs' keys, what, in A, in these runs)."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for named, comparison in zip(runs[1:], comparisons, strict=True):
        for it in comparison.differences:
            if it.serious:
                found.setdefault((it.what, str(it.a), str(it.b)), []).append(named.key)
    return [(_joined(keys, len(comparisons)), *it) for it, keys in found.items()]


def _joined(keys: Sequence[str], count: int) -> str:
    """The runs that a remark is about; all of several are called so."""
    return "all others" if len(keys) == count > 2 else ", ".join(keys)


def _checks(comparison: Comparison) -> Iterator[str]:
    for check in comparison.checks:
        if check.status != "same":
            yield _said(check)


def _said(check: Check) -> str:
    of = f" of {check.task}" if check.task else ""
    values = f" ({check.a} in A, {check.b} here)" if check.status == "different" else ""
    note = f": {check.note}" if check.note else ""
    return f"{check.what}{of} {check.status}{values}{note}"


def _notes(comparison: Comparison) -> Iterator[str]:
    yield from comparison.notes


def _differences(comparison: Comparison) -> Iterator[str]:
    for found in comparison.differences:
        if not found.serious:
            yield (
                f"differs from A in {found.what} ({found.a} in A, {found.b} here), which should "
                "not matter"
            )
