"""What the cells say together: comparisons with the reference, sensitivity curves, controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_causal.compare import Comparison, Options, Run
from lmms_causal.errors import UserError
from lmms_causal.matrix.cells import Cell
from lmms_causal.matrix.manifest import write_json
from lmms_causal.matrix.plan import MatrixPlan

__all__ = ["compare_cells", "curves", "curves_text", "joined", "options_of"]


def options_of(plan: MatrixPlan) -> Options:
    """Return the plan's ``compare:`` as options of a comparison.

    Raises:
        UserError: a value of the wrong kind.
    """
    given = dict(plan.compare)
    for name in ("metrics", "by"):
        value = given.get(name)
        names = value.split(",") if isinstance(value, str) else value or ()
        given[name] = tuple(str(part).strip() for part in names)
    for name in ("level", "margin", "seed", "resamples"):
        value = given.get(name, 0)
        if isinstance(value, bool) or not isinstance(value, (int, float, type(None))):
            raise UserError(f"{plan.path}: compare: {name}: {value!r} is not a number")
    for name, known in (("interval", ("t", "bootstrap")), ("family", ("report", "metric"))):
        if given.get(name, known[0]) not in known:
            raise UserError(
                f"{plan.path}: compare: {name}: {given[name]!r} is none of {', '.join(known)}"
            )
    try:
        return Options(**given)
    except UserError as error:
        raise UserError(f"{plan.path}: compare: {str(error).removeprefix('--')}") from None


def compare_cells(
    plan: MatrixPlan, cells: Sequence[Cell], output: Path
) -> tuple[list[Comparison], str]:
    """Compare every intervention with the reference, model by model, and write the reports.

    All tasks of a model and an intervention count as one run, so that Holm's correction is over all
    tests of a model. Written are ``comparison.json`` and ``comparison.md`` (with the model's name
    before, if there are several), and ``sensitivity.json`` if there are curves.

    Returns:
        The comparisons, and the text to print.

    Raises:
        UserError: cells that cannot be compared, such as tasks without a common metric.
    """
    from lmms_causal.compare import compare, read_run
    from lmms_causal.compare.report import to_json, to_markdown, to_text

    options = options_of(plan)
    found: list[Comparison] = []
    text = ""
    all_curves: list[dict[str, Any]] = []
    for model in plan.models:
        mine = [cell for cell in cells if cell.model == model]
        runs = {}
        for label in dict.fromkeys(cell.variant.label for cell in mine):
            parts = [read_run(cell.results) for cell in mine if cell.variant.label == label]
            runs[label] = joined(parts)
        reference = runs[plan.reference]
        # A point of a curve may be an intervention of the plan as well: one cell, one hypothesis.
        others = {run.path: run for run in runs.values() if run.path != reference.path}
        if not others:
            continue
        compared = compare(reference, list(others.values()), options)
        found += compared
        prefix = f"{model.name}." if len(plan.models) > 1 else ""
        write_json(output / f"{prefix}comparison.json", to_json(compared))
        markdown = to_markdown(compared)
        (output / f"{prefix}comparison.md").write_text(markdown, encoding="utf-8")
        text += to_text(compared)
        by_path = dict(zip(others, compared, strict=True))
        named = {label: by_path[r.path] for label, r in runs.items() if r.path in by_path}
        all_curves += curves(mine, runs, named)
    if all_curves:
        write_json(output / "sensitivity.json", {"curves": all_curves})
        text += "\n" + curves_text(all_curves)
    return found, text


def joined(runs: Sequence[Run]) -> Run:
    """Return the runs of one model and intervention on several tasks as one run.

    Costs add up; peak memory is the highest, and passes by request are weighted by documents.
    """
    first, *_ = runs
    if len(runs) == 1:
        return first
    costs = [run.cost for run in runs]
    changes: dict[str, Any] = {}
    for field in dataclasses.fields(first.cost):
        values = [getattr(cost, field.name) for cost in costs]
        if field.name == "from_cache":
            changes[field.name] = any(values)
        elif any(value is None for value in values):
            changes[field.name] = None
        elif field.name.startswith("peak_"):
            changes[field.name] = max(values)
        elif field.name.endswith("_per_request"):
            weights = [_documents(run) for run in runs]
            total = sum(v * w for v, w in zip(values, weights, strict=True))
            changes[field.name] = total / sum(weights) if sum(weights) else None
        elif not field.name.endswith("_per_second"):
            changes[field.name] = sum(values)
    cost = dataclasses.replace(first.cost, **changes)
    if cost.generated_tokens is not None and cost.generation_seconds:
        rate = cost.generated_tokens / cost.generation_seconds
        cost = dataclasses.replace(cost, tokens_per_second=rate)
    tasks = {name: task for run in runs for name, task in run.tasks.items()}
    return dataclasses.replace(first, tasks=tasks, cost=cost)


def _documents(run: Run) -> int:
    return sum(
        max(map(len, task.samples.values()), default=0)
        for task in run.tasks.values()
        if not task.is_group
    )


def curves(
    cells: Sequence[Cell], runs: dict[str, Run], compared: dict[str, Comparison]
) -> list[dict[str, Any]]:
    """Return the sensitivity curves of one model, for every task, metric and filter.

    Each is ``{model, intervention, parameter, control, task, metric, filter, points}`` and each
    point ``{value, label, spec, score}``, with ``difference``, ``low``, ``high``, ``p_holm`` and
    ``n`` against the reference where that was compared (null where not).
    """
    grouped: dict[tuple[str, str, int | None], list[Cell]] = {}
    for cell in {cell.variant.label: cell for cell in cells}.values():
        if (curve := cell.variant.curve) is not None:
            control = None
            if cell.variant.control_of is not None:
                control = int(cell.variant.label.rpartition("+control")[2])
            grouped.setdefault((curve.of, curve.parameter, control), []).append(cell)
    found = []
    for (of, parameter, control), members in grouped.items():
        first = runs[members[0].variant.label]
        for task in first.tasks.values():
            for metric, name in task.aggregates:
                points = [_point(cell, runs, compared, task.name, metric, name) for cell in members]
                found.append(
                    {
                        "model": members[0].model.name,
                        "intervention": of,
                        "parameter": parameter,
                        "control": control,
                        "task": task.name,
                        "metric": metric,
                        "filter": name,
                        "points": points,
                    }
                )
    return found


def _point(
    cell: Cell,
    runs: dict[str, Run],
    compared: dict[str, Comparison],
    task: str,
    metric: str,
    name: str,
) -> dict[str, Any]:
    label = cell.variant.label
    assert cell.variant.curve is not None
    known = runs[label].tasks.get(task)
    rows = [
        row
        for row in (compared[label].rows if label in compared else ())
        if (row.task, row.metric, row.filter, row.stratum) == (task, metric, name, None)
    ]
    fields = ("difference", "low", "high", "p_holm", "n")
    return {
        "value": cell.variant.curve.value,
        "label": label,
        "spec": cell.variant.spec,
        "score": None if known is None else known.aggregates.get((metric, name)),
        **{field: getattr(rows[0], field) if rows else None for field in fields},
    }


def curves_text(found: Sequence[dict[str, Any]]) -> str:
    """Return the curves as lines, those whose score never moves in one word."""
    lines = ["Sensitivity (score by value):"]
    for curve in found:
        scores = [point["score"] for point in curve["points"]]
        control = "" if curve["control"] is None else f", control {curve['control']}"
        head = (
            f"  {curve['model']} | {curve['intervention']}, {curve['parameter']}{control} | "
            f"{curve['task']} | {curve['metric']}: "
        )
        if len(set(scores)) == 1 and scores[0] is not None:
            lines.append(f"{head}{scores[0]:.4g} throughout")
        else:
            lines.append(
                head
                + ", ".join(
                    f"{point['value']}: " + ("?" if (s := point["score"]) is None else f"{s:.4g}")
                    for point in curve["points"]
                )
            )
    return "\n".join(lines) + "\n"
