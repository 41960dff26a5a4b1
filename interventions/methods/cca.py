"""Concentric causal attention (untrained): number a picture's tokens by rings, from outside in.

Xing et al., "Mitigating Object Hallucination via Concentric Causal Attention", NeurIPS 2024,
arXiv 2410.15926; code xing0047/cca-llava.

CCA is a way to *train*: both stages of LLaVA-1.5 were redone with it. On a model that was not
trained so, this is an ablation of ours, to be reported as "cca (untrained)"; the paper has no such
result. On the released weights, ``xing0047/cca-llava-1.5-7b``, it is the method itself;
``lmms-causal convert-checkpoint`` makes them readable for transformers.

Equations
---------
A token in row ``r`` and column ``c`` of a picture of ``h x w`` tokens is in ring ``min(r, c, h-1-r,
w-1-c)``, 0 at the edge; there are ``R = ceil(min(h, w) / 2)`` rings. Positions of a picture that
begins at ``p``, and what its tokens see of it, are::

    position = p + ring        the next token: p + R
    query sees key             where ring(key) <= ring(query)

Everything else stays causal. 24 x 24 tokens take up 12 positions, and the first token after them is
8.5 positions away from one of them in the mean, instead of 288.5.

Cost
----
In the prompt's pass attention takes a mask, of the prompt's length squared. Nothing in decoding.

Paper and code
--------------
The code knows one picture of 24 x 24 tokens, at batch 1. Several pictures, batches, and squares of
other sizes are ours: each picture, or tile of one, is a square of its own. That needs a model whose
visual tokens all come in squares, and whose positions have one axis: where a picture is laid out
on several already, as in Qwen-VL, rings mean nothing. Gemma 3 lets all tokens of a picture see each
other; here they see by rings. All passes read in this way, those of contrasts too. A single token,
and a prompt without a picture, are untouched.

Published
---------
LLaVA-1.5-7B, trained without CCA to trained with it. POPE, mean of three splits, accuracy / F1:
COCO 81.38/79.65 to 86.86/85.54, A-OKVQA 79.13/79.10 to 86.99/86.81, GQA 78.99/79.13 to 85.69/85.32.
CHAIR, greedy, CHAIR_S / CHAIR_I: 512 tokens 46.2/12.9 to 43.0/11.5, 64 tokens 21.0/6.2 to 18.2/5.4.
MME, hallucination subset: 565.33 to 641.66. GQA 62.0 to 63.1, VizWiz 50.0 to 57.6, ScienceQA 66.8
to 69.8, TextVQA 58.2 to 57.8.

Unverified
----------
Any result of a model that was not trained with it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.edits import AttentionEdit, Close, Open, Where
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.spans import IMAGE
from lmms_causal.interventions.plan import Plan, PositionEdit
from lmms_causal.interventions.registry import method

__all__ = ["CCA", "concentric_positions", "rings", "seen_by_rings"]


@method
@dataclass(frozen=True)
class CCA:
    """Concentric causal attention has no parameters."""

    def plan(self) -> Plan:
        """Positions, and the mask within pictures, of the factual pass and of all branches."""
        within = Where(queries=IMAGE, keys=IMAGE)
        return Plan(
            attention=(
                AttentionEdit(Open(seen_by_rings), within, everywhere=True),
                AttentionEdit(Close(hidden_by_rings), within, everywhere=True),
            ),
            positions=PositionEdit("cca", concentric_positions),
            requirements=(self.obstacle,),
        )

    def obstacle(self, adapter: ModelAdapter) -> str | None:
        """Why the method cannot run on a model, or None."""
        if not adapter.sees:
            return "cca numbers the tokens of pictures, and the model reads text only"
        if adapter.places_pictures:
            return "its positions lay pictures out on several axes already; cca is for one axis"
        if adapter.family is None or adapter.family.view_side(adapter.model.config) is None:
            return "cca needs visual tokens that all lie in squares, and its pictures vary in shape"
        return None


def rings(height: int, width: int) -> Tensor:
    """Return the ring of each token of a picture ``[height, width]``, 0 at the edge, int64."""
    rows, columns = torch.arange(height)[:, None], torch.arange(width)[None]
    across = torch.minimum(columns, width - 1 - columns)
    return torch.minimum(torch.minimum(rows, height - 1 - rows), across)


def concentric_positions(layout: Layout, plain: Tensor) -> Tensor:
    """Return the positions ``[R, N]`` of all columns, from those without CCA."""
    view, ring = _rings_of(layout)
    assert layout.side is not None
    last = view.ne(view.roll(-1, dims=1))
    last[:, -1] = True
    taken = torch.where(view < 0, 1, torch.where(last, (layout.side + 1) // 2, 0))
    taken = taken.masked_fill(~layout.real, 0)
    before = taken.cumsum(dim=1) - taken
    return (before + ring.clamp(min=0)).to(plain)


def seen_by_rings(layout: Layout, queries: Tensor, keys: Tensor) -> Tensor:
    """Return which keys of a query's own picture it sees, ``[R, q, n]`` bool."""
    same, inner = _compared(layout, queries, keys)
    return same & ~inner


def hidden_by_rings(layout: Layout, queries: Tensor, keys: Tensor) -> Tensor:
    """Return which keys of a query's own picture it does not see, ``[R, q, n]`` bool."""
    same, inner = _compared(layout, queries, keys)
    return same & inner


def _compared(layout: Layout, queries: Tensor, keys: Tensor) -> tuple[Tensor, Tensor]:
    """Whether keys are in the same picture, and in a ring further in; both ``[R, q, n]``."""
    view, ring = (found.to(queries.device) for found in _rings_of(layout))
    same = (view[:, queries, None] == view[:, None, keys]) & (view[:, queries, None] >= 0)
    return same, ring[:, None, keys] > ring[:, queries, None]


def _rings_of(layout: Layout) -> tuple[Tensor, Tensor]:
    """The picture and the ring of each column, ``[R, N]``; -1 where there is no picture."""
    view, place = layout.views()
    assert layout.side is not None
    ring = rings(layout.side, layout.side).flatten().to(place.device)
    return view, torch.where(place < 0, -1, ring[place.clamp(min=0)])
