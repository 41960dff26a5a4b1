"""Random numbers by place: uniform, independent of batch, padding and cache."""

from __future__ import annotations

import torch

from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.edits.draws import permuted, uniform


def grid(
    rows: int = 2, queries: int = 6, keys: int = 6, *, layer: int = 3, padding: int = 0
) -> Coordinates:
    return Coordinates(
        layer,
        (torch.arange(queries) - padding)[None].expand(rows, -1),
        (torch.arange(keys) - padding)[None].expand(rows, -1),
        tuple(range(40, 40 + rows)),
    )


def test_numbers_are_uniform_and_unrelated_between_neighbours():
    draws = uniform(grid(2, 300, 300), heads=4, seed=0)
    assert draws.min() > 0
    assert draws.max() < 1
    flat = draws.flatten()
    histogram = torch.histc(flat.float(), bins=20, min=0, max=1) / flat.numel()
    assert (histogram - 0.05).abs().max() < 0.001
    for moved in (draws[:, 1:], draws[:, :, 1:], draws[:, :, :, 1:], draws[1:]):
        still = draws[tuple(slice(0, size) for size in moved.shape)]
        assert abs(torch.corrcoef(torch.stack([moved.flatten(), still.flatten()]))[0, 1]) < 0.01


def test_a_number_depends_on_its_place_not_on_padding_batch_or_what_is_computed():
    whole = uniform(grid(), heads=3, seed=5)
    padded = uniform(grid(2, 8, 8, padding=2), heads=3, seed=5)
    assert torch.equal(padded[:, :, 2:, 2:], whole)
    last = Coordinates(3, torch.tensor([[5]]), torch.arange(6)[None], (41,))
    assert torch.equal(uniform(last, heads=3, seed=5)[0, :, 0], whole[1, :, 5])


def test_seed_layer_and_document_change_every_number():
    whole = uniform(grid(), heads=3, seed=5)
    assert (uniform(grid(), heads=3, seed=6) != whole).all()
    assert (uniform(grid(layer=4), heads=3, seed=5) != whole).all()
    assert (whole[0] != whole[1]).all()


def test_a_permutation_keeps_what_is_allowed_and_ignores_the_rest():
    weights = torch.tensor([0.1, 9.0, 0.2, 0.3, 9.0])
    allowed = torch.tensor([True, False, True, True, False])
    numbers = torch.tensor([30, 5, 10, 20, 1])
    expected = torch.tensor([0.2, 0, 0.3, 0.1, 0])
    assert torch.equal(permuted(weights, allowed, numbers), expected)
