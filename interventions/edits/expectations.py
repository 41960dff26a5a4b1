"""What the residual stream is on average, given a token and its place: tables over prompts.

A table is a file that a spec names with its digest; see :mod:`~.attention.tables`.

    >>> means = state_means(model, processor, batches, range(15))  # doctest: +SKIP
    >>> spec = f"cama(layer=14;table={means.save('means.safetensors')})"
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.tables import load_table, save_table
from lmms_causal.interventions.edits.hidden import recorded

__all__ = ["StateTable", "state_means"]

_STATES = "states by position and token"
_MOST_TOKENS = 2**24  # a key is position * _MOST_TOKENS + token


@dataclass(frozen=True)
class StateTable:
    """Mean states of tokens at their places.

    Attributes:
        keys: place and token of each of the ``E`` entries as one number, sorted, int64.
        values: by layer the mean states ``[E, D]`` behind it, float32.
        facts: what they were measured on.
    """

    keys: Tensor
    values: Mapping[int, Tensor]
    facts: Mapping[str, str]

    def find(self, layer: int, places: Tensor, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return mean states ``[..., D]`` behind a layer, and where there are any, bool ``[...]``.

        Args:
            layer: one of the table's layers.
            places: index of each token in its row, padding not counted.
            tokens: ids.
        """
        wanted = key_of(places.clamp(min=0), tokens).to(self.keys.device)
        entry = torch.searchsorted(self.keys, wanted).clamp(max=len(self.keys) - 1)
        there = (self.keys[entry] == wanted) & (places >= 0).to(entry.device)
        return self.values[layer][entry], there

    def save(self, path: str | Path) -> str:
        """Write the table, and return ``FILE#DIGEST``.

        Raises:
            UserError: the file cannot be written.
        """
        tensors = {f"layer.{layer}": values for layer, values in self.values.items()}
        return save_table(path, _STATES, {"keys": self.keys, **tensors}, self.facts)

    @classmethod
    def load(cls, reference: str, method: str, parameter: str = "table") -> StateTable:
        """Read a table.

        Raises:
            UserError: the file cannot be read, has another digest, or is another kind of table.
        """
        tensors, facts = load_table(reference, _STATES, method, parameter)
        keys = tensors.pop("keys")
        values = {int(name.removeprefix("layer.")): value for name, value in tensors.items()}
        return cls(keys, dict(sorted(values.items())), facts)

    def unfit(self, adapter: ModelAdapter, layers: Sequence[int]) -> str | None:
        """Return why the table cannot stand for states of a model, or None."""
        width = int(adapter.model.config.get_text_config().hidden_size)
        for layer in layers:
            if layer not in self.values:
                return f"the table of states has no layer {layer}"
            if self.values[layer].shape[1] != width:
                return (
                    f"the table of states has {self.values[layer].shape[1]} numbers a state, and "
                    f"the model has {width}"
                )
        return None


def key_of(places: Tensor, tokens: Tensor) -> Tensor:
    """Return one number for each pair of a place and a token."""
    return places.long() * _MOST_TOKENS + tokens.long()


@torch.no_grad()
def state_means(
    model: Any,
    processor: Any,
    batches: Iterable[Mapping[str, Any]],
    layers: Sequence[int],
) -> StateTable:
    """Return the mean state behind some layers of each token at each place, over some prompts.

    Prompts should be of one template, so that a place means the same in all of them.

    Args:
        model: a loaded model without an intervention.
        processor: its processor or tokenizer.
        batches: model inputs, ``input_ids [B, L]`` and whatever belongs to them.
        layers: decoder layers.

    Raises:
        UserError: there are no prompts.
    """
    adapter = ModelAdapter.of(model, processor)
    sums: dict[int, Tensor] = {}  # by key, [layers, D]
    counts: dict[int, int] = {}
    prompts = 0
    for inputs in batches:
        ids = inputs["input_ids"]
        mask = inputs.get("attention_mask")
        real = torch.ones_like(ids) if mask is None else mask
        keys = key_of(real.long().cumsum(dim=1) - 1, ids)[real.bool()]
        with recorded(adapter.layers, layers) as found:
            model(**inputs, use_cache=False)
        kept = real.bool()
        states = torch.stack([found[layer][kept.to(found[layer].device)] for layer in layers], 1)
        distinct, index, times = torch.unique(keys, return_inverse=True, return_counts=True)
        total = states.new_zeros(len(distinct), *states.shape[1:], dtype=torch.float64)
        total.index_add_(0, index.to(total.device), states.double())
        for key, part, count in zip(distinct.tolist(), total.cpu(), times.tolist(), strict=True):
            sums[key] = sums[key] + part if key in sums else part
            counts[key] = counts.get(key, 0) + count
        prompts += len(ids)
    if not sums:
        raise UserError("a table of states needs prompts, and there are none; give some")
    keys = torch.tensor(sorted(sums))
    mean = torch.stack([sums[key] / counts[key] for key in keys.tolist()]).float()
    facts = {"model": adapter.kind, "prompts": str(prompts)}
    return StateTable(keys, {layer: mean[:, i] for i, layer in enumerate(layers)}, facts)
