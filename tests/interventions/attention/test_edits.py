"""The algebra of edits: fused, written out, and token by token, against its definition in loops."""

from __future__ import annotations

import math
import random

import pytest
import torch

from lmms_causal.interventions.attention import explicit, in_kernels
from lmms_causal.interventions.attention.call import Call
from lmms_causal.interventions.attention.cells import Cells, Part
from lmms_causal.interventions.attention.edits import (
    AttentionEdit,
    Bias,
    Calibrate,
    Close,
    Gain,
    HeadReplace,
    HeadScale,
    Open,
    Replace,
    Scale,
    Uniform,
    Where,
)
from lmms_causal.interventions.attention.heads import ALL_HEADS, Heads
from lmms_causal.interventions.attention.layout import Layout, Role
from lmms_causal.interventions.attention.spans import (
    ALL,
    BOS,
    GENERATED,
    IMAGE,
    LAST,
    PREDICTING,
    PROMPT,
    QUESTION,
    SYSTEM,
    tokens,
)

SPANS = (ALL, ALL, BOS, IMAGE, QUESTION, PROMPT, LAST, PREDICTING, GENERATED, ~SYSTEM, tokens(1, 3))
HEADS = (ALL_HEADS, ALL_HEADS, Heads(frozenset({2})), Heads(frozenset({0, 3})), Heads(frozenset()))
HEADS += (Heads.of_layers({1: [1], 0: [0]}),)
TABLE = torch.linspace(-1, 1, 12).double().reshape(1, 1, 4, 3)


def thirds(layout, queries, keys):
    """Every third pair of a query and a key."""
    return ((queries[:, None] + keys[None]) % 3 == 0)[None]


def nothing(layout, queries, keys):
    """No pair."""
    return torch.zeros(1, len(queries), len(keys), dtype=torch.bool)


def table(coordinates):
    return TABLE


def operations(sharpening):
    return (
        *(Open(), Open(thirds), Close(), Close(thirds), Bias(0.7), Bias(lambda layer: -layer)),
        *(Gain(0.5), Gain(-0.3), Scale(0.1), Scale(3.0, renormalise=False), Scale(0.0)),
        *(Uniform(), Replace(sharpening), Calibrate(0.4, 0.3), Calibrate(0.2, None, 2.0)),
        Calibrate(0.3, 0.2, first_found=True),
        *(HeadScale(0.5), HeadScale(0.0), HeadReplace(table)),
    )


def composition(seed, sharpening):
    """A random list of edits, of every operation."""
    draw = random.Random(1000 + seed)
    chosen = draw.sample(operations(sharpening), draw.randint(1, 6))
    return [
        AttentionEdit(it, Where(None, draw.choice(HEADS), draw.choice(SPANS), draw.choice(SPANS)))
        for it in chosen
    ]


@pytest.mark.parametrize("seed", range(60))
def test_every_way_to_carry_edits_out_is_the_definition(seed, drawn, definition, sharpening):
    attention, edits = drawn(seed), composition(seed, sharpening)
    real = attention.layout.real
    wanted = definition(attention, edits)[real]
    assert wanted.isfinite().all()
    for fused in (True, False) if attention.softcap is None else (False,):
        for found in (
            attention.whole(edits, fused=fused),
            attention.stepwise(edits, fused=fused),
        ):
            torch.testing.assert_close(found[real], wanted, atol=2e-6, rtol=1e-6)


@pytest.mark.parametrize("seed", range(80))
def test_edits_inside_the_kernels_are_the_definition(seed, drawn, definition):
    """Masks, biases, gains and factors, the model running on our kernels."""
    attention = drawn(seed)
    draw = random.Random(seed)
    kinds = [Open(), Close(), Close(), Bias(0.7), Bias(lambda layer: -layer), Gain(0.5), Gain(-0.3)]
    kinds += [Scale(0.1), Scale(2.5)] if seed % 2 else [Scale(3.0, renormalise=False), Scale(0.2)]
    chosen = draw.sample(kinds, draw.randint(1, 5))
    chosen.sort(key=lambda it: isinstance(it, Scale) and not it.renormalise)
    edits = [
        AttentionEdit(it, Where(None, draw.choice(HEADS), draw.choice(SPANS), draw.choice(SPANS)))
        for it in chosen
    ]
    everything = range(attention.count)
    assert in_kernels.possible(attention.call(everything, everything, True, kernels=True), edits)
    real = attention.layout.real
    wanted = definition(attention, edits)[real]
    for found in (attention.whole(edits, kernels=True), attention.stepwise(edits, kernels=True)):
        torch.testing.assert_close(found[real], wanted, atol=2e-6, rtol=1e-6)


def test_neutral_edits_written_out_are_the_explicit_implementation(drawn):
    """I2, I3: to the last bit."""
    attention = drawn(3)
    for name in ("query", "key", "value"):
        setattr(attention, name, getattr(attention, name).float())
    attention.mask = in_dtype(attention.mask, torch.float32)
    every, real = range(attention.count), attention.layout.real
    plain = attention.call(every, every, False).plain()
    for operation in (Bias(0.0), Gain(0.0), HeadScale(1.0), Open(nothing), Close(nothing)):
        found = attention.whole([AttentionEdit(operation)], fused=False)
        assert torch.equal(found[real], plain[real])
    for operation in (Bias(0.0), Gain(0.0), Scale(1.0), HeadScale(1.0), Calibrate(1.0, 0.1)):
        assert AttentionEdit(operation).neutral


@pytest.mark.parametrize("seed", range(6))
def test_a_factor_is_the_bias_of_its_logarithm(seed, drawn):
    """S1: scaling and renormalising rows is a bias of ``log c``."""
    attention = drawn(seed)
    at = Where(keys=IMAGE | BOS, queries=PROMPT)
    scaled = attention.whole([AttentionEdit(Scale(0.1), at)], fused=False)
    biased = attention.whole([AttentionEdit(Bias(math.log(0.1)), at)], fused=False)
    real = attention.layout.real
    torch.testing.assert_close(scaled[real], biased[real], atol=1e-6, rtol=0)


@pytest.mark.parametrize("seed", range(6))
def test_factors_that_are_not_renormalised_are_a_bias_and_a_factor_of_the_row(seed, drawn):
    """S2: ``sum_j c_j a_j v_j = exp(lse' - lse) softmax(s + log c) v``."""
    attention = drawn(seed)
    attention.softcap = None
    at = Where(keys=IMAGE)
    scaled = attention.whole([AttentionEdit(Scale(3.0, renormalise=False), at)], fused=True)
    biased = attention.whole([AttentionEdit(Bias(math.log(3.0)), at)], fused=True)
    every = range(attention.count)
    call = attention.call(every, every, False)
    scores = call.scores(slice(None)).masked_fill(~call.allowed(slice(None)), -math.inf)
    added = IMAGE.resolve(attention.layout)[:, None, None] * math.log(3.0)
    row = ((scores + added).logsumexp(-1) - scores.logsumexp(-1)).exp().transpose(1, 2)
    real = attention.layout.real
    torch.testing.assert_close(scaled[real], (biased * row[..., None])[real], atol=1e-6, rtol=0)


def weights_of(scores, edits):
    """The edited weights of one query whose scores are given."""
    count = len(scores)
    keys = torch.tensor(scores, dtype=torch.float64)[None, None, :, None]
    module = torch.nn.Module()
    query = torch.ones(1, 1, 1, 1, dtype=torch.float64)
    call = Call(module, query, keys, keys, None, {"scaling": 1.0}, None, False)
    roles = torch.full((1, count), int(Role.TURN), dtype=torch.int8)
    layout = Layout(roles, torch.zeros(1, count, dtype=torch.int32))
    part = Part(slice(0, 1), {0: edits}, torch.zeros(1, dtype=torch.long), count, (0,), layout)
    one = torch.tensor([0])
    return explicit.weights(call, edits, Cells(part, 0, call), one, one)[0, 0, 0]


def test_worked_numbers_of_a_factor_and_of_a_gain():
    """S1 and G1: scores (1, -2, 0.5, 0)."""
    scores = (1.0, -2.0, 0.5, 0.0)
    for operation in (Scale(0.1), Bias(math.log(0.1))):
        found = weights_of(scores, [AttentionEdit(operation, Where(keys=tokens(2, 3)))])
        wanted = torch.tensor([0.8717, 0.0434, 0.0529, 0.0321]).double()
        torch.testing.assert_close(found, wanted, atol=5e-5, rtol=0)
    plain = weights_of(scores, [])
    wanted = torch.tensor([0.494, 0.025, 0.300, 0.182]).double()
    torch.testing.assert_close(plain, wanted, atol=5e-4, rtol=0)
    gained = weights_of(scores, [AttentionEdit(Gain(0.7), Where(keys=tokens(0, 1)))])
    # (1, -2) become (1.7, -0.6)
    exact = torch.tensor([1.7, -0.6, 0.5, 0.0]).double().softmax(-1)
    torch.testing.assert_close(gained, exact, atol=1e-7, rtol=0)
    wanted = torch.tensor([0.631, 0.063, 0.190, 0.115]).double()
    torch.testing.assert_close(gained, wanted, atol=6e-4, rtol=0)


@pytest.mark.parametrize("fused", [True, False])
def test_a_row_that_may_see_nothing_puts_out_nothing(fused, drawn):
    """N1: zeros on every way, no NaN, and other rows as they were."""
    attention = drawn(1)
    every = range(attention.count)
    plain = attention.call(every, every, fused).plain()
    for further in ([], [AttentionEdit(Uniform())], [AttentionEdit(Scale(0.5))]):
        edits = [AttentionEdit(Close(), Where(queries=LAST)), *further]
        found = attention.whole(edits, fused=fused)
        last = attention.layout.prompt_end - 1
        assert torch.equal(found[:, last], torch.zeros_like(found[:, last]))
        assert found[attention.layout.real].isfinite().all()
        if not further:
            rest = attention.layout.real.clone()
            rest[:, last] = False
            torch.testing.assert_close(found[rest], plain[rest])


@pytest.mark.parametrize("fused", [True, False])
def test_padding_is_never_opened(fused, drawn):
    attention = drawn(next(seed for seed in range(20) if drawn(seed).padding.any()))
    edits = [AttentionEdit(Open())]
    before = attention.whole(edits, fused=fused)
    real = attention.layout.real
    attention.value[~real[:, None].expand(-1, 2, -1)] = 1e6
    attention.key[~real[:, None].expand(-1, 2, -1)] = 1e3
    assert torch.equal(attention.whole(edits, fused=fused)[real], before[real])


@pytest.mark.parametrize("fused", [True, False])
def test_lowest_numbers_are_not_added_to_lowest_numbers(fused, drawn):
    """N2: in half precision a closed cell of the model's own mask stays finite arithmetic."""
    attention = drawn(next(seed for seed in range(40) if drawn(seed).padding.any()))
    for name in ("query", "key", "value"):
        setattr(attention, name, getattr(attention, name).bfloat16())
    attention.mask = in_dtype(attention.mask, torch.bfloat16)
    edits = [AttentionEdit(Close(), Where(keys=IMAGE)), AttentionEdit(Bias(-1e4), Where(keys=BOS))]
    found = attention.whole(edits, fused=fused)
    assert found[attention.layout.real].isfinite().all()
    later = PROMPT.resolve(attention.layout) & ~BOS.resolve(attention.layout)
    assert found[later].any(), "what is left to see is still read"


def in_dtype(mask, dtype):
    """The function ``mask``, an added mask being of another type."""

    def converted(queries, keys, fused):
        found = mask(queries, keys, fused)
        if found is None or found.dtype == torch.bool:
            return found
        return torch.zeros_like(found, dtype=dtype).masked_fill(found < 0, torch.finfo(dtype).min)

    return converted


def test_heads_of_a_group_are_edited_one_by_one(drawn):
    """H3: query head 2 shares its keys with head 3, which stays as it is."""
    attention = drawn(0)
    attention.softcap = None
    real = attention.layout.real
    every = range(attention.count)
    plain = attention.call(every, every, True).plain()
    only = Where(heads=Heads(frozenset({2})))
    for operation in (HeadScale(0.5), Uniform(), Gain(0.5), Scale(2.0, renormalise=False)):
        found = attention.whole([AttentionEdit(operation, only)], fused=True)
        rest = [0, 1, 3]
        assert torch.equal(found[real][:, rest], plain[real][:, rest])
        assert not torch.allclose(found[real][:, 2], plain[real][:, 2])
    found = attention.whole([AttentionEdit(HeadScale(0.5), only)], fused=True)
    assert torch.equal(found[real][:, 2], plain[real][:, 2] * 0.5)


def test_uniform_attention_is_the_mean_of_what_may_be_seen(drawn):
    """H4: at every query, so that no query of the prompt sees what is behind it."""
    seed = next(s for s in range(20) if drawn(s).window is None and not drawn(s).padding.any())
    attention = drawn(seed)
    found = attention.whole([AttentionEdit(Uniform())], fused=True)
    value = attention.value.repeat_interleave(2, dim=1).transpose(1, 2)
    counts = torch.arange(1, attention.count + 1).double()[None, :, None, None]
    torch.testing.assert_close(found, value.cumsum(dim=1) / counts, atol=1e-6, rtol=0)


def test_worked_rows_of_uniform_attention():
    """H4: values (0..3), (4..7), (8..11) give rows (0,1,2,3), (2,3,4,5), (4,5,6,7)."""
    weights = [weights_of([3.0, -1.0, 0.5][: n + 1], [AttentionEdit(Uniform())]) for n in range(3)]
    value = torch.arange(12.0).double().reshape(3, 4)
    rows = torch.stack([w @ value[: len(w)] for w in weights])
    wanted = torch.tensor([[0, 1, 2, 3], [2, 3, 4, 5], [4, 5, 6, 7]]).double()
    torch.testing.assert_close(rows, wanted, atol=1e-6, rtol=0)
