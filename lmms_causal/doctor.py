"""What interventions find in a model, and the measurement that being off leaves it alone.

:func:`describe` is what the adapter found; :func:`off_checks` compares the model with itself, bit
for bit, around and inside everything that is meant to change nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.cells import Part
from lmms_causal.interventions.attention.observing import last_weights
from lmms_causal.interventions.attention.running import editing, not_editable
from lmms_causal.interventions.engine import apply
from lmms_causal.models.prompts import Encoder
from lmms_causal.testing import picture

__all__ = ["Check", "Observation", "describe", "observe", "off_checks", "small_prompts"]

_QUESTIONS = ("Is it red?", "What would have happened without the wind, and to whom?")
_NEW_TOKENS = 4


def small_prompts(encoder: Encoder) -> dict[str, Any]:
    """Return the inputs of two prompts of different length, left-padded, on the CPU.

    A model that sees is shown a generated picture with each.

    Raises:
        UserError: the prompts cannot be rendered.
    """
    prompts = []
    for number, question in enumerate(_QUESTIONS):
        parts: list[dict[str, Any]] = [{"type": "text", "text": question}]
        if encoder.processor is not None:
            parts.insert(0, {"type": "image", "image": picture(number, 160, 120)})
        message = {"role": "user", "content": parts}
        prompts.append(encoder.render([message], f"prompt {number + 1}"))
    return encoder.encode(prompts)


def describe(adapter: ModelAdapter) -> dict[str, Any]:
    """Return what was found, in words and numbers; None for what the model does not have."""
    config = adapter.model.config
    text = config.get_text_config()
    return {
        "class": adapter.kind,
        "family_entry": adapter.family.model_type if adapter.family else "introspected",
        "dtype": str(adapter.model.dtype).removeprefix("torch."),
        "device": str(adapter.model.device),
        "decoder": _class(adapter.decoder),
        "decoder_layers": adapter.depth,
        "attention": _class(*adapter.attention),
        "attention_implementation": _implementation(adapter.attention),
        "attention_heads": getattr(text, "num_attention_heads", None),
        "key_value_heads": getattr(text, "num_key_value_heads", None),
        "feed_forward": _class(*adapter.mlps),
        "final_norm": _class(adapter.norm),
        "rotary_embedding": _class(adapter.rotary),
        "vision_encoder": _class(adapter.tower),
        "vision_blocks": len(adapter.blocks) if adapter.sees else None,
        "vision_attention": _class(*adapter.vision_attention),
        "vision_implementation": _implementation(adapter.vision_attention),
        "projector": _class(adapter.projector),
        "visual_tokens": _texts(adapter, adapter.visual_tokens),
        "markers": _texts(adapter, adapter.markers),
    }


def _class(*modules: Any) -> str | None:
    names = dict.fromkeys(type(module).__name__ for module in modules if module is not None)
    return " and ".join(names) or None


def _implementation(modules: Iterable[nn.Module]) -> str | None:
    found = (getattr(getattr(it, "config", None), "_attn_implementation", None) for it in modules)
    return " and ".join(dict.fromkeys(filter(None, found))) or None


def _texts(adapter: ModelAdapter, tokens: Iterable[int]) -> dict[str, str | None]:
    """Ids, as text for JSON, and their texts; None for an id that the vocabulary lacks."""
    return {str(it): adapter.tokenizer.convert_ids_to_tokens(it) for it in sorted(tokens)}


@dataclass(frozen=True)
class Observation:
    """What a model says: logits ``[B, L, V]`` of a prompt, and greedy tokens ``[B, L + n]``."""

    logits: Tensor
    tokens: Tensor


@torch.no_grad()
def observe(model: Any, inputs: Mapping[str, Any]) -> Observation:
    """Run one forward pass and one short greedy generation."""
    logits = model(**inputs).logits
    tokens = model.generate(
        **inputs,
        max_new_tokens=_NEW_TOKENS,
        do_sample=False,
        num_beams=1,
        temperature=None,
        top_p=None,
        top_k=None,
        pad_token_id=model.generation_config.pad_token_id or 0,
    )
    return Observation(logits, tokens)


@dataclass(frozen=True)
class Check:
    """One comparison with the stock model.

    Attributes:
        name: what was compared.
        identical: whether logits and greedy tokens are the same, bit for bit; None if there was
            nothing to compare.
        difference: the largest absolute difference of logits; None if it is not a finite number.
        same_tokens: whether the greedy tokens agree.
        note: what else there is to say.
    """

    name: str
    identical: bool | None
    difference: float | None = None
    same_tokens: bool | None = None
    note: str = ""

    @property
    def verdict(self) -> str:
        """The result in words."""
        if self.identical is None:
            return f"not measured: {self.note}"
        if self.identical:
            words = "bit-identical"
        elif self.same_tokens is None:
            words = "failed"
        else:
            size = "not finite" if self.difference is None else f"{self.difference:.3g}"
            words = f"max abs difference {size}, tokens {'equal' if self.same_tokens else 'differ'}"
        return f"{words}; {self.note}" if self.note else words


def off_checks(model: Any, inputs: Mapping[str, Any], adapter: ModelAdapter) -> list[Check]:
    """Compare the stock model with itself around and inside everything that is meant to be neutral.

    Args:
        model: without an intervention.
        inputs: a left-padded batch on the model's device.
        adapter: the model's parts.

    Raises:
        UserError: the stock model itself does not run on the inputs.
    """
    try:
        stock = observe(model, inputs)
    except Exception as error:
        raise UserError(
            f"{adapter.kind}: the unchanged model fails on two short prompts: {_said(error)}"
        ) from error
    intervention = "vcd" if adapter.sees else "cfg(negative=prompt)"
    checks = [
        _compared("stock model, run again", stock, model, inputs),
        _compared("under 'none'", stock, model, inputs, partial(apply, model, "none")),
        _removed(intervention, stock, model, inputs, adapter),
    ]
    for tower, modules in (
        ("decoder", adapter.attention),
        ("vision encoder", adapter.vision_attention),
    ):
        if not modules:
            continue
        name = f"neutral attention switch, {tower}"
        if (reason := not_editable(modules)) is not None:
            checks.append(Check(name, None, note=reason))
            continue
        parts = _nothing_to_edit(inputs) if tower == "decoder" else []
        scope = partial(editing, modules, parts)
        checks.append(_compared(name, stock, model, inputs, scope))
        checks.append(_read(tower, modules, stock, model, inputs))
    return checks


def _compared(
    name: str,
    stock: Observation,
    model: Any,
    inputs: Mapping[str, Any],
    scope: Callable[[], AbstractContextManager[Any]] = nullcontext,
    note: Callable[[Any], str] = lambda entered: "",
) -> Check:
    """Observe the model inside a scope, and compare.

    Any exception is a finding about the model at hand, and becomes a failed check.
    """
    try:
        with scope() as entered:
            seen = observe(model, inputs)
            said = note(entered)
    except Exception as error:
        return Check(name, False, note=_said(error))
    same_tokens = seen.tokens.shape == stock.tokens.shape and bool(
        (seen.tokens == stock.tokens).all()
    )
    gap = (seen.logits.float() - stock.logits.float()).abs().max()
    return Check(
        name,
        identical=_same_bits(seen.logits, stock.logits) and same_tokens,
        difference=float(gap) if gap.isfinite() else None,
        same_tokens=same_tokens,
        note=said,
    )


def _removed(
    intervention: str,
    stock: Observation,
    model: Any,
    inputs: Mapping[str, Any],
    adapter: ModelAdapter,
) -> Check:
    """Apply an intervention, run it, take it off, and compare."""
    name = f"after {intervention}, removed"
    try:
        with (
            apply(model, intervention, adapter.tokenizer) as handle,
            handle.request(prompt_length=inputs["input_ids"].shape[1]),
        ):
            acted = not _same_bits(observe(model, inputs).logits, stock.logits)
    except Exception as error:
        return Check(name, False, note=_said(error))
    note = "" if acted else "while applied it changed nothing"
    return _compared(name, stock, model, inputs, note=lambda entered: note)


def _read(
    tower: str,
    modules: tuple[nn.Module, ...],
    stock: Observation,
    model: Any,
    inputs: Mapping[str, Any],
) -> Check:
    """Read the attention weights of all layers meanwhile: whether edits would be met there."""

    def reached(found: Mapping[int, Tensor]) -> str:
        return f"{len(found)} of {len(modules)} layers reached"

    return _compared(
        f"attention weights read, {tower}",
        stock,
        model,
        inputs,
        partial(last_weights, modules, range(len(modules))),
        reached,
    )


def _nothing_to_edit(inputs: Mapping[str, Any]) -> list[Part]:
    """A part for every row of the batch, without edits."""
    ids, mask = inputs["input_ids"], inputs.get("attention_mask")
    real = torch.ones_like(ids) if mask is None else mask
    rows = ids.shape[0]
    return [Part(slice(0, rows), {}, real.long().argmax(dim=1).cpu(), end=None, seeds=(0,) * rows)]


def _same_bits(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are the same bytes, values that are no numbers included."""
    if one.shape != other.shape or one.dtype != other.dtype:
        return False
    return torch.equal(one.contiguous().view(torch.uint8), other.contiguous().view(torch.uint8))


def _said(error: Exception) -> str:
    """An exception on one line."""
    first = (str(error).strip() or "no reason given").splitlines()[0]
    return first if isinstance(error, UserError) else f"{type(error).__name__}: {first}"
