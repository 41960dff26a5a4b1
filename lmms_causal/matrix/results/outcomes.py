"""What the cells say together: comparisons with the reference, sensitivity curves, controls."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lmms_causal.compare import Comparison, Options, Run
from lmms_causal.errors import UserError
from lmms_causal.matrix.keeping.files import write_json, write_text
from lmms_causal.matrix.planning.cells import Cell, slug
from lmms_causal.matrix.planning.plan import MatrixPlan
from lmms_causal.matrix.planning.plan_values import number, whole

__all__ = ["compare_cells", "options_of"]


def options_of(plan: MatrixPlan) -> Options:
    """Return the plan's ``compare:`` as options of a comparison.

    Raises:
        UserError: a value of the wrong kind.
    """
    given = {name: value for name, value in plan.compare.items() if value is not None}
    for name in ("metrics", "by"):
        value = given.get(name, ())
        names = value.split(",") if isinstance(value, str) else value
        if not isinstance(names, (list, tuple)) or not all(isinstance(it, str) for it in names):
            raise UserError(f"{plan.path}: compare: {name}: {value!r} is no list of names")
        given[name] = tuple(part.strip() for part in names)
    if not isinstance(given.get("cluster", ""), str):
        raise UserError(f"{plan.path}: compare: cluster: {given['cluster']!r} is no field's name")
    for name in ("level", "margin"):
        number(plan.path, given, name, -math.inf, "compare: ")
    for name in ("seed", "resamples"):
        whole(plan.path, given, name, 0, "compare: ")
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
    before, if there are several), ``sensitivity.json`` if there are curves and ``controls.json`` if
    there are controls.

    Returns:
        The comparisons, and the text to print: the plan's interventions in full, the points of
        curves and the controls in tables of their own.

    Raises:
        UserError: cells that cannot be compared, such as tasks without a common metric.
    """
    from lmms_causal.compare import compare, read_run
    from lmms_causal.compare.output.report import to_json, to_markdown, to_text
    from lmms_causal.matrix.results import sections
    from lmms_causal.matrix.results.controls import control_entries, control_section, controlled
    from lmms_causal.matrix.results.joining import joined
    from lmms_causal.matrix.results.sensitivity import curve_sections, curves

    options = options_of(plan)
    found: list[Comparison] = []
    texts: list[str] = []
    all_curves: list[dict[str, Any]] = []
    all_controls: list[dict[str, Any]] = []
    prefixes = _prefixes([model.name for model in plan.models])
    for model in plan.models:
        mine = [cell for cell in cells if cell.model == model]
        runs: dict[str, Run] = {}
        for label in dict.fromkeys(cell.variant.label for cell in mine):
            tasks = [read_run(cell.results) for cell in mine if cell.variant.label == label]
            runs[label] = joined(tasks)
        reference = runs[plan.reference]
        # A point of a curve may be an intervention of the plan as well: one cell, one hypothesis.
        others = {run.path: run for run in runs.values() if run.path != reference.path}
        if not others:
            continue
        compared = compare(reference, list(others.values()), options)
        found += compared
        by_path = dict(zip(others, compared, strict=True))
        named = {label: by_path[r.path] for label, r in runs.items() if r.path in by_path}
        all_curves += curves(mine, runs, named)
        against = controlled(mine, runs, named, options)
        all_controls += control_entries(model.name, against)
        tables = list(curve_sections(mine, runs, named, plan.reference, options.level))
        if against:
            tables.append(control_section(model.name, plan.reference, options.level, against))

        write_json(output / f"{prefixes[model.name]}comparison.json", to_json(compared))
        parts = [_names(named, compared), to_markdown(compared), *map(sections.to_markdown, tables)]
        write_text(output / f"{prefixes[model.name]}comparison.md", "\n".join(parts))
        own = {label for label, _ in plan.interventions}
        shown = [it for it in compared if any(named.get(label) is it for label in own)]
        texts += [to_text(shown)] if shown else []
        texts += map(sections.to_text, tables)
    if all_curves:
        write_json(output / "sensitivity.json", {"curves": all_curves})
    if all_controls:
        write_json(output / "controls.json", {"controls": all_controls})
    return found, "\n".join(texts)


def _names(named: Mapping[str, Comparison], compared: Sequence[Comparison]) -> str:
    """What the plan calls each B of a report, in its order."""
    lines = ["| B | name in the plan | interventions |", "|---|---|---|"]
    for place, comparison in enumerate(compared):
        labels = ", ".join(label for label, it in named.items() if it is comparison)
        name = f"B{place + 1}" if len(compared) > 1 else "B"
        lines.append(f"| {name} | {labels} | `{comparison.b.interventions}` |")
    return "\n".join(lines) + "\n"


def _prefixes(names: Sequence[str]) -> dict[str, str]:
    """What the files of each model begin with; nothing where there is one model only."""
    if len(names) == 1:
        return {names[0]: ""}
    short = [slug(name, 100) for name in names]
    return {
        name: f"{it}-{index + 1}." if short.count(it) > 1 else f"{it}."
        for index, (name, it) in enumerate(zip(names, short, strict=True))
    }
