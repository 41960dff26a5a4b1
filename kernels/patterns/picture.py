"""What a pattern looks like: as text, and as a figure if there is matplotlib.

Queries go down, keys to the right.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.patterns.base import AttentionPattern
from lmms_causal.kernels.patterns.context import Context
from lmms_causal.kernels.patterns.tiles import allowed_block

__all__ = ["density_map", "picture_text", "save_picture"]

_PAIRS = 1 << 22  # looked at at a time


def density_map(pattern: AttentionPattern, context: Context, size: int = 24) -> Tensor:
    """Return which share of the pairs in each cell of a grid is allowed.

    Args:
        pattern: the pattern.
        context: the call.
        size: cells along the longer of queries and keys, at most.

    Returns:
        float32 ``[planes, rows, columns]``, 0 to 1.

    Raises:
        UserError: this call cannot have the pattern, or there is no cell.
    """
    if size < 1:
        raise UserError(f"a picture of size={size} has no cells; take 1 or more")
    pattern.check(context)
    cell = -(-max(context.queries, context.keys) // size)
    planes = pattern.planes(context)
    columns = -(-context.keys // cell)
    width = torch.full((columns,), cell)
    width[-1] = context.keys - (columns - 1) * cell
    rows = []
    for first in range(0, context.queries, cell):
        count = min(cell, context.queries - first)
        found = torch.zeros(planes, columns, dtype=torch.long)
        step = max(1, _PAIRS // (planes * context.keys))
        for at in range(first, first + count, step):
            part = allowed_block(pattern, context, at, min(step, first + count - at)).sum(1)
            missing = columns * cell - context.keys
            found += torch.nn.functional.pad(part, (0, missing)).view(planes, columns, cell).sum(-1)
        rows.append(found / (width * count))
    return torch.stack(rows, 1)


def picture_text(pattern: AttentionPattern, context: Context, size: int = 24, head: int = 0) -> str:
    """Return a picture in characters: ``██`` all pairs of a cell, ``▒▒`` some, ``··`` none.

    Args:
        pattern: the pattern.
        context: the call.
        size: cells along the longer side, at most.
        head: the query head.

    Raises:
        UserError: this call cannot have the pattern, or has no such head.
    """
    if not 0 <= head < context.heads:
        raise UserError(f"head={head} of {context.heads}; heads are counted from 0")
    cells = density_map(pattern, context, size)
    own = cells[head * len(cells) // context.heads]
    return "\n".join(
        "".join("██" if share == 1 else "▒▒" if share > 0 else "··" for share in row)
        for row in own.tolist()
    )


def save_picture(
    pattern: AttentionPattern, context: Context, path: str | Path, size: int = 256
) -> None:
    """Write a figure of a pattern, a panel for each different mask of its heads (16 at most).

    Args:
        pattern: the pattern.
        context: the call; the bounds of its regions are drawn.
        path: file, whose ending says the format: ``.png``, ``.svg``, ``.pdf``.
        size: cells along the longer side, at most.

    Raises:
        UserError: this call cannot have the pattern; matplotlib is missing.
    """
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise UserError(
            f"{path}: pictures of patterns need matplotlib; pip install matplotlib, or print "
            "picture_text"
        ) from None
    cells = density_map(pattern, context, size)[:16]
    across = min(4, len(cells))
    down = -(-len(cells) // across)
    figure = Figure(figsize=(3 * across, 3 * down + 0.4), layout="constrained")
    panels = figure.subplots(down, across, squeeze=False).flat
    last = context.offset + context.queries
    for plane, panel in enumerate(panels):
        if plane >= len(cells):
            panel.axis("off")
            continue
        panel.imshow(
            cells[plane].numpy(),
            cmap="Blues",
            vmin=0,
            vmax=1,
            extent=(0, context.keys, last, context.offset),
            interpolation="nearest",
        )
        for region in context.regions:
            for edge in (region.start, region.stop):
                if context.offset <= edge <= last:
                    panel.axhline(edge, color="grey", linewidth=0.4)
                panel.axvline(edge, color="grey", linewidth=0.4)
        if len(cells) > 1:
            panel.set_title(f"head {plane * context.heads // pattern.planes(context)}", fontsize=8)
        panel.tick_params(labelsize=6)
    figure.suptitle(f"{pattern}", fontsize=9)
    figure.supxlabel("key", fontsize=8)
    figure.supylabel("query", fontsize=8)
    figure.savefig(path, dpi=150)
