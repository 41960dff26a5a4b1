"""Importance of segments: a hand-computed case, ties, and pieces of any size."""

from __future__ import annotations

import math

import pytest
import torch

from lmms_causal.kernels.segments import importance as module
from lmms_causal.kernels.segments import segment_importance, token_importance


def test_importance_is_a_mean_over_tokens_and_a_sum_over_queries() -> None:
    q0 = torch.zeros(1, 2, 4)
    k0 = torch.zeros(1, 5, 4)
    q0[0, :, 0], k0[0, 1, 0] = 1.0, math.log(6.0)  # the second key has the weight 6 of others
    got = token_importance(q0, k0, [1, 2, 2], scale=1.0)
    torch.testing.assert_close(got, torch.tensor([[[0.1, 0.35, 0.1]] * 2]))
    got = segment_importance(q0, k0, [1, 2, 2], 2, scale=1.0)
    torch.testing.assert_close(got, torch.tensor([[2 / 8, 2 * 3.5 / 8, 0.0]]))


def test_equal_keys_are_equally_important() -> None:
    """By queries of zero all weights are 1/16, and sums of them exact."""
    k0 = torch.randn(2, 16, 8, dtype=torch.float64)
    importance = token_importance(torch.zeros(4, 2, 8).double(), k0, [4] * 4, scale=0.6)
    assert torch.equal(importance, torch.full((4, 2, 4), 1 / 16).double())
    importance = segment_importance(torch.zeros(4, 4, 8).double(), k0, [4] * 4, 1, scale=0.6)
    order = importance.argsort(dim=-1, descending=True, stable=True)
    assert (order == torch.tensor([0, 2, 3, 1])).all()


@pytest.mark.parametrize("held", [1, 100, 1 << 20])  # a row of one key head, some, all at once
@pytest.mark.parametrize("softcap", [None, 1.5])
def test_pieces_give_the_whole(monkeypatch, held, softcap) -> None:
    monkeypatch.setattr(module, "_SCORES", held)
    draw = torch.Generator().manual_seed(0)
    q0, k0 = (torch.randn(h, m, 8, generator=draw).double() for h, m in ((6, 7), (2, 12)))
    scores = 0.6 * q0 @ k0.repeat_interleave(3, 0).mT
    if softcap is not None:
        scores = softcap * torch.tanh(scores / softcap)
    lengths, options = [5, 1, 6], {"scale": 0.6, "softcap": softcap}
    want = torch.stack([part.mean(-1) for part in scores.softmax(-1).split(lengths, -1)], -1)
    got = token_importance(q0, k0, lengths, **options)
    torch.testing.assert_close(got, want, atol=1e-13, rtol=0)
    scores[..., 5] = -torch.inf  # the second segment's own key
    want = torch.stack([part.mean(-1) for part in scores.softmax(-1).split(lengths, -1)], -1)
    got = segment_importance(q0, k0, lengths, 1, **options)
    torch.testing.assert_close(got, want.sum(1), atol=1e-13, rtol=0)
