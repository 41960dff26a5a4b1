"""The page: everything computed beforehand, one template, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from lmms_causal._version import __version__
from lmms_causal.compare.comparison import Comparison
from lmms_causal.compare.output.verdict import verdict
from lmms_causal.errors import UserError
from lmms_causal.report.attention import place_overlays
from lmms_causal.report.charts import cost_charts, sensitivity_charts
from lmms_causal.report.documents import Table, collect, to_data
from lmms_causal.report.forest import panels
from lmms_causal.report.gallery import gallery
from lmms_causal.report.levels import gap_charts
from lmms_causal.report.names import Named, name_runs
from lmms_causal.report.notes import gather, serious
from lmms_causal.report.pictures import Album, from_folder, illustrate
from lmms_causal.report.task_documents import NOT_OURS, TaskDocuments

__all__ = ["Material", "render", "write_page"]

#: Characters of texts and of pictures in a page. 10,000 short documents take about 3 million.
TEXT_BUDGET = 12_000_000
PICTURE_BUDGET = 6_000_000
_SURROGATE = re.compile(r"[\ud800-\udfff]")
#: What JSON must escape in a page; U+2028 and U+2029 are line ends to some readers of scripts.
_UNSAFE = re.compile(r"[<>&\u2028\u2029\ud800-\udfff]")


@dataclass(frozen=True)
class Material:
    """What a page shows besides the comparisons.

    Attributes:
        images: Folder with the documents' pictures; None: the installed task is asked for them.
        attention: Folders of ``lmms-causal attend``.
        title: Title of the page; by default the names of the tasks.
        text_budget: Characters of texts in the page.
        picture_budget: Characters of encoded pictures in the page.
    """

    images: Path | None = None
    attention: tuple[Path, ...] = field(default=())
    title: str = ""
    text_budget: int = TEXT_BUDGET
    picture_budget: int = PICTURE_BUDGET


def write_page(
    comparisons: Sequence[Comparison], file: Path, material: Material | None = None
) -> None:
    """Write the page of `comparisons`, which have one reference run, to `file`.

    Raises:
        UserError: Nothing to compare, pictures or attention maps that cannot be used, or the file
            cannot be written.
    """
    page = render(comparisons, material)
    try:
        file.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise UserError(f"--report {file}: cannot be written ({error.strerror})") from None


def render(comparisons: Sequence[Comparison], material: Material | None = None) -> str:
    """Return the page as text; the same comparisons give the same page."""
    material = material or Material()
    runs = name_runs(comparisons)
    table = collect(comparisons, runs)
    album = Album(material.picture_budget)
    remarks = _illustrate(table, album, material)
    remarks += place_overlays(material.attention, table, runs, album)
    data, left_out = to_data(table, runs, material.text_budget)
    if left_out:
        remarks.append(
            f"{left_out:,} of {table.total:,} documents are left out, to keep the page small: "
            "those without a change first"
        )
    forest = panels(comparisons, runs)
    costs, left_of_costs = gallery(cost_charts(comparisons, runs))
    curves, left_of_curves = gallery(
        [*sensitivity_charts(comparisons, runs), *gap_charts(comparisons, runs)]
    )
    remarks += [
        f"{count} {what} are left out, to keep the page small: compare fewer --metrics or --tasks"
        for count, what in ((left_of_costs, "charts of costs"), (left_of_curves, "curves"))
        if count
    ]
    script = _asset("page.js")
    page = _environment().get_template("page.html.j2").render(
        title=material.title or _title(comparisons),
        runs=runs,
        level=comparisons[0].options.level,
        verdicts=_verdicts(comparisons, runs),
        serious=serious(comparisons, runs),
        panels=forest,
        tasks=list(dict.fromkeys(panel.task for panel in forest)),
        cost_charts=costs,
        curves=curves,
        costs=_cost_table(comparisons, runs),
        notes=gather(comparisons, runs),
        documents=len(data["documents"]),
        remarks=remarks,
        data=_embedded(data),
        pictures=_embedded(album.uris),
        css=Markup(_asset("page.css")),
        script=Markup(script),
        script_hash=_hash(script),
        version=__version__,
    )  # fmt: skip
    # What UTF-8 cannot hold has been escaped in the data; elsewhere it is a character unknown.
    return _SURROGATE.sub("\ufffd", page)


def _illustrate(table: Table, album: Album, material: Material) -> list[str]:
    """Find pictures, and questions that no samples file holds; returns remarks."""
    remarks: list[str] = []
    folder = None if material.images is None else from_folder(material.images)
    shown = having = 0
    for index, entry in enumerate(table.tasks):
        documents = [it for it in table.documents if it.table == index]
        task = TaskDocuments(entry["task"])
        for document in documents:
            document.question = document.question or task.question(document.sample)
        counts = illustrate(documents, album, folder or task.pictures)
        shown, having = shown + counts[0], having + counts[1]
        without = sum(not document.question for document in documents)
        remarks += _missing(entry["name"], task, without, folder is None)
    if shown < having:
        remarks.append(
            "not every picture is in the page, to keep it small: documents that changed come first"
        )
    return remarks


def _missing(name: str, task: TaskDocuments, without: int, pictures: bool) -> list[str]:
    """Say which questions and pictures of a task could not be had, and why.

    Args:
        name: The task's name.
        task: Its documents, after they have been asked.
        without: Documents whose question is not known.
        pictures: Whether the task has been asked for pictures.
    """
    if task.problem:
        # Tasks of others are not asked; that is worth a word only where something is missing.
        ours = task.problem != NOT_OURS
        lacking = ["questions"] * bool(without) + ["pictures"] * (pictures and ours)
        what = " and ".join(lacking)
        return [f"no {what} of {name}: {task.problem}"] if lacking else []
    remarks = [
        f"{what} of {count:,} documents of {name} could not be made: {reason}"
        for what, (count, reason) in task.failures.items()
    ]
    if without and "questions" not in task.failures:
        remarks.append(f"questions of {without:,} documents of {name} are not known: its samples "
                       "hold none, and the installed task has no such documents")  # fmt: skip
    return remarks


def _title(comparisons: Sequence[Comparison]) -> str:
    tasks = list(dict.fromkeys(row.task for it in comparisons for row in it.rows))
    groups = [task for task in tasks if comparisons[0].a.tasks[task].is_group]
    named = groups or tasks
    return ", ".join(named[:3]) + (f" and {len(named) - 3} more" if len(named) > 3 else "")


def _verdicts(
    comparisons: Sequence[Comparison], runs: Sequence[Named]
) -> list[tuple[list[Named], str]]:
    """Each sentence once, with the runs it is about."""
    found: dict[str, list[Named]] = {}
    for named, comparison in zip(runs[1:], comparisons, strict=True):
        found.setdefault(verdict(comparison, minus="−"), []).append(named)
    return [(about, text) for text, about in found.items()]


def _cost_table(
    comparisons: Sequence[Comparison], runs: Sequence[Named]
) -> list[tuple[str, str, list[tuple[str, str]]]]:
    """(cost, unit, (value, ratio to A) of each run)."""
    names = {cost.name: cost.unit for it in comparisons for cost in it.costs}
    lines = []
    for name, unit in names.items():
        found = [next((c for c in it.costs if c.name == name), None) for it in comparisons]
        reference = next((c.a for c in found if c is not None and c.a is not None), None)
        cells = [(_quantity(reference), "")]
        for cost in found:
            ratio = "" if cost is None or cost.ratio is None else f"{cost.ratio:.2f}×"
            cells.append((_quantity(None if cost is None else cost.b), ratio))
        lines.append((name, unit, cells))
    return lines


def _quantity(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"


def _embedded(data: Any) -> Markup:
    """JSON that is safe inside a script element: nothing in it can end the element, and it has a
    form in UTF-8.
    """
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Markup(_UNSAFE.sub(lambda it: f"\\u{ord(it[0]):04x}", text))


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    """What the page's policy allows to run: this text and no other."""
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _environment() -> jinja2.Environment:
    loader = jinja2.FunctionLoader(_asset)
    return jinja2.Environment(
        loader=loader, autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
