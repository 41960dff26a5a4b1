"""The edits of one call's passes: what their rows are, and what edits keep from pass to pass.

Rows are named by their branch; the factual ones have the name ``""``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from lmms_causal.interventions.adapter import ModelAdapter
from lmms_causal.interventions.attention.cells import Part
from lmms_causal.interventions.attention.coordinates import Coordinates
from lmms_causal.interventions.attention.edits import AttentionEdit
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.regions import with_pictures
from lmms_causal.interventions.attention.running import editing
from lmms_causal.interventions.attention.sentences import with_sentences
from lmms_causal.interventions.contributions import ResidualEdit
from lmms_causal.interventions.edits.residual import changed
from lmms_causal.interventions.engine.probing import Probed
from lmms_causal.interventions.engine.request import Request
from lmms_causal.interventions.plan import Plan
from lmms_causal.kernels.rotation import Rotation

__all__ = ["FACTUAL", "Block", "Scopes"]

FACTUAL = ""

Block = tuple[str, slice]
"""Rows of a pass: the name of their branch, and where they are in the batch."""


@dataclass
class Scopes:
    """What the passes of one call are edited with.

    Attributes:
        adapter: the model.
        plan: what to do.
        rotations: of each decoder layer, where the plan needs them.
        seeds: a number a row, a function of its document.
        probed: what the plan's probes found.
    """

    adapter: ModelAdapter
    plan: Plan
    rotations: Sequence[Rotation] = ()
    seeds: tuple[int, ...] = ()
    probed: Mapping[str, Probed] = field(default_factory=dict)
    _layouts: dict[str, Layout] = field(default_factory=dict)
    _memories: dict[str, dict[Any, dict[str, Any]]] = field(default_factory=dict)
    _positions: dict[str, Tensor] = field(default_factory=dict)

    @property
    def active(self) -> bool:
        """Whether any pass is edited."""
        return self.plan.reads_parts or any(branch.attention for branch in self.plan.branches)

    def start(
        self,
        inputs: Mapping[str, Any],
        request: Request,
        prompt_length: int | None,
        generation: Mapping[str, Any] | None = None,
    ) -> None:
        """Look at the factual prompt, as given to a pass and, if it is one, to ``generate``."""
        if self.active:
            layout = Layout.of(inputs, self.adapter, request.parts, prompt_length)
            if self.plan.reads_sentences:
                layout = with_sentences(layout, inputs["input_ids"], self.adapter.tokenizer)
            if self.plan.reads_pictures:
                layout = with_pictures(layout, inputs, self.adapter, generation or inputs)
            self._layouts[FACTUAL] = layout

    def labelled(self, inputs: Mapping[str, Any]) -> dict[str, Any]:
        """Return factual inputs with what each token is, as further inputs a token."""
        if FACTUAL not in self._layouts:
            return dict(inputs)
        layout = self._layouts[FACTUAL].extended(inputs["input_ids"].shape[1])
        found = {"roles": layout.roles, "segments": layout.segments}
        if layout.sentences is not None:
            found["sentences"] = layout.sentences
        if layout.pictures is not None:
            found["pictures"] = layout.pictures
        return {**inputs, **found}

    def take_labels(self, name: str, inputs: dict[str, Any]) -> None:
        """Take a branch's labels out of its inputs, after its tokens were edited."""
        if "roles" in inputs:
            roles, segments = inputs.pop("roles"), inputs.pop("segments")
            if "attention_mask" in inputs:
                roles = roles.masked_fill(inputs["attention_mask"] == 0, -1)
            self._layouts[name] = replace(
                self._layouts[FACTUAL],
                roles=roles,
                segments=segments,
                sentences=inputs.pop("sentences", None),
                pictures=inputs.pop("pictures", None),
            )

    def stack(self, widths: Mapping[str, int]) -> None:
        """Follow prompts that are padded on the left to share a batch."""
        for name, width in widths.items():
            layout = self._layout(name)
            if layout is None:
                continue
            self._layouts[name] = layout.widened(width)
            if name in self._positions:
                more = width - self._positions[name].shape[-1]
                self._positions[name] = pad(self._positions[name], (more, 0))

    def edits_of(self, name: str) -> tuple[AttentionEdit, ...]:
        """The attention edits of a branch's passes, or of the factual ones."""
        if name == FACTUAL:
            return self.plan.attention
        own = next(branch for branch in self.plan.branches if branch.name == name)
        return (*(edit for edit in self.plan.attention if edit.everywhere), *own.attention)

    # --- one pass ---------------------------------------------------------------------------------

    @contextmanager
    def editing(self, blocks: Sequence[Block], inputs: dict[str, Any]) -> Iterator[None]:
        """Edit one pass while the block of code runs.

        Args:
            blocks: its rows.
            inputs: what it is given; ``position_ids`` may be replaced here.
        """
        parts = [self._part(name, rows, inputs) for name, rows in blocks if self.edits_of(name)]
        with ExitStack() as stack:
            if self.plan.positions is not None:
                self._place(blocks, inputs)
            if self.plan.needs_positions:
                stack.enter_context(self._watching(blocks, inputs))
            if parts:
                stack.enter_context(editing(self.adapter.attention, parts))
            for name, rows in blocks:
                if name == FACTUAL and self.plan.residual:
                    columns = columns_of(inputs)  # the cache grows while the pass runs
                    changes = [
                        (layer, edit.at, partial(self._changed, edit, layer, rows, inputs, columns))
                        for edit in self.plan.residual
                        for layer in edit.layers(self.adapter.depth)
                    ]
                    stack.enter_context(changed(self.adapter.layers, rows, changes))
            yield

    def _layout(self, name: str) -> Layout | None:
        return self._layouts.get(name, self._layouts.get(FACTUAL))

    def _part(self, name: str, rows: slice, inputs: Mapping[str, Any]) -> Part:
        by_layer: dict[int, list[AttentionEdit]] = {}
        for edit in self.edits_of(name):
            if edit.neutral:
                continue
            for layer in edit.where.of(self.adapter.depth):
                by_layer.setdefault(layer, []).append(edit)
        cache = inputs.get("past_key_values")
        columns = columns_of(inputs)
        layout = self._layout(name)
        return Part(
            rows,
            by_layer,
            _padding(inputs, rows),
            None if cache is None else columns,
            self.seeds,
            None if layout is None else layout.extended(columns),
            {probe: found.heads for probe, found in self.probed.items()},
            {probe: found.vision for probe, found in self.probed.items()},
            {probe: found.counterparts for probe, found in self.probed.items()},
            self._memories.setdefault(name, {}),
            lambda: self._positions[name],
            self.rotations,
        )

    def _changed(
        self,
        edit: ResidualEdit,
        layer: int,
        rows: slice,
        inputs: Mapping[str, Any],
        columns: int,
        states: Tensor,
    ) -> Tensor:
        """The states of one layer after one edit of the residual stream."""
        here = torch.arange(columns - states.shape[1], columns, device=states.device)
        layout = self._layout(FACTUAL)
        found = self.probed[edit.probe] if edit.probe else Probed()
        where = Coordinates(
            layer,
            here[None] - _padding(inputs, rows)[:, None].to(here.device),
            here[None],
            self.seeds,
            None if layout is None else layout.extended(columns),
            here,
            here,
            found.states.get(layer),
            self._memories.setdefault(FACTUAL, {}).setdefault((edit, layer), {}),
            counterparts=found.counterparts,
            tokens=inputs["input_ids"][rows],
        )
        return edit.function(states, where)

    @contextmanager
    def _watching(self, blocks: Sequence[Block], inputs: Mapping[str, Any]) -> Iterator[None]:
        """Take down the positions that the model's rotary embedding is given."""
        seen = False
        cached = inputs.get("past_key_values") is not None

        def hook(module: Any, given: tuple[Any, ...], named: Mapping[str, Any]) -> None:
            nonlocal seen
            if seen:  # asked once for each kind of layer
                return
            seen = True
            ids = named["position_ids"] if "position_ids" in named else given[1]
            for name, rows in blocks:
                own = ids if ids.shape[-2] == 1 else ids[..., rows, :]
                own = own.expand(*ids.shape[:-2], rows.stop - rows.start, -1)
                before = self._positions.get(name)
                if cached and before is not None:
                    own = torch.cat([before, own], dim=-1)
                self._positions[name] = own

        assert self.adapter.rotary is not None
        handle = self.adapter.rotary.register_forward_pre_hook(hook, with_kwargs=True)
        try:
            yield
        finally:
            handle.remove()

    def _place(self, blocks: Sequence[Block], inputs: dict[str, Any]) -> None:
        """Replace the position ids of a pass."""
        assert self.plan.positions is not None
        columns = columns_of(inputs)
        length = inputs["input_ids"].shape[1]
        found = []
        for name, _ in blocks:
            layout = self._layout(name)
            assert layout is not None
            layout = layout.extended(columns)
            plain = (layout.real.long().cumsum(dim=1) - 1).clamp(min=0)
            found.append(self.plan.positions.function(layout, plain)[:, -length:])
        inputs["position_ids"] = torch.cat(found)
        if inputs.get("attention_mask") is None:
            # without a mask, positions that repeat are taken for several texts in one row
            width = columns
            inputs["attention_mask"] = inputs["input_ids"].new_ones(
                inputs["input_ids"].shape[0], width
            )


def columns_of(inputs: Mapping[str, Any]) -> int:
    """Columns of the batch up to and including a pass's tokens."""
    cache = inputs.get("past_key_values")
    given = inputs.get("input_ids")
    length = (inputs["inputs_embeds"] if given is None else given).shape[1]
    return int(length) + (0 if cache is None else int(cache.get_seq_length()))


def _padding(inputs: Mapping[str, Any], rows: slice) -> Tensor:
    """Padding tokens ``[R]`` on the left of some rows."""
    mask = inputs.get("attention_mask")
    if mask is None:
        return torch.zeros(rows.stop - rows.start, dtype=torch.long)
    padding: Tensor = mask[rows].long().argmax(dim=1)
    return padding
