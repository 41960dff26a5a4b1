"""Stages one and two: teach the vision tower what lies where, then align the projector with words.

Trained end to end from nothing, a model of this size never leaves chance. So the tower first
learns with dense supervision (which thing and which colour covers each patch), is frozen, and the
projector then learns to put the sum of the words for a patch's content where the patch is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from transformers import LlavaForConditionalGeneration, PreTrainedTokenizerFast

from lmms_causal.tasks.causal_vqa_mini.draws import Draws
from lmms_causal.tasks.causal_vqa_mini.scenes import TRAIN, draw_pair, object_scene, pair_scene
from lmms_causal.tasks.causal_vqa_mini.world import (
    ACTORS,
    COLOURS,
    OBJECTS,
    SIZE,
    Scene,
    add_noise,
    coverage,
    pixels,
)
from lmms_causal.tiny_llava.build import HIDDEN, PATCH, to_pixel_values
from lmms_causal.tiny_llava.optimiser import Optimiser

_CLASSES = (
    "",
    *OBJECTS,
    *(f"{name} moved" for name in ACTORS),
    *(f"{name} fell" for name in ACTORS),
)
_COLOURS = tuple(COLOURS)
_CAUSAL_SHARE = 0.3
_BATCH = 64
_STAGE_TOWER, _STAGE_PROJECTOR = 1, 2
EMBEDDING_SD = 0.5


def patch_labels(scene: Scene) -> tuple[np.ndarray, np.ndarray]:
    """For each of the 36 patches its class (0 none) and its colour (-1 none), int64 ``(36,)``.

    A patch belongs to the thing with the most solid pixels in it (covered at 7 of 16 points or
    more), if those are at least ten of its 64.
    """
    grid = SIZE // PATCH
    classes = np.zeros(grid * grid, dtype=np.int64)
    colours = np.full(grid * grid, -1, dtype=np.int64)
    most = np.full(grid * grid, 9)
    for thing in scene.things:
        solid = coverage(thing) >= 7
        count = solid.reshape(grid, PATCH, grid, PATCH).sum(axis=(1, 3)).reshape(-1)
        wins = count > most
        most[wins] = count[wins]
        state = thing.name if thing.pose == "still" else f"{thing.name} {thing.pose}"
        classes[wins] = _CLASSES.index(state)
        colours[wins] = -1 if thing.colour is None else _COLOURS.index(thing.colour)
    return classes, colours


def _batch(
    draws: Draws, clean: float, max_sd: float
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Pixel values (B, 3, 48, 48), classes and colours (B, 36) of balanced scenes."""
    images, classes, colours = [], [], []
    for _ in range(_BATCH):
        if draws.chance(_CAUSAL_SHARE):
            scene = pair_scene(draws, *draw_pair(draws, "balanced"))
        else:
            scene = object_scene(draws, "balanced")
        sd = 0.0 if draws.chance(clean) else max_sd * draws.uniform()
        images.append(add_noise(pixels(scene), sd, draws.seed()))
        labels = patch_labels(scene)
        classes.append(labels[0])
        colours.append(labels[1])
    return (
        to_pixel_values(np.stack(images)),
        torch.from_numpy(np.stack(classes)),
        torch.from_numpy(np.stack(colours)),
    )


def patch_features(model: LlavaForConditionalGeneration, values: torch.Tensor) -> torch.Tensor:
    """What the projector receives: (B, 36, hidden) from pixel values (B, 3, 48, 48)."""
    return model.model.vision_tower(values).last_hidden_state[:, 1:]


def train_tower(
    model: LlavaForConditionalGeneration, seed: int, steps: int = 450
) -> dict[str, float]:
    """Stage one: dense supervision of the vision tower, which is frozen afterwards.

    Returns the accuracies on the last tenth of the (noisy) training batches: ``object`` on
    patches with something on them, ``colour`` on patches of coloured objects.
    """
    heads = nn.ModuleDict(
        {"class": nn.Linear(HIDDEN, len(_CLASSES)), "colour": nn.Linear(HIDDEN, len(_COLOURS))}
    )
    tower = model.model.vision_tower
    optimiser = Optimiser(
        [*tower.parameters(), *heads.parameters()], rate=1.5e-3, steps=steps, decay=0.02, warmup=50
    )
    weight = torch.ones(len(_CLASSES))
    weight[0] = 0.3
    counts = torch.zeros(4)
    for step in range(steps):
        values, classes, colours = _batch(Draws(TRAIN, _STAGE_TOWER, seed, step), 0.3, 140.0)
        features = patch_features(model, values)
        kinds, shades = heads["class"](features), heads["colour"](features)
        coloured = colours >= 0
        loss = F.cross_entropy(kinds.flatten(0, 1), classes.flatten(), weight)
        optimiser.step(loss + F.cross_entropy(shades[coloured], colours[coloured]))
        if step >= steps * 9 // 10:
            there = classes > 0
            counts += torch.stack(
                [
                    (kinds.argmax(-1) == classes)[there].sum(),
                    there.sum(),
                    (shades.argmax(-1) == colours)[coloured].sum(),
                    coloured.sum(),
                ]
            )
        if step % 50 == 0:
            print(f"tower {step:5d}  loss {loss.item():.3f}", flush=True)
    tower.requires_grad_(False)
    return {
        "object": round((counts[0] / counts[1]).item(), 4),
        "colour": round((counts[2] / counts[3]).item(), 4),
    }


def align_projector(
    model: LlavaForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    seed: int,
    steps: int = 250,
) -> float:
    """Stage two: scale the word embeddings, then regress the projector on words for each patch.

    A patch's target is the sum of the embeddings of its object and colour (of its actor and
    ``moved`` or ``fell``), zero for background. Returns the last mean squared error over the
    targets' variance.
    """
    generator = torch.Generator().manual_seed(seed)
    words = model.model.language_model.embed_tokens.weight
    projector = model.model.multi_modal_projector
    with torch.no_grad():
        words *= EMBEDDING_SD / words.std()
        for layer in (projector.linear_1, projector.linear_2):
            layer.weight.normal_(0, 0.06, generator=generator)
            layer.bias.zero_()

    def meaning(text: str) -> torch.Tensor:
        ids = [tokenizer.encode(" " + word, add_special_tokens=False)[0] for word in text.split()]
        return words[ids].detach().sum(0)

    class_targets = torch.stack(
        [meaning(text) if text else torch.zeros(HIDDEN) for text in _CLASSES]
    )
    # Row -1, no colour, is the zero vector at the end.
    colour_targets = torch.stack([*(meaning(text) for text in _COLOURS), torch.zeros(HIDDEN)])
    optimiser = Optimiser(projector.parameters(), rate=4e-3, steps=steps)
    error = float("nan")
    for step in range(steps):
        values, classes, colours = _batch(Draws(TRAIN, _STAGE_PROJECTOR, seed, step), 0.4, 120.0)
        with torch.no_grad():
            features = patch_features(model, values)
        target = class_targets[classes] + colour_targets[colours]
        loss = F.mse_loss(projector(features), target)
        optimiser.step(loss)
        error = loss.item() / (target**2).mean().item()
        if step % 50 == 0:
            print(f"projector {step:5d}  error {error:.3f}", flush=True)
    return round(error, 4)
