"""Interventions against their negative controls: does the direction matter, or only the size?"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from lmms_causal.compare import Comparison, Options, Run, compare
from lmms_causal.compare.output.verdict import interval_text, metric_name, number, p_text
from lmms_causal.compare.rows.row import Row
from lmms_causal.matrix.planning.cells import Cell
from lmms_causal.matrix.results.sections import Section

__all__ = ["Controlled", "control_entries", "control_section", "controlled"]


@dataclass(frozen=True)
class Controlled:
    """One metric of an intervention and of one of its controls, paired by document.

    Attributes:
        label: of the intervention.
        control: label of the control.
        reference: score of the matrix's reference; None where it was not compared.
        row: A is the control, B the intervention.
    """

    label: str
    control: str
    reference: float | None
    row: Row


def controlled(
    cells: Sequence[Cell],
    runs: dict[str, Run],
    compared: dict[str, Comparison],
    options: Options,
) -> list[Controlled]:
    """Compare the interventions of one model with their controls.

    Holm's correction is over all metrics and controls of an intervention; these tests are apart
    from those against the reference.

    Args:
        runs: run by label, of interventions and controls.
        compared: comparison with the reference by label.
    """
    controls: dict[str, list[str]] = {}
    for variant in {cell.variant.label: cell.variant for cell in cells}.values():
        if variant.control_of is not None:
            controls.setdefault(variant.control_of, []).append(variant.label)
    found = []
    seen = set()
    for label, labels in controls.items():
        if runs[label].path in seen:  # a point of a curve that the plan names as well
            continue
        seen.add(runs[label].path)
        scores = {_key(row): row.a for row in compared[label].rows} if label in compared else {}
        for control, comparison in zip(
            labels, compare(runs[label], [runs[it] for it in labels], options), strict=True
        ):
            found += [
                Controlled(label, control, scores.get(_key(row)), _turned(row))
                for row in comparison.rows
                if row.stratum is None and row.p is not None and row.same_as is None
            ]
    return found


def _key(row: Row) -> tuple[str, str, str, str | None]:
    return (row.task, row.metric, row.filter, row.stratum)


def _turned(row: Row) -> Row:
    """The same row with A and B exchanged."""
    low = None if row.high is None else 0.0 - row.high  # no -0.0, which would be shown
    high = None if row.low is None else 0.0 - row.low
    return dataclasses.replace(
        row,
        a=row.b,
        b=row.a,
        difference=0.0 - row.difference,
        low=low,
        high=high,
        gained=row.lost,
        lost=row.gained,
    )


def control_entries(model: str, found: Sequence[Controlled]) -> list[dict[str, object]]:
    """Return them for ``controls.json``; scores and differences are in the metric's own unit."""
    return [
        {
            "model": model,
            "intervention": it.label,
            "control": it.control,
            "task": it.row.task,
            "metric": it.row.metric,
            "filter": it.row.filter,
            "n": it.row.n,
            "reference_score": it.reference,
            "score": it.row.b,
            "control_score": it.row.a,
            "difference": it.row.difference,
            "low": it.row.low,
            "high": it.row.high,
            "p": it.row.p,
            "p_holm": it.row.p_holm,
        }
        for it in found
    ]


def control_section(
    model: str, reference: str, level: float, found: Sequence[Controlled]
) -> Section:
    """Return the table: reference, intervention, control, and what is between the last two."""
    head = ["metric", "A", "B", "control", "B-control", f"{100 * level:g} % CI", "p Holm"]
    lines: list[list[str]] = []
    before = None
    for it in found:
        row = it.row
        about = (it.label, it.control, row.task)
        if about != before:
            lines += [[f"B: {it.label}, control: {it.control}"], [row.task]]
            before = about
        lines.append(
            [
                metric_name(row),
                "-" if it.reference is None else number(row, it.reference),
                number(row, row.b),
                number(row, row.a),
                number(row, row.difference, "+"),
                interval_text(row),
                p_text(row.p if row.p_holm is None else row.p_holm),
            ]
        )
    note = (
        f"A: {reference}. A control adds noise of the size that B adds to the logits; B-control is "
        "what B's direction does, size apart. Where it is not different from 0, an effect of B "
        "against A may be one of any change of that size. p after Holm's correction over all "
        "metrics and controls of an intervention."
    )
    return Section(f"Negative controls, model {model}", head, lines, note)
