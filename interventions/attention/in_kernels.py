"""Edits inside the kernels: edges as patterns, biases and factors as products of two vectors.

An edit of a span of queries, a span of keys and some heads is a product of three functions, one of
each, so that nothing of the size of all queries by all keys is made. Edges that are named pair by
pair, and what replaces weights, are not of this form.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from lmms_causal.interventions.attention import backend
from lmms_causal.interventions.attention.backend import Asked, through_kernels
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Cells
from lmms_causal.interventions.attention.edits import (
    AttentionEdit,
    Bias,
    Close,
    Gain,
    Open,
    Pattern,
    Scale,
)
from lmms_causal.interventions.attention.mask_patterns import Written
from lmms_causal.interventions.attention.patterned import (
    asked,
    everywhere,
    for_kernels,
    places_of,
)
from lmms_causal.interventions.attention.sight import Stretch
from lmms_causal.kernels.edits import Edits, Term
from lmms_causal.kernels.patterns import AttentionPattern
from lmms_causal.kernels.patterns.rectangle import Ranges, Rectangle, ranges_where

__all__ = ["attend", "possible"]

_Edges = tuple[tuple[str, Ranges, Ranges], ...]
"""Of one row, by edit: ``open`` or ``close``, columns of queries, columns of keys."""


def possible(call: Call, edits: Sequence[AttentionEdit]) -> bool:
    """Whether the model runs on the kernels, and they can express a list of edits."""
    if call.original is not backend.attend or not for_kernels(call):
        return False
    unequal = False  # whether rows no longer sum to 1, which a later edit would mend
    patterns = 0
    for edit in edits:
        match edit.operation:
            case Pattern():
                patterns += 1
                if patterns > 1 or not everywhere(edit):
                    return False
            case Open(pairs=None) | Close(pairs=None) | Bias():
                pass
            case Gain(alpha) if not callable(alpha):
                pass
            case Scale(factor, renormalise) if factor > 0 or not renormalise:
                if renormalise and unequal:
                    return False
                unequal = unequal or not renormalise
            case _:
                return False
    return True


def attend(call: Call, edits: Sequence[AttentionEdit], cells: Cells) -> Tensor:
    """Return the output ``[R, q, H, d]`` of one layer under edits that are :func:`possible`."""
    edits = [it for it in edits if isinstance(it.operation, Pattern) or cells.concern(it)]
    if not edits:
        return call.plain()
    sight = call.sight
    assert sight is not None
    pattern = next((it.operation for it in edits if isinstance(it.operation, Pattern)), None)
    places = places_of(cells.part, len(call.query), pattern)
    edges = _edges(edits, cells, len(call.query))
    labels = list(zip(places, edges, strict=True))
    headed = [_heads(it, cells) for it in edits if isinstance(it.operation, (Open, Close))]

    def of(stretch: Stretch) -> Asked:
        place, own = labels[stretch.rows[0]]
        plain = Asked()
        if isinstance(pattern, Pattern):
            plain = asked(pattern, place, stretch, sight.queries)
        opened: AttentionPattern | None = None
        closed: AttentionPattern | None = None
        for (kind, queries, keys), heads in zip(own, headed, strict=True):
            if not (queries and keys) or heads == ():
                continue
            edge: AttentionPattern = Rectangle(
                _moved(queries, stretch.start), _moved(keys, stretch.start), heads
            )
            if kind == "close":
                closed = edge if closed is None else closed | edge
                continue
            if place.prompt is not None:
                edge = edge & Written(place.prompt)
            opened = edge if opened is None else opened | edge
        return Asked(plain.instead, plain.regions, opened, closed)

    return through_kernels(
        call.query,
        call.key,
        call.value,
        sight.split(labels),
        scale=call.scale,
        softcap=call.softcap,
        asked=of,
        edits=Edits(tuple(_terms(edits, cells))),
    )


def _edges(edits: Sequence[AttentionEdit], cells: Cells, count: int) -> list[_Edges]:
    """What each row opens and closes, by columns of the batch."""
    found: list[list[tuple[str, Ranges, Ranges]]] = [[] for _ in range(count)]
    real = None if cells.part.layout is None else cells.part.layout.real
    for edit in edits:
        if not isinstance(edit.operation, (Open, Close)):
            continue
        kind = "open" if isinstance(edit.operation, Open) else "close"
        queries = _marked(cells.queries(edit), cells.query_columns, real, count)
        keys = _marked(_keys(edit, cells), cells.key_columns, real, count)
        first = (int(cells.query_columns[0]), int(cells.key_columns[0]))
        for row in range(count):
            sides = (
                _moved(ranges_where(marked[row]), -start)
                for marked, start in zip((queries, keys), first, strict=True)
            )
            found[row].append((kind, *sides))
    return [tuple(one) for one in found]


def _marked(span: Tensor | None, columns: Tensor, real: Tensor | None, count: int) -> Tensor:
    """A span's members ``[R, c]`` among some columns, all if it is None, never padding."""
    marked = torch.ones(count, len(columns), dtype=torch.bool) if span is None else span.cpu()
    return marked if real is None else marked & real.cpu()[:, columns.cpu()]


def _keys(edit: AttentionEdit, cells: Cells) -> Tensor | None:
    """Which keys an edit means, ``[R, n]`` bool; None for all."""
    span = cells.part.span(edit.where.keys)
    return None if span is None else span.to(cells.device)[:, cells.key_columns]


def _heads(edit: AttentionEdit, cells: Cells) -> Ranges | None:
    """Which heads an edit means; None for all."""
    chosen = edit.where.heads.of(cells.layer)
    if chosen is None:
        return None
    marked = torch.zeros(cells.heads[0], dtype=torch.bool)
    marked[sorted(chosen)] = True
    return ranges_where(marked)


def _moved(ranges: Ranges, by: int) -> Ranges:
    """Ranges, so much earlier."""
    return tuple((start - by, stop - by) for start, stop in ranges)


def _terms(edits: Sequence[AttentionEdit], cells: Cells) -> list[Term]:
    """Biases, gains and factors: scores in the order of the list, then weights."""
    scores, factors = [], []
    for edit in edits:
        match edit.operation:
            case Bias() as operation:
                scores.append(_term("add", operation.of(cells.layer), edit, cells))
            case Gain(alpha) if not callable(alpha):
                scores.append(_term("gain", alpha, edit, cells))
            case Scale(factor, True):
                factors.append(_term("add", math.log(factor), edit, cells))
            case Scale(factor):
                factors.append(_term("weigh", factor - 1, edit, cells))
    return scores + factors


def _term(kind: str, amount: float, edit: AttentionEdit, cells: Cells) -> Term:
    """``amount`` where an edit applies: keys ``[R|1, H|1, n]``, queries ``[R|1, 1, q]``."""
    found = _keys(edit, cells)
    count, device = len(cells.key_columns), cells.device
    keys = torch.ones(1, 1, count, device=device) if found is None else found[:, None].float()
    chosen = edit.where.heads.of(cells.layer)
    if chosen is not None:
        heads = torch.zeros(1, cells.heads[0], 1, device=device)
        heads[:, sorted(chosen)] = 1
        keys = keys * heads
    queries = cells.queries(edit)
    rows = None if queries is None else queries[:, None].float()
    return Term(kind, keys * amount, rows)  # type: ignore[arg-type]
