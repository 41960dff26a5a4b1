"""Walk over the image and video tensors of any model family, a picture (or tile) at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

__all__ = ["MEDIA_INPUTS", "blanked", "content_generator", "edit_pixels", "has_pixels"]

MEDIA_INPUTS = (
    "pixel_values",
    "pixel_values_videos",
    "image_grid_thw",
    "video_grid_thw",
    "second_per_grid_ts",
    "image_sizes",
    "image_sizes_videos",
    "batch_num_images",
    "pixel_attention_mask",
    "image_hidden_states",
    "mm_encoder_outputs",
    "mm_token_type_ids",
)
"""Names of the model inputs that a prompt without pictures does not have."""

_GRID_OF = {"pixel_values": "image_grid_thw", "pixel_values_videos": "video_grid_thw"}


def has_pixels(inputs: Mapping[str, Any]) -> bool:
    """Whether the model inputs carry an image or a video."""
    return any(inputs.get(key) is not None for key in _GRID_OF)


def edit_pixels(inputs: Mapping[str, Any], edit: Callable[[Tensor], Tensor]) -> dict[str, Any]:
    """Apply ``edit`` to every picture and return the replaced inputs (only those).

    Layouts:
        * ``[..., C, H, W]``: every trailing ``[C, H, W]`` is a picture (image, tile or frame). With
          two leading dimensions or more, a picture that is zero throughout is padding by the
          processor, which the models recognise by its zeros; it is left alone.
        * ``[sum T*H*W, d]`` with ``image_grid_thw [n, 3]`` (Qwen-VL family): the rows of patches
          that belong to one image or video are a picture.
    """
    replaced: dict[str, Any] = {}
    for key, grid_key in _GRID_OF.items():
        pixels = inputs.get(key)
        if pixels is None:
            continue
        if pixels.ndim == 2:
            grid = inputs.get(grid_key)
            if grid is None:
                raise ValueError(f"{key} of shape {tuple(pixels.shape)} comes without {grid_key}")
            sizes = grid.prod(dim=-1).tolist()
            replaced[key] = torch.cat([edit(picture) for picture in pixels.split(sizes)])
        else:
            pictures = pixels.flatten(0, -4) if pixels.ndim > 3 else pixels[None]
            padded = pixels.ndim > 4
            edited = [
                picture if padded and not picture.any() else edit(picture) for picture in pictures
            ]
            replaced[key] = torch.stack(edited).reshape(pixels.shape)
    return replaced


def blanked(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return the picture inputs with every picture blank: of the colour that processors centre on.

    That is 0 after their normalisation, but for a thousandth: families that cut pictures into tiles
    take one that is 0 throughout for padding.
    """
    return edit_pixels(inputs, lambda picture: torch.full_like(picture, 1e-3))


def content_generator(picture: Tensor, seed: int) -> torch.Generator:
    """Return a CPU generator seeded by a picture's content and a global seed.

    The draw for a document then depends neither on the batch it is in, nor on the order of the
    documents, the number of ranks, the harness or the wrapper, and every candidate answer scored
    for the document shares it.
    """
    content = picture.detach().to("cpu", torch.float32).contiguous().numpy().tobytes()
    digest = hashlib.blake2b(content, digest_size=8, key=str(seed).encode()).digest()
    return torch.Generator().manual_seed(int.from_bytes(digest, "big") >> 1)
