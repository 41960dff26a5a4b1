"""Where a picture's visual tokens are in its prompt, and how they lie on the picture."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter.model_adapter import ModelAdapter

__all__ = ["Grid", "overview"]


@dataclass(frozen=True)
class Grid:
    """The visual tokens that form one rectangular view of a picture, row by row.

    Attributes:
        positions: indices ``[height * width]`` in the prompt's row, padding included.
        height: rows of tokens.
        width: tokens in a row.
    """

    positions: Tensor
    height: int
    width: int


def overview(adapter: ModelAdapter, inputs: Mapping[str, Any]) -> Grid:
    """Return the grid of the view of a whole picture, which is the only one in its prompt.

    Families that cut pictures into tiles also show the whole of it, smaller; that view is meant.

    Args:
        adapter: the model.
        inputs: model inputs of a batch of one, with one picture and no video.

    Raises:
        UserError: the family is unknown, or the prompt does not have the tokens it should have.
    """
    family = adapter.family
    if family is None:
        raise UserError(
            f"{adapter.kind}: how its visual tokens lie on a picture is not known; use a model of "
            "a family in interventions/adapter/families.py, or add its entry there"
        )
    found = adapter.is_visual(inputs["input_ids"][0]).nonzero()[:, 0]
    height, width = _shape(family.overview_tokens(adapter.model.config), adapter, inputs)
    count = height * width
    exact = family.overview in ("whole", "grid")
    if count > len(found) or (exact and count != len(found)):
        raise UserError(
            f"{adapter.kind}: the prompt has {len(found)} visual tokens, where a picture's view of "
            f"{height} x {width} was expected; ask with one picture and the model's own processor"
        )
    positions = found[len(found) - count :] if family.overview == "last" else found[:count]
    return Grid(positions, height, width)


def _shape(fixed: int | None, adapter: ModelAdapter, inputs: Mapping[str, Any]) -> tuple[int, int]:
    """Rows and columns of the view: a square of a fixed number, or what the inputs say."""
    if fixed is not None:
        return math.isqrt(fixed), math.isqrt(fixed)
    grid = inputs.get("image_grid_thw")
    if grid is None or len(grid) != 1:
        raise UserError(f"{adapter.kind}: its inputs must have image_grid_thw for one picture")
    merge = adapter.model.config.vision_config.spatial_merge_size
    _, height, width = grid[0].tolist()
    return height // merge, width // merge
