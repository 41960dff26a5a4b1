"""Results as pictures: grids of heads, heat over an image, sentences as a graph, rhythm."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from lmms_causal.attend.running import Results
from lmms_causal.attend.traces import Trace
from lmms_causal.attend.writing import file_name
from lmms_causal.errors import UserError
from lmms_causal.interventions.analysis.causal_effect import HeadEffect

__all__ = ["draw", "draw_effects", "head_grid", "heat_map", "require", "rhythm", "sentence_graph"]

_DOTS = 150  # an inch
_STRONGEST = 3  # arcs from each sentence


def draw(results: Results, folder: Path) -> list[Path]:
    """Draw everything that a run found, and return the files.

    Raises:
        UserError: Matplotlib is not installed; the folder cannot be written to.
    """
    require()
    made: dict[str, Any] = {}
    for name, value in _mean_heads(results).items():
        made[f"heads_{name}"] = head_grid(value, name)
    for index, trace in enumerate(results.traces):
        found = {
            name: one
            for name, list_ in results.findings.items()
            if (one := list_[index]) is not None
        }
        label = file_name(trace.document.id)
        if "heat" in found:
            with Image.open(trace.document.images[0]) as picture:
                maps = found["heat"].arrays["heat"]
                cropped = found["heat"].record["cropped"]
                made[f"{label}_heat"] = heat_map(picture, maps.mean(dim=0), cropped=cropped)
        if "sentence_attention" in (found["receiver"].arrays if "receiver" in found else {}):
            received = found["receiver"]
            scores = torch.tensor(received.record["score"] or [float("nan")] * len(trace.sentences))
            made[f"{label}_sentences"] = sentence_graph(
                trace, received.arrays["sentence_attention"], scores, "attention of receiver heads"
            )
        if "suppression" in found:
            matrix = found["suppression"].arrays["suppression_relative"]
            effect = torch.where(matrix.isnan(), torch.nan, matrix.clamp(min=0))
            made[f"{label}_suppression"] = sentence_graph(
                trace, effect, effect.nanmean(dim=0), "effect of hiding a sentence, above average"
            )
        if "rhythm" in found:
            made[f"{label}_rhythm"] = rhythm(trace, found["rhythm"].tokens)
    return _saved(made, folder)


def require() -> None:
    """Say so in one line if pictures cannot be drawn here.

    Raises:
        UserError: Matplotlib is not installed.
    """
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise UserError(
            "--pictures needs Matplotlib: pip install 'lmms-causal[plots]', or leave it out"
        ) from None


def head_grid(values: Tensor, title: str, *, balanced: bool = False) -> Any:
    """Return a figure with a cell for each head, layers from top to bottom.

    Args:
        values: ``[L, H]``; NaN is left white.
        title: what they are.
        balanced: whether they are differences, so that zero is in the middle of the colours.
    """
    layers, heads = values.shape
    figure, axes = _figure(1.5 + 0.22 * max(heads, 12), 1.2 + 0.2 * max(layers, 6))
    options: dict[str, Any] = {"cmap": "viridis"}
    if balanced:
        reach = float(values.abs().nan_to_num().max()) or 1.0
        options = {"cmap": "RdBu", "vmin": -reach, "vmax": reach}
    shown = axes.imshow(values.numpy(), aspect="auto", interpolation="nearest", **options)
    figure.colorbar(shown, ax=axes)
    axes.set(title=title.replace("_", " "), xlabel="head", ylabel="layer")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.yaxis.get_major_locator().set_params(integer=True)
    return figure


def heat_map(picture: Image.Image, weights: Tensor, *, cropped: bool = False) -> Any:
    """Return a figure of attention laid over an image.

    Args:
        picture: as it was shown.
        weights: ``[h, w]``, rows of the image's tokens from the top.
        cropped: whether they are of the middle square of the image; else of all of it.
    """
    width, height = picture.size
    figure, axes = _figure(6, max(1.5, 6 * height / width))
    axes.imshow(np.asarray(picture.convert("L")), extent=(0, width, height, 0), cmap="gray")
    side = min(width, height) if cropped else 0
    left, top = ((width - side) / 2, (height - side) / 2) if cropped else (0, 0)
    shown = axes.imshow(
        weights.numpy(),
        extent=(left, width - left, height - top, top),
        cmap="inferno",
        alpha=0.6,
        interpolation="bilinear",
    )
    figure.colorbar(shown, ax=axes, label="mean weight")
    axes.set(xlim=(0, width), ylim=(height, 0))
    axes.set_axis_off()
    return figure


def sentence_graph(trace: Trace, matrix: Tensor, scores: Tensor, title: str) -> Any:
    """Return a figure with sentences on a line, and arcs to those that matter most for each.

    Args:
        trace: its sentences.
        matrix: how much sentence ``i`` depends on ``j``, ``[S, S]``; NaN and zero draw nothing.
        scores: what sentences are sized by, ``[S]``; NaN is smallest.
        title: what the arcs are.
    """
    from matplotlib.patches import FancyArrowPatch

    count = len(trace.sentences)
    figure, axes = _figure(7, 1.2 + 0.24 * count)
    strongest = float(torch.nan_to_num(matrix.tril(-1)).max()) or 1.0
    for affected in range(count):
        row = torch.nan_to_num(matrix[affected, :affected])
        for weight, other in zip(*row.topk(min(_STRONGEST, len(row))), strict=True):
            if float(weight) > 0:
                strength = float(weight) / strongest
                axes.add_patch(
                    FancyArrowPatch(
                        (0, affected),
                        (0, int(other)),
                        connectionstyle="arc3,rad=-0.45",
                        arrowstyle="-|>",
                        mutation_scale=7,
                        linewidth=0.3 + 2 * strength,
                        alpha=0.2 + 0.7 * strength,
                        color="tab:blue",
                    )
                )
    known = torch.nan_to_num(scores)
    sizes = 15 + 150 * known / (float(known.max()) or 1.0)
    axes.scatter([0] * count, range(count), s=sizes.tolist(), color="tab:red", zorder=3)
    for sentence in trace.sentences:
        text = sentence.text if len(sentence.text) <= 64 else f"{sentence.text[:63]}…"
        label = f"{sentence.index}  {text}".replace("$", r"\$")
        axes.text(0.06, sentence.index, label, va="center", fontsize=7)
    axes.set(xlim=(-0.4, 1), ylim=(count - 0.4, -0.6), title=title)
    axes.set_axis_off()
    return figure


def rhythm(trace: Trace, series: dict[str, Tensor]) -> Any:
    """Return a figure of WAAD and FAI along the answer, with the borders of sentences."""
    figure, first = _figure(9, 3)
    second = first.twinx()
    places = range(trace.start, trace.length)
    first.plot(places, series["waad"][trace.written].numpy(), color="tab:blue", linewidth=0.9)
    second.plot(places, series["fai"][trace.written].numpy(), color="tab:orange", linewidth=0.9)
    for sentence in trace.sentences:
        first.axvline(sentence.tokens[0], color="0.85", linewidth=0.6, zorder=0)
    first.set(xlabel="token")
    first.set_ylabel("windowed distance, local heads", color="tab:blue")
    second.set_ylabel("future influence, global heads", color="tab:orange")
    return figure


def _saved(figures: dict[str, Any], folder: Path) -> list[Path]:
    """Write figures by name."""
    files = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, figure in figures.items():
            files.append(folder / f"{name}.png")
            figure.savefig(files[-1], dpi=_DOTS)
    except OSError as error:
        raise UserError(f"{folder}: pictures cannot be written ({error.strerror})") from None
    return files


def _figure(width: float, height: float) -> tuple[Any, Any]:
    """A figure of its own, without Matplotlib's global state, and its axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(width, min(height, 40)), layout="constrained")
    return figure, figure.subplots()


def _mean_heads(results: Results) -> dict[str, Tensor]:
    """Each statistic of heads, averaged over the traces that have it."""
    made: dict[str, list[Tensor]] = {}
    for findings in results.findings.values():
        for one in findings:
            for name, value in (one.heads if one is not None else {}).items():
                made.setdefault(name, []).append(value)
    return {name: torch.stack(values).nanmean(dim=0) for name, values in made.items()}


def draw_effects(effects: Sequence[HeadEffect], shape: tuple[int, int], folder: Path) -> list[Path]:
    """Draw the effects of heads on a metric as a grid, and return the file.

    Args:
        effects: those that were measured; other heads are left white.
        shape: layers and heads of the model.
        folder: where it is written.
    """
    require()
    values = torch.full(shape, torch.nan)
    for it in effects:
        values[it.layer, it.head] = it.mean
    figure = head_grid(values, "effect of ablation on the metric", balanced=True)
    return _saved({"effects": figure}, folder)
