"""Train the tiny LLaVA from nothing: ``python -m lmms_causal.tiny_llava.train --seed 0 --out DIR``.

About a quarter of an hour on one core. The same seed gives the same data everywhere and, with the
same torch on the same processor, the same weights.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from lmms_causal.tiny_llava.build import build_model, build_processor, build_tokenizer
from lmms_causal.tiny_llava.language import train_language
from lmms_causal.tiny_llava.vision import align_projector, train_tower


@dataclass(frozen=True)
class Recipe:
    """Number of optimiser steps of each stage."""

    tower: int = 450
    projector: int = 250
    balanced: int = 1200
    prior: int = 800


def train(seed: int, out: Path, recipe: Recipe | None = None) -> dict:
    """Train and save a checkpoint; returns (and saves as ``training.json``) what was measured."""
    recipe = recipe or Recipe()
    torch.set_num_threads(1)
    torch.manual_seed(seed)
    tokenizer = build_tokenizer()
    processor = build_processor(tokenizer)
    model = build_model(len(tokenizer), seed)
    start = time.process_time()
    tower = train_tower(model, seed, recipe.tower)
    tower_end = time.process_time()
    error = align_projector(model, tokenizer, seed, recipe.projector)
    projector_end = time.process_time()
    history = train_language(model, tokenizer, seed, recipe.balanced, recipe.prior)
    end = time.process_time()
    model.requires_grad_(True)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    record = {
        "seed": seed,
        "recipe": asdict(recipe),
        "torch": torch.__version__,
        "parameters": sum(p.numel() for p in model.parameters()),
        "cpu_seconds": {
            "tower": round(tower_end - start, 1),
            "projector": round(projector_end - tower_end, 1),
            "language": round(end - projector_end, 1),
        },
        "tower_patch_accuracy": tower,
        "projector_error": error,
        "language_history": history,
    }
    (out / "training.json").write_text(json.dumps(record, indent=1) + "\n")
    return record


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0, help="fixes weights and data (default 0)")
    parser.add_argument("--out", type=Path, required=True, help="directory of the checkpoint")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    train(arguments.seed, arguments.out)


if __name__ == "__main__":
    main()
