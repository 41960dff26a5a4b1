"""The table of tiny model families; adding one is adding an entry."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

import torch
from packaging.requirements import Requirement

from lmms_causal.errors import UserError
from lmms_causal.testing import llava_families as llava
from lmms_causal.testing import qwen_families as qwen
from lmms_causal.testing import text_families as text
from lmms_causal.testing import tiled_families as tiled
from lmms_causal.testing.weights import randomise

__all__ = ["FAMILIES", "Family", "build", "family", "names", "save"]


@dataclass(frozen=True)
class Family:
    """A family of models and how to build a tiny one.

    Attributes:
        name: key in :data:`FAMILIES`.
        kind: ``vision`` (image-text-to-text, with a processor) or ``text`` (with a tokenizer).
        assemble: returns an untrained model and its processor.
        video: whether the processor takes videos.
        requires: what the processor needs, as requirements of packages with their versions.
    """

    name: str
    kind: Literal["vision", "text"]
    assemble: Callable[[], tuple[Any, Any]]
    video: bool = False
    requires: tuple[str, ...] = ()

    def missing(self) -> tuple[str, ...]:
        """Return the requirements that the installed packages do not meet."""
        return tuple(text for text in self.requires if not _met(Requirement(text)))


def _met(requirement: Requirement) -> bool:
    try:
        return requirement.specifier.contains(version(requirement.name), prereleases=True)
    except PackageNotFoundError:
        return False


FAMILIES = {
    entry.name: entry
    for entry in (
        Family("llava", "vision", llava.build_llava),
        Family("llava_next", "vision", llava.build_llava_next),
        Family("llava_onevision", "vision", llava.build_llava_onevision, video=True),
        Family("qwen2_vl", "vision", qwen.build_qwen2_vl, video=True),
        Family("qwen2_5_vl", "vision", qwen.build_qwen2_5_vl, video=True),
        Family("qwen3_vl", "vision", qwen.build_qwen3_vl, video=True),
        Family("internvl", "vision", tiled.build_internvl, video=True),
        Family("idefics3", "vision", tiled.build_idefics3),
        Family(
            "smolvlm",
            "vision",
            tiled.build_smolvlm,
            video=True,
            requires=("num2words", "transformers>=5.23"),
        ),
        Family("gemma3", "vision", tiled.build_gemma3),
        Family("llama", "text", text.build_llama),
        Family("mistral", "text", text.build_mistral),
        Family("phi", "text", text.build_phi),
        Family("qwen2", "text", text.build_qwen2),
        Family("qwen3", "text", text.build_qwen3),
        Family("gemma2", "text", text.build_gemma2),
    )
}
"""All families by name."""


def names(kind: Literal["vision", "text"] | None = None) -> tuple[str, ...]:
    """Return the names of all families, or of one kind."""
    return tuple(name for name, entry in FAMILIES.items() if kind in (None, entry.kind))


def family(name: str) -> Family:
    """Return the entry of a family.

    Raises:
        UserError: there is no such family.
    """
    if name not in FAMILIES:
        raise UserError(f"unknown model family {name!r}; available: {', '.join(FAMILIES)}")
    return FAMILIES[name]


def build(name: str, *, seed: int = 0) -> tuple[Any, Any]:
    """Return a family's tiny model (float32, evaluation mode) and its processor or tokenizer.

    Args:
        name: a key of :data:`FAMILIES`.
        seed: of the weights; the same seed gives the same weights on every machine.

    Raises:
        UserError: no such family, or its processor needs a package that is not installed.
    """
    entry = family(name)
    if missing := entry.missing():
        quoted = " ".join(f"'{requirement}'" for requirement in missing)
        raise UserError(f"the processor of {name} needs {', '.join(missing)}; pip install {quoted}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)  # a few classes draw biases, which are not redrawn below
        model, processor = entry.assemble()
    randomise(model, seed=seed)
    tokenizer = getattr(processor, "tokenizer", processor)
    _hide_placeholders(model)
    for token in ("bos_token_id", "eos_token_id", "pad_token_id"):
        setattr(model.generation_config, token, getattr(tokenizer, token))
    return model.eval(), processor


@torch.no_grad()
def _hide_placeholders(model: Any) -> None:
    """Keep the image and video tokens out of greedy answers: their logit is always 0.

    A prompt that has more placeholders than pictures is refused by the models, which a random
    model's own answer would otherwise turn into now and then.
    """
    for name in ("image_token_id", "video_token_id"):
        token = getattr(model.config, name, None)
        if token is not None:
            model.get_output_embeddings().weight[token] = 0


def save(name: str, directory: str | Path, *, seed: int = 0) -> Path:
    """Write a family's model and processor, loadable offline by the Auto classes.

    Returns:
        The directory, to be used as ``pretrained=``.
    """
    model, processor = build(name, seed=seed)
    model.save_pretrained(directory)
    processor.save_pretrained(directory)
    return Path(directory)
