"""The embedded default model: a LLaVA of 1.5 million parameters trained on rendered scenes.

`path` is the directory of the shipped checkpoint, a stock `transformers` checkpoint of
``LlavaForConditionalGeneration`` that loads without a network. Importing this package does not
import torch. README.md in this folder is the model card.
"""

from __future__ import annotations

from pathlib import Path

from lmms_causal.errors import UserError

__all__ = ["NAME", "path"]

NAME = "lmms-causal/tiny-llava"
"""The name under which the command lines know the model."""


def path() -> Path:
    """The directory of the shipped checkpoint.

    Raises `UserError` if the installation lacks it (a source tree without its data files).
    """
    folder = Path(__file__).parent / "checkpoint"
    if not (folder / "model.safetensors").is_file():
        raise UserError(
            f"{NAME}: no checkpoint in {folder}; train it with "
            f"`python -m lmms_causal.tiny_llava.train --seed 0 --out {folder}` or reinstall"
        )
    return folder
