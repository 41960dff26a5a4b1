"""Which columns of a batch a span names."""

from __future__ import annotations

from functools import reduce

import torch
from torch import Tensor

from lmms_causal.interventions.attention.layout import Layout, Role
from lmms_causal.interventions.attention.spans import Span

__all__ = ["columns"]

_ROLES = {
    "system": Role.SYSTEM,
    "turn": Role.TURN,
    "image": Role.IMAGE,
    "tail": Role.TAIL,
    "generated": Role.GENERATED,
}


def columns(span: Span, layout: Layout) -> Tensor:
    """Return which columns a span names, padding included, ``[R, N]`` bool."""
    roles = layout.roles
    if span.kind in _ROLES:
        return roles == _ROLES[span.kind]
    if span.kind == "or":
        return reduce(torch.logical_or, (columns(it, layout) for it in span.of))
    if span.kind == "and":
        return reduce(torch.logical_and, (columns(it, layout) for it in span.of))
    if span.kind == "not":
        return ~columns(span.of[0], layout)
    if span.kind == "segment":
        return layout.segment(*span.numbers)
    if span.kind == "segments":
        return layout.segments > 0
    if span.kind == "sentences":
        assert layout.sentences is not None, "sentences are found where a plan reads them"
        start, stop = span.numbers
        return (layout.sentences >= start) & (layout.sentences <= stop)
    if span.kind == "prompt":
        return roles != Role.GENERATED
    index = layout.real.long().cumsum(dim=1) - 1  # of each token in its row
    if span.kind == "tokens":
        return (index >= span.numbers[0]) & (index <= span.numbers[1])
    if span.kind == "bos":
        return index == 0
    if span.kind == "question":
        image = roles == Role.IMAGE
        later = image.flip(1).long().cumsum(dim=1).flip(1) == 0
        return ((roles == Role.TURN) | (roles == Role.AROUND)) & later
    last = torch.zeros_like(layout.real)
    last[:, layout.prompt_end - 1] = True
    return last if span.kind == "last" else last | layout.generated | (span.kind == "all")
