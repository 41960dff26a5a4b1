"""Tables of numbers measured on other prompts, as files: the mean output of every head, and others.

A table is a safetensors file whose metadata say what it holds and what it was measured on. A spec
names it with the digest of its content, ``table=FILE#DIGEST``, which :func:`save_table` returns.

    >>> means = head_means(model, processor, batches)             # doctest: +SKIP
    >>> spec = f"head_ablate(heads=1.3;ablation=mean;table={means.save('means.safetensors')})"
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.heads import query_heads
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.observing import head_outputs
from lmms_causal.interventions.attention.spans import PROMPT, Span
from lmms_causal.interventions.parts import PromptParts
from lmms_causal.interventions.pinned import pin, read_pinned

__all__ = ["HeadTable", "head_means", "load_table", "save_table"]

_HEADS = "head outputs"
_FACTS = "facts"


def save_table(
    path: str | Path, kind: str, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]
) -> str:
    """Write a table, and return ``FILE#DIGEST``, as a spec names it.

    Args:
        path: the file to write.
        kind: what the table holds, which :func:`load_table` asks for.
        tensors: by name.
        facts: what it was measured on.

    Raises:
        UserError: the file cannot be written.
    """
    from safetensors.torch import save

    told = {"kind": kind, **{name: str(value) for name, value in facts.items()}}
    # one entry: the order of several is random, and equal tables should have equal digests
    metadata = {_FACTS: json.dumps(told, sort_keys=True)}
    content = save({name: value.contiguous() for name, value in tensors.items()}, metadata)
    try:
        Path(path).expanduser().write_bytes(content)
    except OSError as error:
        raise UserError(f"{path}: the table cannot be written ({error.strerror})") from None
    return pin(path)


def load_table(
    reference: str, kind: str, method: str, parameter: str = "table"
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the facts of a table.

    Args:
        reference: ``FILE#DIGEST``.
        kind: what the table must hold.
        method: who reads it.
        parameter: the method's parameter that names it.

    Raises:
        UserError: the file cannot be read, is not pinned or another one, or no table of this kind.
    """
    from safetensors.torch import load

    owner, written = f"intervention {method}: ", f"{parameter}="
    content = read_pinned(reference, written, "table", owner)
    name = reference.partition("#")[0]
    try:
        length = int.from_bytes(content[:8], "little")
        metadata = json.loads(content[8 : 8 + length]).get("__metadata__", {})
        facts = dict(json.loads(metadata.get(_FACTS, "{}")))
        tensors = load(content)
    except Exception as error:  # the reader's own kinds, none of which has a public name
        raise UserError(
            f"{owner}{written}{name} is no table ({type(error).__name__}); write one with "
            "lmms_causal.interventions.attention.tables"
        ) from None
    if facts.get("kind") != kind:
        found = facts.get("kind", "something else")
        raise UserError(f"{owner}{written}{name} holds {found}; name a table of {kind}")
    return tensors, facts


@dataclass(frozen=True)
class HeadTable:
    """An output for every head of some layers.

    Attributes:
        values: by layer, ``[H, d]``, float32, before the output projection.
        facts: what it was measured on: the model's class, numbers of prompts and tokens, the span.
    """

    values: Mapping[int, Tensor]
    facts: Mapping[str, str]

    def save(self, path: str | Path) -> str:
        """Write the table, and return ``FILE#DIGEST``.

        Raises:
            UserError: the file cannot be written.
        """
        tensors = {f"layer.{layer}": values for layer, values in self.values.items()}
        return save_table(path, _HEADS, tensors, self.facts)

    @classmethod
    def load(cls, reference: str, method: str, parameter: str = "table") -> HeadTable:
        """Read a table.

        Raises:
            UserError: as :func:`load_table`.
        """
        tensors, facts = load_table(reference, _HEADS, method, parameter)
        values = {int(name.removeprefix("layer.")): value for name, value in tensors.items()}
        return cls(dict(sorted(values.items())), facts)

    def unfit(self, adapter: ModelAdapter, layers: Sequence[int]) -> str | None:
        """Return why the table cannot stand for heads of a model, or None."""
        for layer in layers:
            if layer not in self.values:
                return f"the table of head outputs has no layer {layer}"
            heads, width = self.values[layer].shape
            wanted = query_heads(adapter), getattr(adapter.attention[layer], "head_dim", width)
            if (heads, width) != wanted:
                return (
                    f"the table of head outputs has {heads} heads of {width} numbers in layer "
                    f"{layer}, and the model has {wanted[0]} of {wanted[1]}"
                )
        return None


@torch.no_grad()
def head_means(
    model: Any,
    processor: Any,
    batches: Iterable[Mapping[str, Any]],
    queries: Span = PROMPT,
    parts: Iterable[Sequence[PromptParts] | None] | None = None,
) -> HeadTable:
    """Return the mean output of every head over tokens of some prompts, as the model is.

    A table made of one prompt serves to ablate by resampling: the heads then put out what they put
    out there.

    Args:
        model: a loaded model without an intervention.
        processor: its processor or tokenizer.
        batches: model inputs, ``input_ids [B, L]`` and whatever belongs to them.
        queries: the tokens that the mean is taken over.
        parts: for each batch what is known of its prompts, where the span asks for the turn or for
            segments.

    Raises:
        UserError: no token of any prompt is in the span; the model's attention cannot be read.
    """
    adapter = ModelAdapter.of(model, processor)
    sums: dict[int, Tensor] = {}
    prompts = tokens = 0
    known = iter(parts) if parts is not None else None
    for inputs in batches:
        own = None if known is None else next(known)
        layout = Layout.of(inputs, adapter, own, None)
        chosen = queries.resolve(layout)
        with head_outputs(adapter.attention, last=False) as found:
            model(**inputs, use_cache=False)
        for layer, outputs in found.items():
            # bfloat16 sums of many tokens lose small ones
            picked = outputs[chosen.to(outputs.device)].double().sum(dim=0).cpu()
            sums[layer] = sums[layer] + picked if layer in sums else picked
        prompts += len(layout.roles)
        tokens += int(chosen.sum())
    if not tokens:
        raise UserError(f"no token of the {prompts} prompts is in the span {queries}; use another")
    facts = {
        "model": adapter.kind,
        "prompts": str(prompts),
        "tokens": str(tokens),
        "span": str(queries),
    }
    return HeadTable({layer: (it / tokens).float() for layer, it in sums.items()}, facts)
