"""One pass over a trace, from which everything that is asked of its attention is taken.

Layer by layer, while the model runs, the weights of the rows that are wanted are computed again in
chunks, and reduced at once; see :mod:`lmms_causal.kernels.stream`. Under interventions that edit
masks, scores or weights these are the edited weights.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from lmms_causal.attend.subject import Subject
from lmms_causal.attend.traces import Trace
from lmms_causal.errors import UserError
from lmms_causal.interventions.attention import explicit
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Cells, Part
from lmms_causal.interventions.attention.edits import AttentionEdit, HeadReplace, HeadScale
from lmms_causal.interventions.attention.layout import Layout
from lmms_causal.interventions.attention.observing import observing
from lmms_causal.interventions.edits.tokens import edited, without_media
from lmms_causal.kernels.statistics import Statistic, collect, consume
from lmms_causal.kernels.stream import ELEMENTS, Attention, Chunk

__all__ = ["Wanted", "head_outputs", "read"]


@dataclass(frozen=True)
class Wanted:
    """A statistic that an analysis wants of every layer.

    Attributes:
        make: makes a fresh one.
        rows: consecutive queries of the trace to go over; None for all.
    """

    make: Callable[[], Statistic]
    rows: slice | None = None


def read(subject: Subject, trace: Trace, wanted: Mapping[str, Wanted]) -> dict[str, Tensor]:
    """Run a trace once and return every statistic of all layers.

    Statistics of the same rows share one pass over the weights.

    Returns:
        By name, what the statistic gives for a batch of one, on the CPU: ``[L, H, ...]``.
    """
    by_rows: dict[tuple[int, int], dict[str, Wanted]] = defaultdict(dict)
    for name, want in wanted.items():
        start, stop, _ = (want.rows or slice(None)).indices(trace.length)
        by_rows[start, stop][name] = want
    edits = _inner(subject)
    layers: dict[int, dict[str, Tensor]] = {}

    def visit(layer: int, call: Call) -> None:
        if call.query.shape[2] != trace.length:
            return  # a probe's prompt
        found: dict[str, Tensor] = {}
        for (start, stop), group in by_rows.items():
            statistics = {name: want.make() for name, want in group.items()}
            rows = slice(start, stop)
            here = [edit for edit in edits if layer in edit.where.of(subject.adapter.depth)]
            if here:
                chunks = _edited(call, here, layer, trace.layout, rows)
                results = consume(chunks, statistics)
            else:
                results = collect(_attention(call), statistics, rows)
            found.update({name: value[0].cpu() for name, value in results.items()})
        layers[layer] = found  # of several passes of this length the factual one is the last

    with observing(subject.adapter.attention, visit):
        subject.run(trace.inputs, trace.start, trace.turn, subject.edits)
    _check_layers(subject, layers)
    return {name: torch.stack([layers[layer][name] for layer in sorted(layers)]) for name in wanted}


def head_outputs(subject: Subject, trace: Trace, *, picture: bool) -> list[Tensor]:
    """Return what every head puts out at the queries that predict the answer.

    Args:
        subject: the model.
        trace: the text.
        picture: whether it is shown; without it its tokens are dropped, and positions count on.

    Returns:
        For each layer ``[T, H, d]``, before the output projection, on the CPU.
    """
    inputs: Mapping[str, Any] = trace.inputs
    start, turn = trace.start, trace.turn
    if not picture:
        inputs = edited(inputs, without_media, subject.adapter, trace.start)
        start -= trace.length - inputs["input_ids"].shape[1]
    length = inputs["input_ids"].shape[1]
    rows = slice(start - 1, max(start, length - 1))
    found: dict[int, Tensor] = {}

    def visit(layer: int, call: Call) -> None:
        if call.output is not None and call.query.shape[2] == length:
            found[layer] = call.output[0, rows].cpu()

    with observing(subject.adapter.attention, visit):
        subject.run(inputs, start, turn if picture else None, subject.edits)
    _check_layers(subject, found)
    return [found[layer] for layer in sorted(found)]


def _check_layers(subject: Subject, found: Mapping[int, Any]) -> None:
    if len(found) != subject.adapter.depth:
        missing = sorted(set(range(subject.adapter.depth)) - found.keys())
        raise UserError(
            f"{subject.name}: attention of the layers {missing} was not met; they do not take "
            "their attention function from transformers, so nothing can be said about them"
        )


def _inner(subject: Subject) -> list[AttentionEdit]:
    """The plan's edits of masks, scores and weights."""
    outer = (HeadScale, HeadReplace)
    inner = [
        edit
        for edit in subject.plan.attention
        if not isinstance(edit.operation, outer) and not edit.neutral
    ]
    if any(edit.probe is not None for edit in inner):
        raise UserError(
            f"interventions={subject.spec} edits weights by what it finds in another prompt, which "
            "cannot be analysed; use another intervention"
        )
    return inner


def _attention(call: Call) -> Attention:
    """A model's call as the statistics take it."""
    if call.options.get("s_aux") is not None:
        raise UserError(
            f"{type(call.module).__name__} has learned attention sinks, which the statistics do "
            "not know; use another model"
        )
    added = call.mask is not None and call.mask.dtype != torch.bool
    return Attention(
        call.query,
        call.key,
        scale=call.scale,
        causal=False,  # it is in what is allowed
        mask=call.mask[..., : call.key.shape[2]]
        if added and call.mask is not None
        else call.allowed,
        softcap=call.softcap,
    )


def _edited(
    call: Call, edits: list[AttentionEdit], layer: int, layout: Layout, rows: slice
) -> Iterator[Chunk]:
    """The chunks of a call whose masks, scores or weights are edited."""
    part = Part(
        slice(0, 1),
        {layer: edits},
        padding=torch.zeros(1, dtype=torch.long),
        end=None,
        seeds=(0,),
        layout=layout,
    )
    cells = Cells(part, layer, call)
    heads = torch.arange(call.query.shape[1], device=call.query.device)
    count = call.key.shape[2]
    step = max(1, ELEMENTS // (len(heads) * count))
    for first in range(rows.start, rows.stop, step):
        last = min(first + step, rows.stop)
        picked = torch.arange(first, last, device=heads.device)
        yield Chunk(
            rows=slice(first, last),
            weights=explicit.weights(call, edits, cells, picked, heads),
            allowed=explicit.may_see(call, edits, cells, picked, heads),
            queries=picked + count - call.query.shape[2],
            keys=torch.arange(count, device=heads.device),
            total=count,
        )
