"""Random weights for a tiny model whose answers depend on its prompt and its picture."""

from __future__ import annotations

import torch
from torch import nn

__all__ = ["randomise"]

_EMBEDDINGS = ("embed", "cls_token", "image_newline")


@torch.no_grad()
def randomise(model: nn.Module, *, seed: int = 0, gain: float = 1.5) -> None:
    """Draw every matrix with standard deviation ``gain / sqrt(fan in)``; leave norms and biases.

    The usual initial deviation of 0.02 leaves a model of width 32 nearly constant: its logits would
    depend on nothing. Here logits have a spread of about one nat, so that greedy answers differ
    between prompts and follow the image. Draws are in order of parameter names, from one generator.
    """
    generator = torch.Generator().manual_seed(seed)
    scales = {f"{name}.weight": _embed_scale(part) for name, part in model.named_modules()}
    for name, parameter in sorted(model.named_parameters()):
        embedding = any(part in name for part in _EMBEDDINGS) and "patch_embed" not in name
        if parameter.ndim < 2 and not embedding:
            continue
        fan_in = 1 if embedding else parameter[0].numel()
        deviation = gain / fan_in**0.5 / scales.get(name, 1.0)
        parameter.copy_(torch.randn(parameter.shape, generator=generator) * deviation)


def _embed_scale(module: nn.Module) -> float:
    """What a module multiplies its embeddings by (Gemma: the root of the width), or 1."""
    return float(getattr(module, "embed_scale", 1.0))
