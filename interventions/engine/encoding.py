"""The pictures of each branch: replaced as pixels, or encoded where ``generate`` encodes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Any

from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.edits import tokens
from lmms_causal.interventions.edits.media import has_pixels
from lmms_causal.interventions.edits.vision import received
from lmms_causal.interventions.engine.request import Request
from lmms_causal.interventions.plan import Branch

__all__ = ["Pictures"]


class Pictures:
    """What the branches of one call are shown.

    Args:
        adapter: the model.
        request: holds the pictures of branches with a view of their own.
        generation: the arguments of ``generate``; None when scoring.
    """

    def __init__(
        self, adapter: ModelAdapter, request: Request, generation: Mapping[str, Any] | None
    ) -> None:
        self._adapter = adapter
        self._request = request
        self._scoring = generation is None
        self._prompts = (generation or {}).get("input_ids")
        self._source = None if generation is None else _media_of(generation)
        self._features: dict[str, Any] = {}

    def show(self, branch: Branch, own: dict[str, Any]) -> None:
        """Replace the pictures in a branch's inputs ``own``.

        Raises:
            UserError: the pictures a branch needs were not given, or only their features.
        """
        if has_pixels(own):
            own.update(self._replaced(branch, own))
        elif own.get("mm_encoder_outputs") and self._source is not None:
            if branch.name not in self._features:
                media = dict(self._source)
                media.update(self._replaced(branch, media))
                with ExitStack() as stack:
                    if branch.vision is not None:
                        stack.enter_context(branch.vision(self._adapter))
                    self._features[branch.name] = self._encode(media, own["input_ids"])
            own["mm_encoder_outputs"] = self._features[branch.name]
        elif own.get("mm_encoder_outputs"):
            raise UserError(
                "a forward pass with mm_encoder_outputs cannot be intervened on: pass pixel_values"
            )

    def encoded_once(self, inputs: dict[str, Any], branches: Sequence[Branch]) -> dict[str, Any]:
        """When scoring, encode pictures once for all passes that are shown the same ones.

        ``generate`` does that by itself.
        """
        sharing = any(
            branch.keeps_pictures and branch.tokens not in (tokens.without_media, tokens.keep_last)
            for branch in branches
        )
        if not (self._scoring and sharing and has_pixels(inputs)):
            return inputs
        self._source = _media_of(inputs)
        features = self._encode(dict(self._source), inputs["input_ids"])
        kept = {k: v for k, v in inputs.items() if not k.startswith("pixel_values")}
        return {**kept, "mm_encoder_outputs": features}

    def attention(self, inputs: Mapping[str, Any], blocks: Sequence[int]) -> dict[int, Tensor]:
        """Encode the factual pictures once more, to see what some blocks of the encoder attend to.

        Returns:
            By block what :func:`~.vision.received` collects, in the order of the pictures, those of
            the first row first; empty without pictures.
        """
        media = dict(_media_of(inputs) if self._source is None else self._source)
        media.pop("mm_encoder_outputs", None)
        if not has_pixels(media):
            return {}
        with received(self._adapter, blocks) as found:
            self._adapter.model._prepare_multimodal_encoder_kwargs_for_generation(media)
        return found

    def _replaced(self, branch: Branch, inputs: Mapping[str, Any]) -> Mapping[str, Any]:
        """The picture tensors that a branch replaces."""
        if branch.media is not None:
            return branch.media(inputs)
        if branch.view is None:
            return {}
        if branch.name not in self._request.views:
            raise UserError(
                f"the intervention's branch {branch.name!r} needs the pictures themselves and the "
                "question: run it through the model `causal`, or within handle.request(views=...)"
            )
        return self._request.views[branch.name]

    def _encode(self, media: dict[str, Any], ids: Tensor) -> Any:
        """Encode pictures as ``generate`` encodes the factual ones before its first pass."""
        model = self._adapter.model
        media.pop("mm_encoder_outputs", None)
        encoded = model._prepare_multimodal_encoder_kwargs_for_generation(media)
        outputs = encoded["mm_encoder_outputs"]
        expand = 1 if self._prompts is None else ids.shape[0] // self._prompts.shape[0]
        if expand > 1:  # beams, or several return sequences
            outputs = model._expand_multimodal_outputs(self._prompts, outputs, expand_size=expand)
        return outputs


def _media_of(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """What a call was given beside tokens, mask and cache."""
    others = ("input_ids", "inputs", "attention_mask", "past_key_values")
    return {name: value for name, value in inputs.items() if name not in others}
