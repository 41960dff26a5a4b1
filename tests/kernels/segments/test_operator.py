"""Segment attention: against the definition of PINE, and what that definition promises."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from functools import cache
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.rotation import Rotation, rotate
from lmms_causal.kernels.segments import (
    Placement,
    SegmentLayout,
    parts,
    segment_attention,
    unrotated_keys,
)

_spec = importlib.util.spec_from_file_location(
    "pine_by_definition", Path(__file__).parents[1] / "pine_by_definition.py"
)
assert _spec is not None and _spec.loader is not None
definition = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(definition)

VARIANTS = [
    (o, s) for o in ("importance", "reverse", "sequential", "stacked") for s in ("mutual", "own")
]
SCALE = 0.6


@dataclass
class Case:
    """A row without rotary embedding, and its layout."""

    groups: list[list[tuple[int, int]]]
    length: int
    first: int = 0
    heads: int = 4
    shared: int = 2
    width: int = 8
    frequencies: int = 4
    dtype: torch.dtype = torch.float64
    seed: int = 0
    options: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        draw = torch.Generator().manual_seed(self.seed)
        self.q0, self.k0, self.v = (
            torch.randn(heads, self.length, self.width, generator=draw, dtype=torch.float64)
            for heads in (self.heads, self.shared, self.shared)
        )
        self.inv_freq = 0.7 ** torch.arange(self.frequencies, dtype=torch.float64)
        self.layout = SegmentLayout.of(self.groups, self.length, self.first)

    def run(self, first_query: int = 0, stop: int | None = None, **options: Any) -> Tensor:
        """The operator on columns ``first_query .. stop``."""
        options = {**self.options, **options}
        rotation = Rotation(self.inv_freq, options.pop("interleaved", False))
        positions = (torch.arange(self.length) - self.first).clamp(min=0)
        q, k = (rotate(x, positions, rotation).to(self.dtype) for x in (self.q0, self.k0))
        v = self.v.to(self.dtype)
        stop = self.length if stop is None else stop
        return segment_attention(
            q[:, first_query:stop],
            k[:, :stop],
            v[:, :stop],
            layout=self.layout,
            positions=positions,
            rotation=rotation,
            scale=SCALE,
            first_query=first_query,
            **options,
        )

    def by_definition(self, **options: Any) -> tuple[Tensor, dict[tuple[int, int, int], float]]:
        """What the operator should give, and where the definition put the keys."""
        options = {**self.options, **options}
        return definition.pine_by_definition(
            self.q0, self.k0, self.v, self.groups, self.inv_freq, SCALE, first=self.first, **options
        )

    def permuted(self, orders: list[tuple[int, ...]]) -> tuple[Case, list[int]]:
        """The same row with the segments of each group in another order, and its columns here."""
        columns: list[int] = []
        groups, place = [], 0
        for spans, order in zip(self.groups, orders, strict=True):
            columns += range(place, spans[0][0])
            group = []
            for c in order:
                group.append((len(columns), len(columns) + spans[c][1] - spans[c][0]))
                columns += range(*spans[c])
            groups.append(group)
            place = spans[-1][1]
        columns += range(place, self.length)
        case = Case(groups, self.length, self.first, dtype=self.dtype, options=self.options)
        case.q0, case.k0, case.v = (x[:, columns] for x in (self.q0, self.k0, self.v))
        return case, columns


def close(got: Tensor, want: Tensor, atol: float = 1e-10) -> None:
    torch.testing.assert_close(got, want, atol=atol, rtol=0)


LAYOUTS = {
    "one": Case([[(3, 8)]], 12),
    "two": Case([[(3, 8), (8, 10)]], 14),
    "three": Case([[(2, 4), (4, 9), (9, 12)]], 16),
    "four": Case([[(2, 4), (4, 9), (9, 10), (10, 14)]], 18),
    "no prefix": Case([[(0, 3), (3, 5), (5, 9)]], 12),
    "no suffix": Case([[(2, 5), (5, 7), (7, 11)]], 11),
    "padding": Case([[(5, 7), (7, 11), (11, 14)]], 18, first=3),
    "padding, no prefix": Case([[(3, 7), (7, 11), (11, 12)]], 15, first=3),
    "two groups": Case([[(2, 4), (4, 7), (7, 8)], [(10, 13), (13, 14), (14, 18)]], 21),
    "groups that touch": Case([[(1, 4), (4, 6)], [(6, 8), (8, 11), (11, 12)]], 14),
    "one head for each": Case([[(2, 4), (4, 9), (9, 12)]], 15, heads=3, shared=3),
    "one head for all": Case([[(2, 4), (4, 9), (9, 12)]], 15, heads=3, shared=1),
    "partial rotary": Case([[(2, 4), (4, 9), (9, 12)]], 15, width=10, frequencies=3),
}


@pytest.fixture(params=["kernels", "table"])
def way(request, monkeypatch) -> None:
    """Both ways to compute, whatever the number of queries would choose."""
    monkeypatch.setattr(parts, "_FEW", 0 if request.param == "kernels" else 1 << 20)


@cache
def defined(name: str, order: str, visible: str, options: tuple[tuple[str, Any], ...]) -> Tensor:
    case = LAYOUTS[name]
    return case.by_definition(order=order, visible=visible, **dict(options))[0]


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize(("order", "visible"), VARIANTS)
def test_is_the_definition(name, order, visible) -> None:
    got = LAYOUTS[name].run(order=order, visible=visible)
    close(got, defined(name, order, visible, ()))


@pytest.mark.parametrize(
    "options",
    [
        {"softcap": 1.5},
        {"window": 4},
        {"window": 9},
        {"window": 5, "softcap": 1.5, "interleaved": True},
    ],
    ids=str,
)
@pytest.mark.parametrize(("order", "visible"), VARIANTS)
@pytest.mark.parametrize("name", ["three", "two groups"])
@pytest.mark.usefixtures("way")
def test_cap_window_and_layout_of_pairs(name, order, visible, options) -> None:
    got = LAYOUTS[name].run(order=order, visible=visible, **options)
    close(got, defined(name, order, visible, tuple(options.items())))


def test_a_window_is_cut_into_rows(monkeypatch) -> None:
    monkeypatch.setattr(parts, "_FEW", 0)
    monkeypatch.setattr(parts, "_MASKED", 1)
    options = {"window": 5}
    want = defined("two groups", "importance", "mutual", tuple(options.items()))
    close(LAYOUTS["two groups"].run(**options), want)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("name", ["four", "two groups", "padding", "no suffix"])
@pytest.mark.parametrize("options", [{}, {"window": 6}, {"order": "stacked"}], ids=str)
def test_steps_and_chunks_of_the_text_after_are_rows_of_the_whole(name, options) -> None:
    case = LAYOUTS[name]
    whole = case.run(**options)
    end = case.groups[-1][-1][1]
    close(case.run(0, end, **options), whole[:, :end])
    for column in range(end, case.length):
        close(case.run(column, column + 1, **options), whole[:, column : column + 1])
    close(case.run(end, **options), whole[:, end:])


def test_the_row_grows_with_generated_tokens_and_longer_buffers_are_cut() -> None:
    grown = Case([[(2, 5), (5, 7), (7, 11)]], 16)
    short = SegmentLayout.of(grown.groups, 11)
    want, _ = grown.by_definition()
    grown.layout = short  # as it was when the prompt was read
    close(grown.run(), want)
    close(grown.run(13, 14), want[:, 13:14])
    rotation, positions = Rotation(grown.inv_freq), torch.arange(16)
    q, k = (rotate(x, positions, rotation) for x in (grown.q0, grown.k0))
    common: dict[str, Any] = {"layout": short, "positions": positions, "rotation": rotation}
    buffered = segment_attention(
        q[:, 12:13], k, grown.v, first_query=12, scale=SCALE, **common
    )  # as a static cache has it: later columns are there and mean nothing
    close(buffered, want[:, 12:13])
    kept = unrotated_keys(k[:, :11], short, positions[:11], rotation)
    close(kept, grown.k0[:, 2:11])
    given = segment_attention(
        q[:, 12:13], k, grown.v, first_query=12, scale=SCALE, unrotated=kept, **common
    )
    close(given, want[:, 12:13])


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("order", ["importance", "reverse"])
@pytest.mark.parametrize("options", [{}, {"window": 5}, {"softcap": 1.0}], ids=str)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_the_order_of_segments_changes_nothing(order, options, dtype) -> None:
    """The promise of PINE, for two groups at once: segments take their outputs along."""
    case = Case([[(2, 4), (4, 7), (7, 8)], [(10, 13), (13, 14), (14, 18)]], 21, dtype=dtype)
    want = case.run(order=order, **options)
    moved = case.run(order="sequential", **options)
    for first in permutations(range(3)):
        for second in permutations(range(3)):
            other, columns = case.permuted([first, second])
            slack = 1e-12 if dtype is torch.float64 else 1e-5
            close(other.run(order=order, **options), want[:, columns], slack)
    other, columns = case.permuted([(2, 0, 1), (1, 0, 2)])
    assert (other.run(order="sequential", **options) - moved[:, columns]).abs().max() > 0.1


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_equally_important_segments_go_by_rank(dtype) -> None:
    """The same words in another order: importance ties, and prompt order would decide."""
    case = Case([[(2, 6), (6, 10), (10, 14)]], 17, dtype=dtype)
    for segment, words in enumerate(([0, 1, 2, 3], [3, 1, 0, 2], [1, 3, 2, 0])):
        columns = [2 + word for word in words]
        start = 2 + 4 * segment
        for x in (case.q0, case.k0, case.v):
            x[:, start : start + 4] = x[:, columns].clone() if segment else x[:, 2:6]
    orders = list(permutations(range(3)))
    outputs = []
    for ranked in (True, False):
        last = []
        for order in orders:
            other, _ = case.permuted([order])
            ranks = [[c + 1 for c in order]] if ranked else None
            other.layout = SegmentLayout.of(other.groups, other.length, ranks=ranks)
            last.append(other.run()[:, -3:].double())
        outputs.append(torch.stack(last))
    slack = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 0.02}[dtype]
    close(outputs[0], outputs[0][:1].expand_as(outputs[0]), slack)
    assert (outputs[1] - outputs[1][:1]).abs().max() > 0.1


@pytest.mark.parametrize("lengths", [(5, 9), (3, 1, 8), (7, 2, 4, 11)])
def test_stacked_segments_that_are_closed_to_each_other_are_sets_as_well(lengths) -> None:
    edges = [2]
    for length in lengths:
        edges.append(edges[-1] + length)
    case = Case([list(pairwise(edges))], edges[-1] + 3)
    order = tuple(reversed(range(len(lengths))))
    other, columns = case.permuted([order])
    options = {"order": "stacked", "visible": "own"}
    close(other.run(**options), case.run(**options)[:, columns], 1e-12)


def test_one_segment_is_ordinary_attention() -> None:
    case = LAYOUTS["one"]
    close(case.run(), Case([], 12).by_definition()[0])
    assert case.layout.groups == ()


def test_long_rows_in_float32_keep_the_promise() -> None:
    """Positions in the hundreds, where angles are large and sums long."""
    case = Case(
        [[(40, 140), (140, 320), (320, 350), (350, 512)]],
        560,
        width=32,
        frequencies=16,
        dtype=torch.float32,
    )
    want = case.run()
    for order in ((3, 2, 1, 0), (1, 3, 0, 2)):
        other, columns = case.permuted([order])
        other.width, other.frequencies, other.inv_freq = 32, 16, case.inv_freq
        got = other.run()
        close(got, want[:, columns], 2e-5)


@pytest.mark.usefixtures("way")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_near(dtype) -> None:
    case = Case([[(8, 24), (24, 56), (56, 64)]], 80, dtype=dtype)
    want = Case([[(8, 24), (24, 56), (56, 64)]], 80).run()
    got = case.run()
    error = (got.double() - want).abs().amax(-1)
    assert got.dtype is dtype
    assert error.median() < 0.05  # a near tie may be decided otherwise, and then is far off


def test_a_picture_moves_as_a_whole() -> None:
    """Under M-RoPE a picture of 2 x 3 tokens takes three positions, on three axes."""
    rotation = Rotation(0.7 ** torch.arange(6).double(), axes=torch.tensor([0, 0, 1, 1, 2, 2]))
    picture = [(0, y, x) for y in range(2) for x in range(3)]
    pieces: list[list[tuple[int, int, int]]] = [
        [(0, 0, 0), *((1 + t, 1 + y, 1 + x) for t, y, x in picture)],
        [(0, 0, 0), (1, 1, 1), (2, 2, 2)],
        [*picture, (3, 3, 3), (4, 4, 4)],
    ]
    columns, takes = [range(2, 9), range(9, 12), range(12, 20)], (4, 3, 5)
    draw = torch.Generator().manual_seed(1)
    q0, k0, v = (torch.randn(h, 23, 12, generator=draw).double() for h in (4, 2, 2))

    def run(order: tuple[int, ...]) -> tuple[Tensor, list[int]]:
        places, start, edges = [(0, 0, 0), (1, 1, 1)], 2, [2]
        for c in order:
            places += [(start + t, start + y, start + x) for t, y, x in pieces[c]]
            start += takes[c]
            edges.append(edges[-1] + len(pieces[c]))
        places += [(start + step,) * 3 for step in range(3)]
        positions = torch.tensor(places).T
        layout = SegmentLayout.of([list(pairwise(edges))], 23)
        extents = Placement.of(layout.groups[0], positions).extents
        assert extents == tuple(takes[c] for c in order)
        index = [0, 1, *(j for c in order for j in columns[c]), 20, 21, 22]
        turns = torch.exp(1j * positions[rotation.axes].T * rotation.inv_freq)

        def embed(x: Tensor) -> Tensor:
            turned = torch.complex(x[:, index, :6], x[:, index, 6:]) * turns
            return torch.cat([turned.real, turned.imag], -1)

        out = segment_attention(
            embed(q0),
            embed(k0),
            v[:, index],
            layout=layout,
            positions=positions,
            rotation=rotation,
            scale=SCALE,
            first_query=0,
        )
        return out, index

    want, _ = run((0, 1, 2))
    for order in permutations(range(3)):
        got, index = run(order)
        close(got, want[:, index], 1e-12)


def test_calls_that_cannot_be() -> None:
    case = LAYOUTS["three"]
    with pytest.raises(UserError, match="did you mean 'importance'"):
        case.run(order="importence")
    with pytest.raises(UserError, match="visible 'all'"):
        case.run(visible="all")
    with pytest.raises(UserError, match="in one piece"):
        case.run(0, 8)  # the rest of the group is not there
    with pytest.raises(UserError, match=r"segment 1 of group 0 .* read from column 6"):
        case.run(6)
    with pytest.raises(UserError, match="unrotated has 3 keys but the segments 10"):
        case.run(unrotated=torch.zeros(2, 3, 8).double())
    assert case.run(6, order="stacked").shape == (4, 10, 8)  # nothing depends on the rest
    with pytest.raises(UserError, match="pass those of all columns"):
        segment_attention(
            case.q0,
            case.k0[:, :5],
            case.v,
            layout=case.layout,
            positions=torch.arange(16),
            rotation=Rotation(case.inv_freq),
            scale=1.0,
            first_query=0,
        )


def test_padding_sees_nothing_and_is_not_seen() -> None:
    case = LAYOUTS["padding"]
    want = case.run()
    assert (want[:, :3] == 0).all()
    case = Case(case.groups, case.length, case.first)
    case.k0[:, :3], case.v[:, :3] = 1e4, torch.inf
    assert torch.equal(case.run(), want)
    stripped = Case([[(a - 3, b - 3) for a, b in case.groups[0]]], case.length - 3)
    stripped.q0, stripped.k0, stripped.v = (x[:, 3:] for x in (case.q0, case.k0, case.v))
    assert torch.equal(stripped.run(), want[:, 3:])


def test_a_backward_pass_is_refused() -> None:
    case = LAYOUTS["three"]
    case = Case(case.groups, case.length)
    plain = case.run()
    case.q0.requires_grad_()
    positions, rotation = torch.arange(16), Rotation(case.inv_freq)
    k = rotate(case.k0, positions, rotation)
    with torch.no_grad():
        q = rotate(case.q0, positions, rotation)
    out = segment_attention(
        q.requires_grad_(),
        k,
        case.v,
        layout=case.layout,
        positions=positions,
        rotation=rotation,
        scale=SCALE,
        first_query=0,
    )
    assert torch.equal(out, plain)
    with pytest.raises(UserError, match="no gradient"):
        out.sum().backward()
