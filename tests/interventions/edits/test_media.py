"""Walking over the pictures in the model inputs of every family, and the noise drawn for them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import parse
from lmms_causal.interventions.edits.media import content_generator, edit_pixels, has_pixels
from lmms_causal.interventions.methods.vcd import VCD, diffuse, signal_fraction
from lmms_causal.testing import Prompt, encode, family, names, picture, video

TILED = ("llava_next", "llava_onevision", "idefics3", "smolvlm")
WIDE, SMALL, SQUARE = picture(1, 64, 30), picture(2, 24, 24), picture(3, 56, 56)


def tags() -> Callable[[Tensor], Tensor]:
    """An edit that overwrites the first picture with 1, the second with 2, ..."""
    count = iter(range(1, 1000))
    return lambda pixels: torch.full_like(pixels, next(count))


# released schedule, DAMO-NLP-SG/VCD vcd_add_noise.py, evaluated with torch in float64
@pytest.mark.parametrize(
    ("step", "kept", "signal", "noise"),
    [
        (0, 0.999978, 0.999989, 0.004726),
        (100, 0.996589, 0.998293, 0.058406),
        (300, 0.962329, 0.980984, 0.194089),
        (500, 0.744799, 0.863017, 0.505175),
        (700, 0.351266, 0.592677, 0.805440),
        (900, 0.133143, 0.364888, 0.931051),
        (999, 0.081249, 0.285042, 0.958515),
    ],
)
def test_diffusion_follows_the_released_schedule(step, kept, signal, noise):
    assert signal_fraction()[step].item() == pytest.approx(kept, abs=1e-6)
    one, zero = torch.ones(1), torch.zeros(1)
    assert diffuse(one, zero, step).item() == pytest.approx(signal, abs=1e-6)
    assert diffuse(zero, one, step).item() == pytest.approx(noise, abs=1e-6)


@pytest.mark.parametrize("name", names("vision"))
def test_every_picture_of_a_family_is_visited_once_and_shapes_are_kept(tiny, name):
    _, processor = tiny(name)
    inputs = encode(processor, [Prompt("a", (WIDE, SMALL)), Prompt("b", (SMALL,))])
    before = {key: value.clone() for key, value in inputs.items()}
    replaced = edit_pixels(inputs, tags())
    assert list(replaced) == ["pixel_values"]
    result, pixels = replaced["pixel_values"], inputs["pixel_values"]
    assert result.shape == pixels.shape and result.dtype == pixels.dtype
    for key, value in before.items():
        assert torch.equal(inputs[key], value), "the inputs themselves must not change"
    if pixels.ndim == 2:
        sizes = inputs["image_grid_thw"].prod(-1)
        expected = torch.arange(1, 4).repeat_interleave(sizes)
        assert torch.equal(result, expected.float()[:, None].expand_as(pixels))
    else:
        pictures = result.flatten(0, -4).flatten(1)
        shown = pictures[pictures.any(dim=1)]
        assert shown[:, 0].tolist() == list(range(1, len(shown) + 1))
        assert (shown == shown[:, :1]).all()


@pytest.mark.parametrize("name", TILED)
def test_padding_tiles_stay_zero_because_models_know_them_by_that(tiny, name):
    _, processor = tiny(name)
    inputs = encode(processor, [Prompt("a", (SMALL,)), Prompt("b", (SQUARE, WIDE))])
    pixels = inputs["pixel_values"].flatten(0, -4)
    padding = ~pixels.flatten(1).any(dim=1)
    assert padding.any(), "the example must have padding tiles"
    noised = VCD().noised(inputs)["pixel_values"].flatten(0, -4)
    assert (noised[padding] == 0).all()
    assert (noised[~padding] != pixels[~padding]).flatten(1).any(dim=1).all()


def test_a_black_picture_without_tiles_is_a_picture_not_padding():
    inputs = {"pixel_values": torch.zeros(2, 3, 4, 4)}
    assert VCD().noised(inputs)["pixel_values"].flatten(1).any(dim=1).all()


@pytest.mark.parametrize("name", [name for name in names("vision") if family(name).video])
def test_video_frames_are_noised_too(tiny, name):
    _, processor = tiny(name)
    inputs = encode(processor, [Prompt("a", videos=(video(1),))])
    replaced = VCD().noised(inputs)
    assert len(replaced) == 1
    ((key, noised),) = replaced.items()
    assert noised.shape == inputs[key].shape
    assert not torch.equal(noised, inputs[key])


@pytest.mark.parametrize("name", names("vision"))
def test_noise_of_a_picture_does_not_depend_on_its_batch_or_place(tiny, name):
    _, processor = tiny(name)
    one, other = Prompt("a", (WIDE,)), Prompt("a longer question", (SMALL,))

    def noised(prompts):
        pixels = VCD().noised(encode(processor, prompts))["pixel_values"]
        rows = pixels if pixels.ndim == 2 else pixels.flatten(0, -4).flatten(1)
        return sorted(row.double().sum().item() for row in rows if row.any())

    alone = sorted(noised([one]) + noised([other]))
    assert noised([one, other]) == noised([other, one]) == pytest.approx(alone, abs=1e-9)


def test_noise_depends_on_seed_and_picture_only():
    pictures = torch.rand(2, 3, 5, 7, generator=torch.Generator().manual_seed(0))

    def draw(pixels: Tensor, seed: int) -> Tensor:
        return torch.randn(4, generator=content_generator(pixels, seed))

    assert torch.equal(draw(pictures[0], 0), draw(pictures[0].clone(), 0))
    assert torch.equal(draw(pictures[0], 0), draw(pictures.transpose(2, 3)[0].transpose(1, 2), 0))
    assert not torch.equal(draw(pictures[0], 0), draw(pictures[0], 1))
    assert not torch.equal(draw(pictures[0], 0), draw(pictures[1], 0))


def test_noise_is_standard_normal_scaled_by_the_step():
    pixels = torch.rand(1, 3, 96, 96, generator=torch.Generator().manual_seed(0))
    noised = VCD(noise_step=700).noised({"pixel_values": pixels})["pixel_values"]
    noise = (noised - 0.592677 * pixels) / 0.805440
    # 27648 draws: the mean has a standard error of .006, the deviation of .0043
    assert abs(noise.mean().item()) < 0.03
    assert noise.std().item() == pytest.approx(1, abs=0.02)
    assert abs(torch.corrcoef(torch.stack([noise.flatten(), pixels.flatten()]))[0, 1]) < 0.03


def test_first_noise_step_hardly_changes_a_picture():
    pixels = torch.rand(1, 3, 20, 20, generator=torch.Generator().manual_seed(0))
    noised = VCD(noise_step=0).noised({"pixel_values": pixels})["pixel_values"]
    assert 0 < (noised - pixels).abs().max() < 0.03  # six deviations of .0047


def test_half_precision_pictures_keep_their_type():
    pixels = torch.rand(1, 3, 4, 4).to(torch.bfloat16)
    assert VCD().noised({"pixel_values": pixels})["pixel_values"].dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("inputs", "expected"),
    [
        ({}, False),
        ({"pixel_values": None, "input_ids": torch.ones(1, 1)}, False),
        ({"pixel_values": torch.ones(1, 3, 2, 2)}, True),
        ({"pixel_values_videos": torch.ones(1, 2, 3, 2, 2)}, True),
    ],
)
def test_pixels_are_recognised(inputs, expected):
    assert has_pixels(inputs) is expected


def test_patch_matrix_without_its_grid_is_refused():
    with pytest.raises(ValueError, match="image_grid_thw"):
        edit_pixels({"pixel_values": torch.ones(8, 1176)}, lambda pixels: pixels)


@pytest.mark.parametrize("spec", ["vcd(alpha=0;beta=0)", "vcd(alpha=0;beta=0.1)"])
def test_without_contrast_there_is_no_second_branch(spec):
    plan = parse(spec).plan()
    assert plan.branches == ()
    assert plan.touches_model is ("beta=0.1" in spec)


def test_out_of_range_parameters_are_refused_at_construction():
    for wrong in ({"alpha": -0.1}, {"beta": 2.0}, {"noise_step": -1}):
        with pytest.raises(UserError):
            VCD(**wrong)
