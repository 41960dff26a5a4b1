"""The cells of the report's tables, as every printed format shows them."""

from __future__ import annotations

from collections.abc import Sequence

from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.verdict import (
    amount,
    difference_with_mark,
    interval_text,
    metric_name,
    number,
    p_text,
    row_name,
)
from lmms_causal.compare.records import Run
from lmms_causal.compare.rows.row import Row
from lmms_causal.compare.rows.twins import part_name

#: A line of a table; one of a single cell is a heading.
Cells = Sequence[str]


def model_text(run: Run) -> str:
    """Model and arguments as they were typed, without the interventions."""
    arguments = ",".join(f"{key}={value}" for key, value in run.model_args.items())
    return f"{run.model} {arguments}".strip()


def header(comparison: Comparison) -> list[str]:
    """Heading of the table of differences."""
    corrected = number_of_tests(comparison) > 1
    interval = f"{100 * comparison.options.level:g} % CI"
    p = "p Holm" if corrected else "p"
    return ["metric", "n", "A", "B", "B-A", interval, "McNemar", p, "+/-"]


def number_of_tests(comparison: Comparison) -> int:
    """Hypotheses of this comparison: rows with a test, each set of scores once."""
    return sum(row.p is not None and row.same_as is None for row in comparison.rows)


def body(comparison: Comparison) -> list[Cells]:
    """Lines of the table of differences, by task."""
    lines: list[Cells] = []
    task = None
    for row in comparison.rows:
        if row.task != task:
            task = row.task
            lines.append([_heading(comparison, task)])
        lines.append(
            [
                _name(comparison, row),
                str(row.n) if row.n else "-",
                number(row, row.a),
                number(row, row.b),
                number(row, row.difference, "+"),
                interval_text(row),
                p_text(row.mcnemar_p),
                p_text(row.p if row.p_holm is None else row.p_holm),
                "-" if row.gained is None else f"+{row.gained}/-{row.lost}",
            ]
        )
    return lines


def agreement_header(comparison: Comparison) -> list[str]:
    """Heading of the table of agreement, power and equivalence."""
    names = ["agreement", "agree %", "same text", "both right", "both wrong", "detectable"]
    if comparison.options.margin is not None:
        names += [f"p within {comparison.options.margin:g}", "p no harm"]
    return names


def agreement_body(comparison: Comparison) -> list[Cells]:
    """How far A and B agree, which difference would have shown, and the tests against the margin.

    Rows that repeat the scores of another one are left out.
    """
    lines: list[Cells] = []
    task = None
    for row in comparison.rows:
        if row.p is None or row.same_as is not None:
            continue
        if row.task != task:
            task = row.task
            lines.append([task])
        cells = [
            _name(comparison, row),
            "-" if row.agreement is None else f"{100 * row.agreement:.1f}",
            *(
                "-" if count is None else str(count)
                for count in (row.same_answer, row.both_right, row.both_wrong)
            ),
            "-" if row.detectable is None else number(row, row.detectable),
        ]
        if comparison.options.margin is not None:
            margin = row.equivalence
            cells += [
                "-" if margin is None else p_text(margin.p_holm),
                "-" if margin is None else p_text(margin.no_harm_p_holm),
            ]
        lines.append(cells)
    return lines


def legend(comparison: Comparison) -> list[str]:
    """What the columns mean, as far as these tables need it, and the remarks of single rows."""
    rows = comparison.rows
    lines = []
    if any(row.factor == 100.0 for row in rows):
        lines.append("Shares are in per cent, their differences in points.")
    if any(row.cluster_key is not None and row.p is not None for row in rows):
        lines.append(
            "Intervals and p allow for dependent documents within a cluster; the McNemar column "
            "does not."
        )
    if comparison.options.margin is not None:
        lines.append(
            "Against the margin: p within, that the difference is smaller than it either way "
            "(TOST); p no harm, that the loss is; both after Holm's correction where more than one "
            "row is tested."
        )
    overall = [row for row in rows if row.stratum is None]
    sampled = [row for row in overall if row.test == "swap-sampled"]
    if sampled:
        lines.append(f"Not means over documents, so resampled by cluster: {_names(sampled, rows)}.")
    twins = [row for row in overall if row.same_as is not None]
    if twins:
        lines.append(
            f"The same scores under another name, counted as one test: {_names(twins, rows)}."
        )
    alone = {(row.task, row.filter, part_name(row)) for row in twins}
    parts = [
        f"{part_name(row)} is {row.same_as}"
        for row in rows
        if row.stratum is not None
        and row.same_as is not None
        # Of a metric that is another one as a whole the parts are, too.
        and (row.task, row.filter, row.metric) not in alone
    ]
    if parts:
        lines.append(f"Parts that are another row, counted as one test: {_some(parts)}.")
    by_note: dict[str, list[Row]] = {}
    for row in overall:
        if row.note:
            by_note.setdefault(row.note, []).append(row)
    lines += [f"{_names(noted, rows)}: {note}." for note, noted in by_note.items()]
    return lines + _checked(comparison)


def warnings(comparison: Comparison) -> list[str]:
    """What else differs between the runs, and what a reader must know."""
    found = [
        f"the runs differ in {'' if found.serious else '(should not matter) '}{found}"
        for found in comparison.differences
    ]
    found += comparison.notes
    tests = number_of_tests(comparison)
    if tests > 1 and comparison.options.family == "report":
        found.append(
            f"{tests} rows are tested: the p column is adjusted for all rows of this report by "
            "Holm's method"
        )
    elif comparison.options.family == "metric":
        found.append(
            "the p column is adjusted for the methods compared in one metric, not for the number "
            "of metrics (--family metric)"
        )
    return found


def cost_body(comparison: Comparison) -> list[tuple[str, str, str, str]]:
    """Lines of the table of costs."""
    return [
        (
            f"{cost.name} [{cost.unit}]" if cost.unit else cost.name,
            _quantity(cost.a),
            _quantity(cost.b),
            "-" if cost.ratio is None else f"{cost.ratio:.2f}x",
        )
        for cost in comparison.costs
    ]


def flip_lines(comparison: Comparison, most: int) -> list[str]:
    """Up to `most` changed documents of each metric, with both answers."""
    lines: list[str] = []
    groups: dict[tuple[str, str, str], list[str]] = {}
    for flip in comparison.flips:
        sign = "+" if flip.change == "gained" else "-"
        scores = "" if {flip.a, flip.b} == {0.0, 1.0} else f" ({flip.a:.4g} to {flip.b:.4g})"
        groups.setdefault((flip.task, flip.metric, flip.filter), []).append(
            f"{sign} {flip.id}{scores}: {_answer(flip.answer_a)} became {_answer(flip.answer_b)}, "
            f"target {_answer(flip.target)}"
        )
    for (task, metric, name), found in groups.items():
        title = metric if name == "none" else f"{metric} ({name})"
        lines.append(f"changed in {title} of {task}: {len(found)}")
        lines += [f"  {line}" for line in found[:most]]
        if len(found) > most:
            lines.append(f"  ... and {len(found) - most} more (--json has all)")
    return lines


def summary(comparisons: Sequence[Comparison]) -> list[Cells]:
    """All runs beside each other: the reference's score, and each difference with its mark.

    The first line is the heading. A star marks a difference that counts as one.
    """
    places: dict[str, dict[int, Row]] = {}
    for index, comparison in enumerate(comparisons):
        for row in comparison.rows:
            if row.same_as is None and row.stratum is None:
                places.setdefault(row_name(row), {})[index] = row
    lines: list[Cells] = [["", "A", *run_labels(comparisons)]]
    for name, rows in places.items():
        cells = [
            difference_with_mark(rows[index], comparison.options.level) if index in rows else "-"
            for index, comparison in enumerate(comparisons)
        ]
        some = next(iter(rows.values()))
        lines.append([name, number(some, some.a), *cells])
    return lines


def run_labels(comparisons: Sequence[Comparison]) -> list[str]:
    """A name for each B: its interventions, numbered where these repeat."""
    specs = [comparison.b.interventions or "none" for comparison in comparisons]
    return [
        spec if specs.count(spec) == 1 else f"{spec} #{specs[: index + 1].count(spec)}"
        for index, spec in enumerate(specs)
    ]


def margin_text(row: Row) -> str:
    """The margin of a row with its unit."""
    return "-" if row.equivalence is None else amount(row, row.equivalence.margin, signed=False)


def _name(comparison: Comparison, row: Row) -> str:
    if row.stratum is None:
        return f"  {metric_name(row)}"
    several = len(comparison.options.by) > 1
    return f"    {row.by} {row.stratum}" if several else f"    {row.stratum}"


def _heading(comparison: Comparison, task: str) -> str:
    units: dict[str, int] = {}
    for row in comparison.rows:
        if row.task == task and row.cluster_key is not None and row.stratum is None:
            units[row.cluster_key] = max(row.units, units.get(row.cluster_key, 0))
    clusters = ", ".join(f"{count} clusters by {key}" for key, count in units.items())
    return f"{task} ({clusters})" if clusters else task


def _names(some: Sequence[Row], rows: Sequence[Row]) -> str:
    """Name rows by task; a task that is meant as a whole is not spelled out."""
    names = []
    for task in dict.fromkeys(row.task for row in some):
        metrics = [metric_name(row) for row in some if row.task == task]
        whole = sum(row.task == task and row.stratum is None for row in rows)
        names.append(task if len(metrics) == whole else f"{', '.join(metrics)} of {task}")
    return "; ".join(names)


def _checked(comparison: Comparison) -> list[str]:
    """One line on what was found alike, one on what differs, one on what cannot be known."""
    lines = []
    for status, title in (("same", "Alike"), ("different", "Different"), ("unknown", "Unknown")):
        tasks: dict[str, list[str]] = {}
        for check in comparison.checks:
            if check.status == status:
                note = f" ({check.note})" if status == "unknown" and check.note else ""
                tasks.setdefault(f"{check.what}{note}", []).append(check.task or "")
        parts = [
            what if not (names := [name for name in where if name]) else f"{what} of {_some(names)}"
            for what, where in tasks.items()
        ]
        if parts:
            lines.append(f"{title}: {'; '.join(parts)}.")
    return lines


def _some(names: Sequence[str], most: int = 3) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _answer(text: str, longest: int = 60) -> str:
    text = " ".join(text.split())
    return f'"{text if len(text) <= longest else f"{text[: longest - 3]}..."}"'


def _quantity(value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
