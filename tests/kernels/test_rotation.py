"""Rotation: against complex numbers, and as the inverse of a model's own embedding."""

from __future__ import annotations

import pytest
import torch

from lmms_causal.kernels.rotation import Rotation, rotate, undo


def frequencies(count: int, base: float = 10000.0) -> torch.Tensor:
    return base ** (-torch.arange(count, dtype=torch.float64) / count)


@pytest.mark.parametrize("interleaved", [False, True])
@pytest.mark.parametrize("width", [8, 12])  # all dimensions turn, and two thirds of them
def test_pairs_turn_as_complex_numbers(interleaved, width) -> None:
    draw = torch.Generator().manual_seed(0)
    x = torch.randn(3, 5, width, generator=draw, dtype=torch.float64)
    angle = torch.randint(-4000, 4000, (3, 5), generator=draw)
    rotation = Rotation(frequencies(4), interleaved)
    turned = rotate(x, angle, rotation)
    first, second = (slice(0, 8, 2), slice(1, 8, 2)) if interleaved else (slice(0, 4), slice(4, 8))
    want = torch.complex(x[..., first], x[..., second]) * torch.exp(
        1j * angle[..., None] * frequencies(4)
    )
    torch.testing.assert_close(turned[..., first], want.real, atol=1e-11, rtol=0)
    torch.testing.assert_close(turned[..., second], want.imag, atol=1e-11, rtol=0)
    assert torch.equal(turned[..., 8:], x[..., 8:])
    torch.testing.assert_close(rotate(turned, -angle, rotation), x, atol=1e-11, rtol=0)


def test_angle_and_vectors_broadcast_and_a_number_turns_all() -> None:
    x = torch.randn(2, 1, 5, 8, dtype=torch.float64)
    rotation = Rotation(frequencies(4))
    angle = torch.tensor([[3], [-7], [11]])
    turned = rotate(x, angle, rotation)
    assert turned.shape == (2, 3, 5, 8)
    torch.testing.assert_close(turned[:, 1:2], rotate(x, -7, rotation), atol=0, rtol=0)


def test_large_angles_stay_exact_in_float32_and_are_rounded_once_in_bfloat16() -> None:
    x = torch.randn(64, 8, dtype=torch.float64)
    angle = torch.randint(30000, 130000, (64,))
    exact = rotate(x, angle, Rotation(frequencies(4).float().double()))
    rotation = Rotation(frequencies(4).float())
    torch.testing.assert_close(
        rotate(x.float(), angle, rotation).double(), exact, atol=2e-6, rtol=0
    )
    half = x.bfloat16()
    want = rotate(half.double(), angle, Rotation(frequencies(4).float().double())).bfloat16()
    assert (rotate(half, angle, rotation) != want).float().mean() < 0.01  # ties of rounding


def test_undo_takes_off_the_rounding_of_the_models_angles() -> None:
    """A model's angle is a float32 product, wrong by 1e-4 and more far out; undo knows it."""
    inv_freq = frequencies(4, 100.0).float()
    x = torch.randn(1, 8)
    places = torch.tensor([5, 30001])
    theta = places.float()[:, None] * inv_freq
    cos, sin = (torch.cat([part, part], -1) for part in (theta.cos(), theta.sin()))
    rotated = x * cos + torch.cat([-x[..., 4:], x[..., :4]], -1) * sin
    back = undo(rotated, places, Rotation(inv_freq))
    torch.testing.assert_close(back, x.expand(2, -1), atol=1e-6, rtol=0)


def test_undo_by_several_axes() -> None:
    rotation = Rotation(frequencies(4), axes=torch.tensor([0, 1, 2, 1]))
    positions = torch.tensor([[4, 9], [2, 7], [8, 1]])
    x = torch.randn(2, 8, dtype=torch.float64)
    angle = torch.stack([positions[axis] for axis in (0, 1, 2, 1)], -1) * frequencies(4)
    pairs = torch.complex(x[:, :4], x[:, 4:]) * torch.exp(1j * angle)
    back = undo(torch.cat([pairs.real, pairs.imag], -1), positions, rotation)
    torch.testing.assert_close(back, x, atol=1e-12, rtol=0)
