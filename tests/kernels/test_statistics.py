"""Statistics of attention in chunks, against the full float64 matrix and worked examples.

The worked numbers are those of the papers' definitions on matrices small enough to do by hand.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.kernels.column_statistics import BlockMeans, ColumnMeans, FutureInfluence
from lmms_causal.kernels.statistics import (
    Distances,
    LogSumExp,
    Masses,
    Selected,
    Strongest,
    collect,
)
from lmms_causal.kernels.stream import Attention, stream

RHYTHM = [  # the rows of section 4's definitions, worked by hand
    [1.0],
    [0.5, 0.5],
    [0.2, 0.3, 0.5],
    [0.6, 0.1, 0.1, 0.2],
    [0.1, 0.1, 0.1, 0.3, 0.4],
    [0.5, 0.1, 0.1, 0.1, 0.1, 0.1],
]
CALIBRATION = [
    [1.0],
    [0.7, 0.3],
    [0.5, 0.1, 0.4],
    [0.45, 0.05, 0.4, 0.1],
    [0.4, 0.05, 0.35, 0.1, 0.1],
]


def with_weights(rows: list[list[float]]) -> Attention:
    """A call whose causal weights are given: query ``i`` picks dimension ``i`` of the keys."""
    size = len(rows)
    scores = torch.zeros(size, size, dtype=torch.float64)
    for index, row in enumerate(rows):
        scores[index, : len(row)] = torch.tensor(row, dtype=torch.float64).log()
    return Attention(torch.eye(size).double()[None, None], scores.T[None, None], scale=1.0)


def definition(call: Attention) -> tuple[Tensor, Tensor, Tensor]:
    """Weights ``[B, H, m, n]``, what may be seen, and log-sum-exp, written out in float64."""
    query, key = call.query.double(), call.key.double()
    batch, heads, length, width = query.shape
    count = key.shape[2]
    key = key.repeat_interleave(heads // key.shape[1], dim=1)
    scores = query @ key.transpose(2, 3) * (width**-0.5 if call.scale is None else call.scale)
    if call.softcap:
        scores = call.softcap * torch.tanh(scores / call.softcap)
    allowed = torch.ones(batch, heads, length, count, dtype=torch.bool)
    for i in range(length):
        for j in range(count):
            if call.causal and j > count - length + i:
                allowed[:, :, i, j] = False
    if call.padding is not None:
        for row, first in enumerate(call.padding.tolist()):
            allowed[row, :, :, :first] = False
    if isinstance(call.mask, Tensor) and call.mask.dtype == torch.bool:
        allowed &= call.mask
    elif isinstance(call.mask, Tensor):
        allowed &= call.mask > torch.finfo(call.mask.dtype).min / 2
        scores = scores + torch.where(allowed, call.mask.double(), 0.0)
    scores = scores.masked_fill(~allowed, -math.inf)
    return scores.softmax(-1).nan_to_num(0.0), allowed, scores.logsumexp(-1)


def random_call(kind: str) -> Attention:
    generator = torch.Generator().manual_seed(3)

    def draw(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    queries = {"decode": 1, "chunked prefill": 5}.get(kind, 13)
    call = {"query": 2 * draw(2, 6, queries, 7), "key": draw(2, 2, 13, 7)}
    opened = torch.rand(2, 1, queries, 13, generator=generator) < 0.6
    opened[0, :, -1] = False  # a row that may see nothing
    further = {
        "padding": {"padding": torch.tensor([0, 3])},
        "softcap": {"softcap": 1.5, "scale": 0.9},
        "bool mask": {"mask": opened, "causal": False},
        "added mask": {
            "mask": draw(1, 6, queries, 13).masked_fill(~opened[:1], torch.finfo(torch.float64).min)
        },
        "infinite mask": {
            "mask": torch.zeros(1, 1, queries, 13).masked_fill(~opened[:1], -math.inf)
        },
        "not causal": {"causal": False},
    }
    return Attention(**call, **further.get(kind, {}))


KINDS = (
    "plain",
    "decode",
    "chunked prefill",
    "padding",
    "softcap",
    "bool mask",
    "added mask",
    "infinite mask",
    "not causal",
)


@pytest.fixture(params=KINDS)
def call(request: pytest.FixtureRequest) -> Attention:
    return random_call(request.param)


@pytest.mark.parametrize("elements", [1, 2 * 6 * 13 * 4, 10**6])
def test_one_pass_gives_what_the_full_matrix_gives(call, elements):
    weights, allowed, logsumexp = definition(call)
    length, count = weights.shape[-2:]
    generator = torch.Generator().manual_seed(0)
    labels = torch.randint(-1, 3, (2, count), generator=generator)
    rows = torch.rand(2, length, generator=generator) < 0.7
    sentences = torch.randint(-1, 2, (2, length), generator=generator)
    columns = torch.tensor([0, count - 1, 4])
    found = collect(
        call,
        {
            "logsumexp": LogSumExp(),
            "masses": Masses(labels, 3),
            "strongest": Strongest(),
            "selected": Selected(columns),
            "averaged": Selected(columns, average=True),
            "distances": Distances([None, 3]),
            "means": ColumnMeans(rows),
            "sums": ColumnMeans(sums=True),
            "blocks": BlockMeans(sentences, labels, (2, 3)),
            "influence": FutureInfluence(1, 4, rows),
        },
        elements=elements,
    )
    gaps = (torch.arange(count - length, count)[:, None] - torch.arange(count)).abs()
    counted = rows[:, None, :, None].double()
    near = (
        (gaps >= 1)
        & (gaps <= 4)
        & (torch.arange(count) <= torch.arange(count - length, count)[:, None])
    )
    near = near * counted
    members = torch.stack([labels == label for label in range(3)], dim=-1).double()
    asking = torch.stack([sentences == label for label in range(2)], dim=-1).double()
    expected = {
        "logsumexp": logsumexp,
        "masses": weights @ members[:, None],
        "strongest": weights.argmax(-1).masked_fill(~allowed.any(-1), -1),
        "selected": weights[..., columns],
        "averaged": weights[..., columns].mean(1, keepdim=True),
        "distances": torch.stack(
            [(weights * gaps).sum(-1), (weights * gaps.clamp(max=3)).sum(-1)], -1
        ),
        "means": (weights * counted).sum(2) / (allowed * counted).sum(2),
        "sums": weights.sum(2),
        "blocks": asking.mT[:, None]
        @ weights
        @ members[:, None]
        / (asking.sum(1)[:, None, :, None] * members.sum(1)[:, None, None]),
        "influence": (weights * near).sum(2) / near.sum(2),
    }
    for name, value in expected.items():
        torch.testing.assert_close(
            found[name],
            value,
            rtol=1e-11,
            atol=1e-12,
            equal_nan=True,
            msg=lambda m, n=name: f"{n}: {m}",
            check_dtype=False,
        )


def test_a_mask_may_be_a_function_of_the_rows():
    call = random_call("bool mask")
    asked = []

    def rows_of(rows: slice) -> Tensor:
        asked.append((rows.start, rows.stop))
        return call.mask[:, :, rows]

    lazy = Attention(call.query, call.key, causal=False, mask=rows_of)
    labels = torch.arange(13).expand(2, -1)
    one, other = (collect(it, {"m": Masses(labels, 13)}, elements=1)["m"] for it in (call, lazy))
    assert torch.equal(one, other)
    assert asked == [(i, i + 1) for i in range(13)], "never more rows than a chunk has"


def test_a_range_of_rows_gives_these_rows_and_no_others():
    call = random_call("padding")
    labels = torch.arange(13).expand(2, -1)
    every = collect(call, {"m": Masses(labels, 13), "far": Distances()})
    some = collect(call, {"m": Masses(labels, 13), "far": Distances()}, slice(4, 9), elements=400)
    assert all(torch.allclose(some[name], every[name][:, :, 4:9], atol=1e-14) for name in every)
    chosen = torch.zeros(2, 13, dtype=torch.bool)
    chosen[:, 4:9] = True
    means = collect(call, {"c": ColumnMeans()}, slice(4, 9))["c"]
    torch.testing.assert_close(
        means, collect(call, {"c": ColumnMeans(chosen)})["c"], equal_nan=True
    )
    blocks = torch.tensor([0, 1]).repeat_interleave(torch.tensor([6, 7])).expand(2, -1)
    inside = collect(call, {"b": BlockMeans(blocks, blocks, (2, 2))}, slice(0, 6))["b"]
    whole = collect(call, {"b": BlockMeans(blocks, blocks, (2, 2))})["b"]
    torch.testing.assert_close(inside[:, :, 0], whole[:, :, 0])
    assert inside[:, :, 1].isnan().all(), "a block none of whose queries were in the pass"


def test_a_row_of_a_padded_batch_has_the_statistics_it_has_alone():
    call = random_call("padding")
    alone = Attention(call.query[1:, :, 3:], call.key[1:, :, 3:])
    made = [collect(it, {"far": Distances([None, 4]), "c": ColumnMeans()}) for it in (call, alone)]
    torch.testing.assert_close(made[0]["far"][1:, :, 3:], made[1]["far"])
    torch.testing.assert_close(made[0]["c"][1:, :, 3:], made[1]["c"])
    assert made[0]["c"][1, :, :3].isnan().all(), "no one may see padding"


def test_low_precision_is_read_in_float32():
    call = random_call("plain")
    half = Attention(call.query.bfloat16(), call.key.bfloat16())
    exact, _, logsumexp = definition(Attention(half.query.double(), half.key.double()))
    found = collect(half, {"l": LogSumExp(), "m": Masses(torch.arange(13).expand(2, -1), 13)})
    assert found["m"].dtype == torch.float32
    torch.testing.assert_close(found["m"], exact.float(), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(found["l"], logsumexp.float(), atol=1e-5, rtol=1e-5)


def test_keys_that_no_row_of_a_chunk_may_see_are_not_computed():
    widths = [len(chunk.keys) for chunk in stream(random_call("plain"), elements=1)]
    assert widths == list(range(1, 14))


def test_the_worked_example_of_rhythm():
    """WAAD at W=2, distances, span of the rows 2 to 5, and FAI from 1 to 3 tokens on."""
    found = collect(
        with_weights(RHYTHM),
        {"far": Distances([2, None]), "fai": FutureInfluence(1, 3)},
        elements=1,
    )
    windowed, distances = found["far"][0, 0].unbind(-1)
    assert windowed.tolist() == pytest.approx([0, 0.5, 0.7, 1.5, 0.9, 1.7])
    assert distances.tolist() == pytest.approx([0, 0.5, 0.7, 2.1, 1.2, 3.5])
    assert float(distances[2:].mean()) == pytest.approx(1.875)
    influence = found["fai"][0, 0]
    assert influence[:-1].tolist() == pytest.approx([0.4333333, 0.1666667, 0.1, 0.2, 0.1], abs=1e-6)
    assert influence[-1].isnan(), "nothing comes after the last token"


def test_the_worked_example_of_column_means():
    means = collect(with_weights(CALIBRATION), {"means": ColumnMeans()})["means"][0, 0]
    assert means.tolist() == pytest.approx([0.61, 0.125, 0.3833333, 0.1, 0.1], abs=1e-6)


@pytest.mark.parametrize(
    ("shapes", "message"),
    [
        (((1, 4, 3, 8), (1, 3, 3, 8)), "4 query heads over 3 key heads"),
        (((1, 4, 3, 8), (1, 2, 3, 6)), "same B and d"),
        (((1, 4, 5, 8), (1, 2, 3, 8)), "there must be a key for each query"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(shapes, message):
    with pytest.raises(UserError, match=message):
        Attention(*(torch.zeros(shape) for shape in shapes))


def test_what_makes_no_sense_is_refused():
    call = random_call("plain")
    with pytest.raises(UserError, match="none of 13 queries"):
        collect(call, {}, slice(5, 5))
    with pytest.raises(UserError, match="label 3 of a token"):
        Masses(torch.full((2, 13), 3), 3)
    with pytest.raises(UserError, match="future influence at 5 to 2 tokens"):
        FutureInfluence(5, 2)
