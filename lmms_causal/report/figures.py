"""The report's plots as PNG and SVG files, for papers and slides."""

from __future__ import annotations

import re
from collections.abc import Callable, Container, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lmms_causal.compare.comparison import Comparison
from lmms_causal.errors import UserError
from lmms_causal.report.charts import Chart, cost_charts, sensitivity_charts
from lmms_causal.report.forest import ForestRow, Panel, panels
from lmms_causal.report.levels import gap_charts
from lmms_causal.report.names import name_runs
from lmms_causal.report.scales import linear

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["forest_figure", "require", "write_figures"]

_DOTS = 200  # an inch, in PNG files
_COLOURS = {"good": "#00695c", "bad": "#b03a0e", "none": "#56606b", "plain": "#1f5fbf"}
_MARKERS = {"▲": "^", "▼": "v", "●": "o", "–": "o"}
_FORMATS = ("png", "svg")
_LONGEST_NAME = 120


def require() -> None:
    """Say so in one line if plots cannot be drawn here.

    Raises:
        UserError: Matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "--figures needs Matplotlib: pip install 'lmms-causal[report]', or leave it out"
        ) from None


def write_figures(comparisons: Sequence[Comparison], folder: Path) -> list[Path]:
    """Write the plots of the report into `folder`, as PNG and as SVG; returns the files.

    Costs and strengths are drawn for the first metric of each task, as the page begins; the forest
    plot and curves by level for every metric.

    Raises:
        UserError: Matplotlib is not installed; the folder cannot be written to.
    """
    require()
    import matplotlib as mpl

    runs = name_runs(comparisons)
    drawn: dict[str, tuple[Callable[[Any], Figure], Any]] = {}
    for panel in panels(comparisons, runs):
        if any(line.low is not None for line in panel.rows):
            name = _file_name(f"forest_{panel.task}_{panel.metric}", drawn)
            drawn[name] = (forest_figure, panel)
    for make in (cost_charts, sensitivity_charts, gap_charts):
        for chart in make(comparisons, runs):
            if chart.first or chart.kind == "gap":
                drawn[_file_name(chart.name, drawn)] = (_chart_figure, chart)
    files = []
    # Text stays text in SVG files, and the same numbers give the same file.
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": "lmms-causal", "font.size": 9}):
        for name, (draw, what) in drawn.items():
            figure = draw(what)
            for kind in _FORMATS:
                files.append(folder / f"{name}.{kind}")
                metadata = {"Date": None} if kind == "svg" else None
                try:
                    folder.mkdir(parents=True, exist_ok=True)
                    figure.savefig(files[-1], dpi=_DOTS, metadata=metadata)
                except OSError as error:
                    raise UserError(
                        f"--figures {folder}: cannot be written ({error.strerror})"
                    ) from None
    return files


def _file_name(name: str, taken: Container[str]) -> str:
    """`name` as a file name without its ending: short, of plain characters, not one of `taken`."""
    plain = re.sub(r"[^A-Za-z0-9.-]+", "_", name).strip("_.")[:_LONGEST_NAME] or "plot"
    number = 2
    found = plain
    while found in taken:
        found, number = f"{plain}_{number}", number + 1
    return found


def forest_figure(panel: Panel) -> Figure:
    """A panel of the forest plot: a line for each run, then those of its parts."""
    lines: list[tuple[str, ForestRow | None]] = [
        (f"{line.named.key}  {line.named.name}", line) for line in panel.rows
    ]
    for strata in panel.strata:
        for value, found in strata.values:
            lines.append((f"{strata.field}: {value}", None))
            lines += [(f"{line.named.key}  {line.named.name}", line) for line in found]
    figure, axes = _figure(7.0, 1.1 + 0.27 * len(lines))
    for place, (_, line) in enumerate(lines):
        if line is not None:
            _interval(axes, line, place)
    axes.axvline(0, color="0.35", linewidth=1, zorder=0)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    axes.set_yticks(range(len(lines)), [_plain(name) for name, _ in lines])
    axes.set(ylim=(len(lines) - 0.4, -0.6), title=_plain(f"{panel.metric} of {panel.task}"))
    unit = " [points]" if panel.rows and panel.rows[0].row.factor == 100.0 else ""
    axes.set_xlabel(f"difference to A{unit}")
    return figure


def _interval(axes: Any, line: ForestRow, place: int) -> None:
    row, colour = line.row, _COLOURS[line.tone]
    if row.low is not None and row.high is not None:
        ends = [row.low * row.factor, row.high * row.factor]
        axes.plot(ends, [place, place], color=colour, linewidth=1.6, marker="|", markersize=6)
    filled = colour if line.sign != "–" else "white"
    axes.plot(
        row.difference * row.factor,
        place,
        marker=_MARKERS[line.sign],
        color=colour,
        markerfacecolor=filled,
        markersize=6,
    )


def _chart_figure(chart: Chart) -> Figure:
    figure, axes = _figure(4.6, 3.4)
    for series in chart.series:
        points = series.points
        if series.joined:
            style = "--" if series.dashed else "-"
            colour = _COLOURS["none" if series.dashed else "plain"]
            axes.plot([p.x for p in points], [p.y for p in points], style, color=colour, zorder=1)
        for index, point in enumerate(points):
            colour = _COLOURS[point.tone]
            if point.low is not None and point.high is not None:
                axes.plot([point.x] * 2, [point.low, point.high], color=colour, zorder=2)
            marker = "s" if point.key == "A" else _MARKERS[point.sign]
            axes.plot(point.x, point.y, marker=marker, color=colour, markersize=6, zorder=3)
            if chart.kind != "gap" or index == len(points) - 1:
                axes.annotate(
                    point.key, (point.x, point.y), (5, 4), textcoords="offset points", fontsize=8
                )
    if chart.rule is not None:
        axes.axhline(chart.rule, color="0.5", linestyle=":", linewidth=1, zorder=0)
    if chart.x_floor is not None:
        axes.set_xlim(left=chart.x_floor)
    if chart.holds:
        scale = linear(chart.holds if chart.rule is None else (*chart.holds, chart.rule))
        axes.set_ylim(scale.low, scale.high)
    if chart.whole:
        axes.xaxis.get_major_locator().set_params(integer=True)
    axes.grid(color="0.92")
    axes.set_axisbelow(True)
    axes.set(title=_plain(chart.title), xlabel=_plain(chart.x_label), ylabel=_plain(chart.y_label))
    return figure


def _figure(width: float, height: float) -> tuple[Figure, Any]:
    """A figure of its own, without Matplotlib's global state, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, min(height, 40.0)), layout="constrained")
    axes = figure.subplots()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _plain(text: str) -> str:
    """A dollar sign is no formula."""
    return text.replace("$", r"\$")
