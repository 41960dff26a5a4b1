"""Curves of time and of distance to the density-proportional line, over lengths."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lmms_causal.bench.running import DENSE, Row
from lmms_causal.errors import UserError

__all__ = ["draw", "figure_of", "require"]

_FORMATS = (".png", ".svg", ".pdf")


def require(target: Path) -> None:
    """Say so in one line if a picture cannot be drawn there, before anything is measured.

    Raises:
        UserError: Matplotlib is not installed, or the file's name ends in no known format.
    """
    if target.suffix not in _FORMATS:
        raise UserError(f"--plot {target}: let the name end in {', '.join(_FORMATS)}")
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "--plot needs Matplotlib: pip install 'lmms-causal[plots]', or leave it out"
        ) from None


def draw(rows: Sequence[Row], target: Path) -> None:
    """Write the picture.

    Raises:
        UserError: the file cannot be written.
    """
    figure = figure_of(rows)
    try:
        figure.savefig(target, dpi=120)
    except OSError as error:
        raise UserError(f"--plot {target}: cannot be written ({error.strerror})") from None


def figure_of(rows: Sequence[Row]) -> Any:
    """Return a figure with a column for each kind and type: time above, times the line below.

    A colour is a pattern, a mark a way. Dense attention is black, the line of each pattern dotted.
    """
    from matplotlib.figure import Figure
    from matplotlib.ticker import LogLocator, NullFormatter

    blocks = list(dict.fromkeys((row.kind, row.dtype) for row in rows))
    patterns = list(dict.fromkeys(row.pattern for row in rows))
    names = [name for name in dict.fromkeys(row.backend for row in rows) if name != DENSE]
    figure = Figure(figsize=(2.5 + 4.5 * len(blocks), 7), layout="constrained")
    axes = figure.subplots(2, len(blocks), squeeze=False, sharex="col")
    for column, block in enumerate(blocks):
        time, line = axes[0][column], axes[1][column]
        own = [row for row in rows if (row.kind, row.dtype) == block and row.seconds is not None]
        dense = {row.keys: row for row in own if row.backend == DENSE}
        _curve(time, dense.values(), "seconds", 1e3, color="black", marker="s", label="dense")
        for number, pattern in enumerate(patterns):
            colour = f"C{number % 10}"
            for row_of, name in enumerate(names):
                some = [row for row in own if (row.pattern, row.backend) == (pattern, name)]
                style = {"color": colour, "marker": "ov^Dx+*"[row_of % 7]}
                _curve(time, some, "seconds", 1e3, label=f"{pattern}, {name}", **style)
                _curve(line, [row for row in some if row.line], "line", 1.0, **style)
            ideal = sorted({row.keys: row.density for row in own if row.pattern == pattern}.items())
            heights = [1e3 * n_density * (dense[n].seconds or 0) for n, n_density in ideal]
            time.plot([n for n, _ in ideal], heights, color=colour, linestyle=":", linewidth=1)
        line.axhline(1.0, color="black", linewidth=0.8)
        time.set(title=", ".join(block), ylabel="ms", yscale="log")
        line.set(xlabel="keys", ylabel="time / density-proportional line", yscale="log")
        for panel in (time, line):
            lengths = sorted({row.keys for row in own})
            panel.set_xscale("log", base=2)
            panel.set_xticks(lengths, map(str, lengths), minor=False)
            panel.set_xticks([], minor=True)
            panel.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 3.0, 5.0)))
            panel.yaxis.set_major_formatter("{x:g}")
            panel.yaxis.set_minor_formatter(NullFormatter())
    known = {name: curve for panel in axes[0] for curve, name in _labelled(panel)}
    figure.legend(
        known.values(), known.keys(), loc="outside right upper", fontsize="x-small", frameon=False
    )
    return figure


def _labelled(panel: Any) -> list[tuple[Any, str]]:
    return list(zip(*panel.get_legend_handles_labels(), strict=True))


def _curve(axes: Any, rows: Any, of: str, factor: float, **style: Any) -> None:
    points = sorted((row.keys, factor * getattr(row, of)) for row in rows)
    if points:
        axes.plot([n for n, _ in points], [y for _, y in points], linewidth=1, **style)
