"""What matters in a picture for a question: matchers, by name.

A matcher is named by text: ``blip:CHECKPOINT`` (a name on the hub, or a folder), a folder alone, or
``saliency``. Another one is added by registering a function under a name::

    @matcher("mine")
    def load(argument: str) -> Matcher: ...

What follows the colon is handed to it, when the first picture is looked at; a matcher is loaded
once.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeVar

import numpy as np
import torch
from PIL import Image
from scipy import ndimage
from torch import Tensor

from lmms_causal.errors import UserError, nearest
from lmms_causal.interventions.pictures import Map

__all__ = ["Blip", "Match", "Matcher", "load", "matcher", "matchers", "named", "saliency"]

CHECKPOINT = "Salesforce/blip-itm-large-coco"
BLOCK = 6
"""Text layer, from 0, whose cross-attention shows what matters. In the last layer of all only the
first token reaches the matching head, and no word would get a gradient."""
LONGEST = 35
"""Tokens of a question that are read."""


class Match(NamedTuple):
    """How a picture and a question go together.

    Attributes:
        heat: ``[h, w]`` over the whole picture, larger where it matters more.
        similarity: of picture and question, in -1..1.
    """

    heat: Map
    similarity: float


class Matcher(Protocol):
    """Looks at a picture with a question in mind."""

    def __call__(self, picture: Image.Image, question: str) -> Match:
        """Return what matters, the same for the same arguments."""
        ...


_Factory = TypeVar("_Factory", bound=Callable[[str], Matcher])
_known: dict[str, Callable[[str], Matcher]] = {}


def matcher(name: str) -> Callable[[_Factory], _Factory]:
    """Register ``factory(argument) -> Matcher`` under a name."""

    def register(factory: _Factory) -> _Factory:
        if _known.setdefault(name, factory) is not factory:
            raise TypeError(f"there is a matcher {name!r} already")
        return factory

    return register


def matchers() -> tuple[str, ...]:
    """Return the names of all matchers."""
    return tuple(sorted(_known))


def named(text: str) -> tuple[str, str]:
    """Return the name of a matcher and its argument, without loading anything.

    Raises:
        UserError: there is no such matcher.
    """
    name, _, argument = text.partition(":")
    if name in _known:
        return name, argument
    if Path(text).expanduser().is_dir():
        return "blip", text
    raise UserError(
        f"matcher={text} is neither a matcher{nearest(name, _known)} nor a folder; "
        f"available: {', '.join(matchers())}, with a checkpoint as in blip:{CHECKPOINT}"
    )


@lru_cache(maxsize=4)
def load(text: str) -> Matcher:
    """Return the matcher of a text, loaded once.

    Raises:
        UserError: there is no such matcher, or its checkpoint cannot be loaded.
    """
    name, argument = named(text)
    return _known[name](argument)


# --- BLIP -----------------------------------------------------------------------------------------


class Blip:
    """BLIP image-text matching; its heat map is Grad-CAM on the cross-attention of a text layer.

    With ``A [H, T, P]`` the attention of the question's ``T`` tokens to the ``P`` patches and ``y``
    the logit that picture and question match, the map is ``A * relu(dy / dA)``, averaged over heads
    and over the tokens between the first and the last one, which are special.

    Args:
        model: a ``BlipForImageTextRetrieval``, float32.
        processor: its processor.
    """

    def __init__(self, model: Any, processor: Any) -> None:
        self._model = model.eval().requires_grad_(False)
        self._processor = processor
        layers = model.text_encoder.encoder.layer
        self._attention = layers[min(BLOCK, max(len(layers) - 2, 0))].crossattention.self
        # the graph begins here: nothing before the attention that is read needs a gradient
        self._attention.query.requires_grad_(True)

    def __call__(self, picture: Image.Image, question: str) -> Match:
        """Return heat map and cosine similarity."""
        with torch.inference_mode(False), torch.enable_grad():  # evaluations run without gradients
            return self._match(picture, question)

    def _match(self, picture: Image.Image, question: str) -> Match:
        model = self._model
        vision = model.config.vision_config
        side = {"height": vision.image_size, "width": vision.image_size}
        pixels = self._processor.image_processor(
            picture.convert("RGB"), size=side, return_tensors="pt"
        )["pixel_values"]
        tokenizer = self._processor.tokenizer
        text = tokenizer(
            plain_words(question), truncation=True, max_length=LONGEST, return_tensors="pt"
        )
        ids, mask = text["input_ids"].to(model.device), text["attention_mask"].to(model.device)
        states = model.vision_model(pixel_values=pixels.to(model.device)).last_hidden_state
        probabilities, score = self._attended(states, self._opened(ids), mask)
        (gradient,) = torch.autograd.grad(score, probabilities)
        cam = (probabilities * gradient.relu())[0].mean(dim=0)
        cam = cam[1:-1, 1:]  # without the special tokens and the class token of the picture
        rows = vision.image_size // vision.patch_size
        heat = cam.sum(dim=0) / max(cam.shape[0], 1)
        alone = model.text_encoder(input_ids=ids, attention_mask=mask).last_hidden_state
        similarity = torch.nn.functional.cosine_similarity(
            model.vision_proj(states[:, 0]), model.text_proj(alone[:, 0])
        )
        return Match(
            heat.detach().reshape(rows, rows).double().cpu().numpy(), float(similarity.detach())
        )

    def _attended(self, states: Tensor, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Cross-attention ``[1, H, T, 1 + P]`` and the logit of a match."""
        found: list[Tensor] = []
        hook = self._attention.register_forward_hook(
            lambda module, inputs, output: found.append(output[1])
        )
        with hook:
            read = self._model.text_encoder(
                input_ids=ids,
                attention_mask=mask,
                encoder_hidden_states=states,
                encoder_attention_mask=torch.ones(states.shape[:-1], device=states.device),
            ).last_hidden_state
        return found[0], self._model.itm_head(read[:, 0])[0, 1]

    def _opened(self, ids: Tensor) -> Tensor:
        """The question, opened by the token of text with a picture, if there is such a token."""
        tokenizer = self._processor.tokenizer
        opening = tokenizer.get_vocab().get("[ENC]")
        if opening is None:
            return ids
        ids = ids.clone()
        ids[:, 0] = opening
        return ids


def plain_words(question: str) -> str:
    """Return a question as BLIP's captions were written: lower case, some punctuation left out."""
    words = re.sub(r"[.!\"()*#:;~]", " ", question.lower()).split()
    return " ".join(words[:50])


@matcher("blip")
@torch.inference_mode(False)
def _load_blip(checkpoint: str) -> Matcher:
    """Load a checkpoint, onto the GPU if there is one.

    Raises:
        UserError: it is not there, or it is another kind of model.
    """
    from transformers import AutoConfig, BlipForImageTextRetrieval, BlipProcessor

    name = str(Path(checkpoint).expanduser()) if checkpoint else CHECKPOINT
    remedy = (
        "load it once with a network (hf download "
        f"{CHECKPOINT}), name its folder as matcher=blip:FOLDER, or try matcher=saliency, which "
        "needs no model and is not the paper's"
    )
    try:
        kind = AutoConfig.from_pretrained(name).model_type
        if kind != "blip":
            raise UserError(f"matcher=blip:{name} is a model of type {kind}, not blip; {remedy}")
        loaded: Any = BlipForImageTextRetrieval.from_pretrained(
            name, dtype=torch.float32, output_loading_info=True
        )
        model, report = loaded
        processor = BlipProcessor.from_pretrained(name)
    except UserError:
        raise
    except (OSError, ValueError) as error:
        reason = " ".join(str(error).split("\n")[0].split())
        raise UserError(f"matcher=blip:{name} cannot be loaded: {reason}; {remedy}") from None
    if missing := [key for key in report["missing_keys"] if "position_ids" not in key]:
        raise UserError(
            f"matcher=blip:{name} has no weights for {min(missing)}: it was not trained to match "
            f"pictures and texts; use {CHECKPOINT}"
        )
    return Blip(model.to("cuda" if torch.cuda.is_available() else "cpu"), processor)


# --- without a model ------------------------------------------------------------------------------


@matcher("saliency")
def _saliency(argument: str) -> Matcher:
    if argument:
        raise UserError(f"matcher=saliency:{argument}: saliency takes nothing behind a colon")
    return saliency


def saliency(picture: Image.Image, question: str) -> Match:
    """Return how much each place differs in colour from its surroundings; the question is not read.

    A stand-in that lets methods run where no checkpoint can be had. It comes from no paper, and
    results with it say nothing about a method. Similarity is 1, so that half of a picture is kept.
    """
    small = np.asarray(picture.convert("RGB").resize((96, 96)), dtype=np.float64) / 255
    centre = ndimage.gaussian_filter(small, (2, 2, 0))
    surroundings = ndimage.gaussian_filter(small, (16, 16, 0))
    return Match(np.linalg.norm(centre - surroundings, axis=-1), 1.0)
