"""The table of vision-language families; a family that is not in it is introspected.

Paths are relative to ``model.base_model``. Text models need no entry: decoder, layers and head are
found through transformers' own accessors.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal

__all__ = ["FAMILIES", "MARKERS", "Family", "family_of"]

MARKERS = (
    r"<\|vision_(start|end)\|>",
    r"<(start|end)_of_image>",
    r"</?img>",
    r"<fake_token_around_image>",
    r"<global-img>",
    r"<row_\d+_col_\d+>",
)
"""Texts of the special tokens that stand around pictures and go with them."""


@dataclass(frozen=True)
class Family:
    """Where the parts of one vision-language family are.

    Attributes:
        model_type: ``config.model_type`` of the whole model.
        tower: the vision encoder.
        blocks: its transformer blocks, from the tower.
        attention: the attention module of a block.
        projector: what maps visual features to the decoder's width.
        overview: which of a picture's visual tokens form one rectangular view of all of it:
            ``whole`` (all), ``first`` (a base view, then tiles), ``last`` (tiles, then a
            thumbnail), ``grid`` (as many as ``*_grid_thw`` says, in rows).
        square: whether the encoder sees square pictures of one size (patches in a square grid, with
            or without a class token), rather than a packed sequence of any shape.
        tiles: whether all visual tokens come in square views as large as the overview: the picture,
            or a tile of it, each.
    """

    model_type: str
    tower: str
    blocks: str
    attention: str
    projector: str
    overview: Literal["whole", "first", "last", "grid"]
    square: bool = True
    tiles: bool = False

    def overview_tokens(self, config: Any) -> int | None:
        """Visual tokens of the overview of one picture, where the configuration fixes it."""
        if self.overview == "grid":
            return None
        vision = config.vision_config
        size, patch = _side(vision.image_size), _side(vision.patch_size)
        patches = (size // patch) ** 2
        if self.model_type == "internvl":
            return int(patches * config.downsample_ratio**2)
        if self.model_type in ("idefics3", "smolvlm"):
            return patches // config.scale_factor**2
        if self.model_type == "gemma3":
            return int(config.mm_tokens_per_image)
        return patches

    def view_side(self, config: Any) -> int | None:
        """Tokens on a side of the views, where all visual tokens come in square ones; or None."""
        count = self.overview_tokens(config) if self.tiles else None
        return None if count is None else math.isqrt(count)


def _side(size: Any) -> int:
    return int(size[0] if isinstance(size, (list, tuple)) else size)


_LLAVA = ("vision_tower", "encoder.layers", "self_attn", "multi_modal_projector")
_QWEN = ("visual", "blocks", "attn", "visual.merger")
_IDEFICS = ("vision_model", "encoder.layers", "self_attn", "connector")

FAMILIES = {
    entry.model_type: entry
    for entry in (
        Family("llava", *_LLAVA, overview="whole", tiles=True),
        Family("llava_next", *_LLAVA, overview="first"),
        Family("llava_onevision", *_LLAVA, overview="first"),
        Family("qwen2_vl", *_QWEN, overview="grid", square=False),
        Family("qwen2_5_vl", *_QWEN, overview="grid", square=False),
        Family("qwen3_vl", *_QWEN, overview="grid", square=False),
        Family(
            "internvl",
            "vision_tower",
            "encoder.layer",
            "attention",
            "multi_modal_projector",
            overview="last",
            tiles=True,
        ),
        Family("idefics3", *_IDEFICS, overview="last", tiles=True),
        Family("smolvlm", *_IDEFICS, overview="last", tiles=True),
        Family("gemma3", *_LLAVA, overview="first", tiles=True),
    )
}
"""All entries by ``config.model_type``."""


def family_of(config: Any) -> Family | None:
    """Return the entry of a model's configuration, or None if there is none."""
    return FAMILIES.get(getattr(config, "model_type", ""))
