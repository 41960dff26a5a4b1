"""Edits of what heads put out, before the output projection mixes them."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from lmms_causal.interventions.attention.cells import Cells
from lmms_causal.interventions.attention.edits import AttentionEdit, HeadReplace, HeadScale
from lmms_causal.interventions.attention.layout import Role
from lmms_causal.interventions.attention.spans import ALL

__all__ = ["edited"]


def edited(output: Tensor, edit: AttentionEdit, cells: Cells) -> Tensor:
    """Return the outputs ``[R, q, H, d]`` of one layer after one edit."""
    rows = torch.arange(output.shape[1], device=output.device)
    heads = torch.arange(output.shape[2], device=output.device)
    region = cells.region(_of_outputs(edit), rows, heads)[..., 0].transpose(1, 2)[..., None]
    match edit.operation:
        case HeadScale(factor):
            if callable(factor):
                chosen = _chosen(output, edit, cells)
                if chosen is None:
                    return output
                changed = output * chosen[:, None, :, None].to(output.dtype)
            else:
                changed = output * factor
        case HeadReplace(values, known):
            where = cells.coordinates(edit, rows)
            changed = values(where).to(output.dtype)
            if known is not None:
                region = region & known(where)[..., None, None]
        case _:
            raise TypeError(f"{edit.operation} is not an edit of the output")
    return torch.where(region, changed, output)


def _of_outputs(edit: AttentionEdit) -> AttentionEdit:
    """The edit without keys, which outputs have none of."""
    return replace(edit, where=replace(edit.where, keys=ALL))


def _chosen(output: Tensor, edit: AttentionEdit, cells: Cells) -> Tensor | None:
    """Factors ``[R, H]`` found at the prompt's last token and kept; None before it was met."""
    memory = cells.memory(edit)
    layout, operation = cells.part.layout, edit.operation
    assert layout is not None and isinstance(operation, HeadScale) and callable(operation.factor)
    if "factor" not in memory:
        here = (cells.query_columns == layout.prompt_end - 1).nonzero()
        if not len(here):
            return None
        index = int(here[0, 0])
        probe = cells.coordinates(edit, cells.query_columns.new_tensor([index])).probe
        assert probe is not None, "the plan has no probe of this name"
        found = operation.factor(output[:, index].float(), probe.float())
        # without a picture both prompts are one, and their difference is rounding
        shown = (layout.roles == Role.IMAGE).any(dim=1).to(found.device)
        memory["factor"] = torch.where(shown[:, None], found, 1.0)
    factor: Tensor = memory["factor"]
    return factor
