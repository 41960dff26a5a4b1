"""Other attention weights: the worked numbers, and what each kind keeps."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.edits.counterfactual import (
    released_factors,
    released_rows,
    replaced,
)

WEIGHTS = torch.tensor([[1, 0, 0, 0], [0.7, 0.3, 0, 0], [0.2, 0.3, 0.5, 0], [0.1, 0.2, 0.3, 0.4]])[
    None, None
]
CAUSAL = torch.ones(4, 4, dtype=torch.bool).tril()[None, None]


def place(rows: int, length: int, *, padding: int = 0, count: int | None = None) -> Coordinates:
    """The last ``length`` queries of ``count`` keys."""
    count = length if count is None else count
    keys = torch.arange(count) - padding
    return Coordinates(2, keys[-length:].expand(rows, -1), keys.expand(rows, -1), (7,) * rows)


def test_worked_examples_of_the_decoder():
    where = place(1, 4)
    third = 1 / 3
    reversed_ = replaced("reversed", WEIGHTS, CAUSAL, where, 0)
    expected = [[1, 0, 0, 0], [0, 1, 0, 0], [0.6, 0.4, 0, 0], [0.5, third, third / 2, 0]]
    torch.testing.assert_close(reversed_[0, 0], torch.tensor(expected))
    uniform = replaced("uniform", WEIGHTS, CAUSAL, where, 0)
    torch.testing.assert_close(uniform.sum(-1)[0, 0], torch.ones(4))
    assert [row[row > 0].unique().item() for row in uniform[0, 0]] == pytest.approx(
        [1, 0.5, third, 0.25]
    )
    released = released_rows("reversed", WEIGHTS, CAUSAL, where, 0)
    expected = [[0, 0, 0, 0], [0, 0.4, 0, 0], [0.3, 0.2, 0, 0], [0.3, 0.2, 0.1, 0]]
    torch.testing.assert_close(released[0, 0], torch.tensor(expected))
    released = released_rows("uniform", WEIGHTS, CAUSAL, where, 0)
    torch.testing.assert_close(released.sum(-1)[0, 0], torch.tensor([0.25, 0.5, 0.75, 1]))


def drawn(rows: int, heads: int, length: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Causal attention weights and what they are allowed to see."""
    scores = torch.randn(rows, heads, length, length, generator=torch.Generator().manual_seed(3))
    allowed = torch.ones(length, length, dtype=torch.bool).tril().expand(rows, 1, -1, -1)
    return scores.masked_fill(~allowed, -torch.inf).softmax(-1), allowed


@pytest.mark.parametrize("kind", ["random", "uniform", "reversed", "shuffled"])
def test_rows_sum_to_one_over_what_is_allowed(kind):
    weights, allowed = drawn(2, 3, 9)
    result = replaced(kind, weights, allowed, place(2, 9), 0)
    torch.testing.assert_close(result.sum(-1), torch.ones(2, 3, 9))
    assert (result.masked_select(~allowed) == 0).all()
    assert (result >= 0).all()
    assert torch.equal(result[:, :, 0], weights[:, :, 0])


def test_shuffled_rows_keep_their_values_in_an_order_of_their_own():
    weights, allowed = drawn(1, 4, 40)
    result = replaced("shuffled", weights, allowed, place(1, 40), 0)
    torch.testing.assert_close(result.sort(-1).values, weights.sort(-1).values)
    orders = {tuple(row.argsort().tolist()) for row in result[0, :, -1]}
    assert len(orders) == 4
    moved = (result[0, :, -1, None] == weights[0, :, -1, :, None]).float().argmax(-1)
    assert (moved != torch.arange(40)).float().mean() > 0.8


@pytest.mark.parametrize("kind", ["random", "shuffled"])
def test_a_row_is_edited_alike_with_padding_a_cache_or_later_tokens_in_view(kind):
    weights, allowed = drawn(1, 3, 6)
    whole = replaced(kind, weights, allowed, place(1, 6), 5)
    pad = (2, 0, 2, 0)
    padded_allowed = torch.nn.functional.pad(allowed, pad)
    padded = replaced(
        kind, torch.nn.functional.pad(weights, pad), padded_allowed, place(1, 8, padding=2), 5
    )
    torch.testing.assert_close(padded[:, :, 2:, 2:], whole, atol=0, rtol=1e-6)
    assert not padded[:, :, :2].any()
    last = replaced(kind, weights[:, :, -1:], allowed[:, :, -1:], place(1, 1, count=6), 5)
    torch.testing.assert_close(last, whole[:, :, -1:], atol=0, rtol=1e-6)


def test_released_factors_of_a_picture():
    weights, _ = drawn(2, 3, 17)
    where = Coordinates(2, torch.arange(17)[None], torch.arange(17)[None], (0,))
    uniform = released_factors("uniform", weights, where, 0)
    torch.testing.assert_close(uniform, torch.full((2, 16), 1 / 17))
    edited = weights.amax((-2, -1), keepdim=True) - weights
    small = torch.nn.functional.interpolate(edited, (4, 4), mode="bilinear").mean(1).flatten(1)
    torch.testing.assert_close(released_factors("reversed", weights, where, 0), small)
    random = released_factors("random", weights, where, 0)
    assert torch.equal(random[0], random[1])
    assert 0.7 < random.mean() < 1.3
    shuffled = released_factors("shuffled", weights, where, 0)
    assert shuffled.mean().item() == pytest.approx(1 / 17, rel=0.3)
    assert not torch.equal(shuffled, released_factors("shuffled", weights, where, 1))
    same = released_factors("shuffled", weights[:1].expand(2, -1, -1, -1), where, 0)
    assert torch.equal(same[0], same[1])
