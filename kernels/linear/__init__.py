"""Operators of attention that are not softmax over scores, or are softmax with a correction.

They are other functions than softmax attention: a model has to be trained with them. Each is
written three times: ``naive`` is its definition with a table of all pairs, ``recurrent`` takes one
token after another with a state, and ``chunk`` is what runs. All take ``[B, H, N, D]``, let heads
share keys, and carry on from a state.

lightning.py       linear attention with a constant decay for each head (Lightning Attention-2)
slopes.py          the decays
lightnet.py        linear attention with additive decay: keys normalised over the past (LightNet)
local_linear.py    a local linear fit of the values at every query (Local Linear Attention)
parallax.py        its form with a learned direction in place of the fit (Parallax)
row_blocks.py      softmax weights some rows at a time, for the last two
heads.py           what fits what; shared heads
through_fla.py     on GPUs, by the package flash-linear-attention where it is installed
"""

from lmms_causal.kernels.linear.heads import KeyValues
from lmms_causal.kernels.linear.lightnet import LightNetState, lightnet, lightnet_step
from lmms_causal.kernels.linear.lightning import lightning_attention, lightning_step
from lmms_causal.kernels.linear.local_linear import (
    local_linear_attention,
    local_linear_step,
)
from lmms_causal.kernels.linear.parallax import parallax, parallax_step
from lmms_causal.kernels.linear.slopes import lightning_slopes

__all__ = [
    "KeyValues",
    "LightNetState",
    "lightnet",
    "lightnet_step",
    "lightning_attention",
    "lightning_slopes",
    "lightning_step",
    "local_linear_attention",
    "local_linear_step",
    "parallax",
    "parallax_step",
]
