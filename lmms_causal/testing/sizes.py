"""Sizes that all tiny models share: deliberately unequal, and small."""

from __future__ import annotations

from typing import Any

__all__ = ["PATCH", "PATCHES", "TILE", "TILE_SIZE", "WIDTH", "text_sizes", "tower_sizes"]

WIDTH = 32
"""Hidden size of the decoder."""

TILE = 28
"""Side of a picture, or tile of one, in pixels."""

TILE_SIZE = {"height": TILE, "width": TILE}

PATCH = 7
"""Side of a patch of the CLIP-like towers, in pixels."""

PATCHES = (TILE // PATCH) ** 2
"""Patches of a tile."""


def text_sizes(tokenizer: Any, **further: Any) -> dict[str, Any]:
    """Arguments that every text configuration shares."""
    return {
        "vocab_size": len(tokenizer),
        "hidden_size": WIDTH,
        "intermediate_size": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 4096,
        "tie_word_embeddings": False,
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **further,
    }


def tower_sizes(**further: Any) -> dict[str, Any]:
    """Arguments that the CLIP-like vision configurations share."""
    return {
        "hidden_size": 24,
        "intermediate_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 3,
        "image_size": TILE,
        "patch_size": PATCH,
        **further,
    }
