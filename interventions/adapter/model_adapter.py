"""One model as interventions see it: decoder, vision encoder, special tokens, tokenizer."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter.families import MARKERS, Family, family_of

__all__ = ["ModelAdapter"]

_ATTENTION = ("self_attn", "attention", "attn", "self_attention")
_MLP = ("mlp", "feed_forward", "ffn", "block_sparse_moe")
_TOWER = ("vision_tower", "visual", "vision_model", "vision_encoder")
_PROJECTOR = ("multi_modal_projector", "connector", "merger", "mm_projector", "projector")
_NORM = ("norm", "final_layernorm", "ln_f", "final_layer_norm")


@dataclass(frozen=True)
class ModelAdapter:
    """The parts of a loaded model, found once and checked.

    Attributes:
        model: the transformers model with its head.
        family: the entry it was found by; None for text models and introspected ones.
        decoder: the language model without its head.
        layers: decoder layers.
        attention: attention module of each decoder layer.
        mlps: feed-forward module of each decoder layer; empty if a layer has none.
        norm: the final norm; None if the decoder has none that is known.
        rotary: the decoder's rotary embedding; None if it has none.
        tower: the vision encoder; None for a text model.
        blocks: its transformer blocks.
        vision_attention: attention module of each block.
        projector: maps visual features to the decoder's width.
        visual_tokens: ids of image and video placeholders.
        markers: ids of the special tokens that stand around pictures.
        tokenizer: needed by methods that add words; None if the host gave none.
    """

    model: Any
    family: Family | None
    decoder: Any
    layers: tuple[nn.Module, ...]
    attention: tuple[nn.Module, ...]
    mlps: tuple[nn.Module, ...]
    norm: nn.Module | None
    rotary: nn.Module | None
    tower: Any
    blocks: tuple[nn.Module, ...]
    vision_attention: tuple[nn.Module, ...]
    projector: nn.Module | None
    visual_tokens: tuple[int, ...]
    markers: frozenset[int]
    tokenizer: Any = None

    @classmethod
    def of(cls, model: Any, processor: Any = None) -> ModelAdapter:
        """Find the parts of a model.

        Args:
            model: a decoder-only transformers model with a language-model head.
            processor: its processor or tokenizer, which knows the special tokens' texts.

        Raises:
            UserError: decoder layers or attention modules are not where any known model has them.
        """
        decoder = model.get_decoder() or model.base_model
        layers = _sequence(decoder)
        attention = tuple(_child(layer, _ATTENTION, "attention") for layer in layers)
        if not layers or None in attention:
            raise UserError(
                f"{type(model).__name__}: cannot find the decoder's layers and their attention; "
                "interventions need a decoder of attention layers"
            )
        mlps = tuple(_child(layer, _MLP, "mlp") for layer in layers)
        family = family_of(model.config)
        tower, blocks, vision_attention, projector = _vision(model, decoder, family)
        tokenizer = getattr(processor, "tokenizer", processor)
        visual = _visual_tokens(model.config)
        return cls(
            model=model,
            family=family,
            decoder=decoder,
            layers=layers,
            attention=attention,
            mlps=() if None in mlps else mlps,
            norm=_named(decoder, _NORM),
            rotary=_named(decoder, ("rotary_emb",)),
            tower=tower,
            blocks=blocks,
            vision_attention=vision_attention,
            projector=projector,
            visual_tokens=visual,
            markers=_markers(model.config, tokenizer) - set(visual),
            tokenizer=tokenizer,
        )

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return len(self.layers)

    @property
    def feature_blocks(self) -> tuple[int, ...]:
        """The blocks of the vision encoder whose outputs go on to the decoder.

        Those before the projector, and those that enter decoder layers past it (deepstack).
        """
        config = self.model.config
        layers = getattr(config, "vision_feature_layer", None)
        if not isinstance(layers, (list, tuple)):
            layers = [-1 if layers is None else layers]
        states = len(self.blocks) + 1  # layers are counted as hidden states: 0 is no block's output
        deep = getattr(getattr(config, "vision_config", None), "deepstack_visual_indexes", None)
        found = {layer % states - 1 for layer in layers} | set(deep or ())
        return tuple(sorted(found - {-1}))

    @property
    def sees(self) -> bool:
        """Whether the model takes pictures."""
        return self.tower is not None

    @property
    def kind(self) -> str:
        """The model's class, for messages."""
        return type(self.model).__name__

    @property
    def tied(self) -> bool:
        """Whether the head's weights are those of the embeddings."""
        head, embeddings = self.model.get_output_embeddings(), self.model.get_input_embeddings()
        return head is not None and head.weight is embeddings.weight

    @property
    def places_pictures(self) -> bool:
        """Whether positions have several axes, on which the patches of a picture are laid out."""
        return hasattr(self.model.base_model, "get_rope_index")

    def is_visual(self, ids: Tensor) -> Tensor:
        """Return which tokens are placeholders of pictures or videos; any shape, bool."""
        if not self.visual_tokens:
            return torch.zeros_like(ids, dtype=torch.bool)
        return torch.isin(ids, torch.tensor(self.visual_tokens, device=ids.device))

    def read(self, hidden: Tensor, normalise: bool) -> Tensor:
        """Return logits ``[..., V]``, float32, of states ``[..., D]`` through the model's own head.

        Args:
            hidden: outputs of a decoder layer.
            normalise: whether the final norm is applied first.
        """
        if normalise and self.norm is not None:
            hidden = self.norm(hidden)
        logits = self.model.get_output_embeddings()(hidden).float()
        config = self.model.config.get_text_config()
        cap = getattr(config, "final_logit_softcapping", None)
        if cap:
            logits = torch.tanh(logits / cap) * cap
        return logits / (getattr(config, "logits_scaling", None) or 1.0)

    def positions(self, mask: Tensor) -> Tensor | None:
        """Return position ids for a left-padded batch of text, ``[B, L]`` or ``[n, B, L]``.

        None for a model that takes no ``position_ids``.

        Args:
            mask: ``[B, L]``, 1 at real tokens.
        """
        if "position_ids" not in inspect.signature(self.model.forward).parameters:
            return None
        positions = (mask.long().cumsum(dim=-1) - 1).clamp(min=0)
        if self.places_pictures:  # text, time, height, width alike
            return positions[None].expand(4, -1, -1).contiguous()
        return positions


def _sequence(module: Any) -> tuple[nn.Module, ...]:
    """The module's list of layers: ``layers``, or the longest list of modules it owns."""
    layers = getattr(module, "layers", None)
    if not isinstance(layers, nn.ModuleList):
        lists = [child for child in module.modules() if isinstance(child, nn.ModuleList)]
        layers = max(lists, key=len, default=())
    return tuple(layers)


def _named(module: Any, names: Sequence[str]) -> Any:
    return next((part for name in names if (part := getattr(module, name, None)) is not None), None)


def _child(module: nn.Module, names: Sequence[str], kind: str) -> Any:
    """The child of one of these names, else the first whose class is called after the kind."""
    found = _named(module, names)
    if found is not None:
        return found
    children = (c for c in module.children() if kind in type(c).__name__.lower())
    return next(children, None)


def _at(module: Any, path: str) -> Any:
    for name in path.split("."):
        module = getattr(module, name, None)
    return module


def _vision(model: Any, decoder: Any, family: Family | None) -> tuple[Any, ...]:
    """Tower, blocks, their attention, projector; empty for a text model.

    Raises:
        UserError: a family's entry does not fit this version of its class.
    """
    base = model.base_model
    if family is not None:
        tower = _at(base, family.tower)
        blocks = tuple(_at(tower, family.blocks) or ())
        attention = tuple(getattr(block, family.attention, None) for block in blocks)
        projector = _at(base, family.projector)
        if not blocks or None in attention or projector is None:
            raise UserError(
                f"{type(model).__name__}: its vision encoder is not where the entry of "
                f"{family.model_type} says; use another version of transformers, or report this"
            )
        return tower, blocks, attention, projector
    tower = _named(base, _TOWER)
    if tower is None or tower is decoder:
        return None, (), (), None
    inner = getattr(tower, "encoder", tower)
    blocks = _sequence(inner)
    attention = tuple(_child(block, _ATTENTION, "attention") for block in blocks)
    projector = _named(base, _PROJECTOR) or _named(tower, _PROJECTOR)
    return tower, blocks, () if None in attention else attention, projector


def _visual_tokens(config: Any) -> tuple[int, ...]:
    names = ("image_token_id", "video_token_id", "image_token_index", "video_token_index")
    found = (getattr(config, name, None) for name in names)
    return tuple(dict.fromkeys(int(token) for token in found if token is not None))


def _markers(config: Any, tokenizer: Any) -> frozenset[int]:
    """Tokens around pictures: those that the configuration names, and known texts."""
    names = (
        "vision_start_token_id",
        "vision_end_token_id",
        "boi_token_index",
        "eoi_token_index",
        "boi_token_id",
        "eoi_token_id",
    )
    found = {int(token) for name in names if (token := getattr(config, name, None)) is not None}
    if tokenizer is not None and hasattr(tokenizer, "added_tokens_decoder"):
        known = re.compile("|".join(MARKERS))
        found |= {
            token
            for token, text in tokenizer.added_tokens_decoder.items()
            if known.fullmatch(str(text))
        }
    return frozenset(found)
