"""All pairs of methods: the sum of both increments, or a refusal that says why."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from typing import Any

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import Plan, apply, parse, registry
from lmms_causal.interventions.attention.edits import (
    Bias,
    Calibrate,
    Gain,
    HeadReplace,
    HeadScale,
    Replace,
    Scale,
    Uniform,
)
from lmms_causal.interventions.edits.expectations import state_means
from lmms_causal.interventions.edits.logits import plausible
from lmms_causal.testing import Prompt, build, encode, picture

PROMPTS = [
    Prompt("Is it red?", (picture(1, 60, 44),)),
    Prompt("Which of the two fell first?", (picture(2),)),
]
ANSWER = torch.tensor([[5, 17, 40], [9, 5, 61]])
PAIRS = list(combinations(registry.names(), 2))
REFUSALS = (
    "randomises what other interventions add",  # and there is nothing that adds
    "position-invariant attention computes masks and scores of its own",
    "cannot be composed; use one",  # both replace the same thing
)


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Mean states of the prompts, as a spec names them: what cama's example has no file for."""
    model, processor = build("llava")
    means = state_means(model, processor, [encode(processor, PROMPTS)], [0])
    return means.save(tmp_path_factory.mktemp("means") / "means.safetensors")


def example(name: str, table: str) -> str:
    """A method's example, with a table that there is."""
    return f"cama(layer=0;table={table};missing=skip)" if name == "cama" else registry.example(name)


def spec_of(one: str, other: str, table: str) -> str:
    """Both methods, each with what it needs; none named twice."""
    parts = "+".join(example(name, table) for name in (one, other)).split("+")
    kept = {part.partition("(")[0]: part for part in parts}
    if other in kept and one == "vcd":
        kept["vcd"] = "vcd"
    return "+".join(kept.values())


def scored(model: Any, processor: Any, plan: Plan) -> Tensor:
    """Logits of the answer's positions ``[2, 3, V]``."""
    inputs = dict(encode(processor, PROMPTS))
    length = inputs["input_ids"].shape[1]
    views = {b.name: augmented(processor) for b in plan.branches if b.view is not None}
    for name, value in list(inputs.items()):
        if value.shape == (2, length):
            tail = (
                ANSWER if name == "input_ids" else torch.full_like(ANSWER, name == "attention_mask")
            )
            inputs[name] = torch.cat([value, tail.to(value.dtype)], dim=1)
    with apply(model, plan, processor) as handle, torch.no_grad():
        if not plan.touches_model:
            return model(**inputs).logits[:, length - 1 : -1]
        with handle.request(documents=["one", "two"], prompt_length=length, views=views):
            return model(**inputs).logits[:, length - 1 : -1]


def augmented(processor: Any) -> dict[str, Tensor]:
    """Other pictures of the same sizes, as a host would encode a branch's view."""
    other = [replace(p, images=tuple(i.point(lambda v: v // 3) for i in p.images)) for p in PROMPTS]
    return {"pixel_values": encode(processor, other)["pixel_values"]}


def first_logits(model: Any, processor: Any, plan: Plan) -> Tensor:
    """Logits ``[2, V]`` that the first token of a generation is chosen from."""
    views = {b.name: augmented(processor) for b in plan.branches if b.view is not None}
    inputs = encode(processor, PROMPTS)
    with (
        apply(model, plan.without("selection"), processor) as handle,
        handle.request(documents=["one", "two"], views=views),
    ):
        output = model.generate(
            **inputs,
            max_new_tokens=1,
            do_sample=False,
            output_logits=True,
            return_dict_in_generate=True,
        )
    return output.logits[0].float()


def unrestricted(plan: Plan) -> Plan:
    increments = tuple(replace(increment, beta=0.0) for increment in plan.increments)
    return replace(plan, increments=increments, temperature=None, control=None, selection=None)


@pytest.mark.slow  # five hundred pairs
@pytest.mark.parametrize(("one", "other"), PAIRS, ids="+".join)
def test_a_pair_adds_both_increments_to_the_same_logits_or_is_refused(one, other, tiny, table):
    model, processor = tiny("llava")
    try:
        plan = parse(spec_of(one, other, table)).plan()
    except UserError as refusal:
        assert any(reason in str(refusal) for reason in REFUSALS)
        return
    bare = unrestricted(plan)
    base = scored(model, processor, bare.without("increments", "branches"))
    expected = base.clone()
    for increment in bare.increments:
        if increment.function is not None:
            alone = scored(model, processor, replace(bare, increments=(increment,)))
            expected += alone - base
    torch.testing.assert_close(scored(model, processor, bare), expected, atol=2e-4, rtol=1e-4)

    steered = first_logits(model, processor, bare.without("increments", "branches"))
    free = first_logits(model, processor, bare)
    result = first_logits(model, processor, replace(plan, control=None))
    kept = torch.ones_like(steered, dtype=torch.bool)
    for increment in plan.increments:
        kept &= plausible(steered, increment.beta)
    assert torch.equal(result.isfinite(), kept)
    torch.testing.assert_close(
        result[kept], free[kept] / (plan.temperature or 1.0), atol=1e-4, rtol=1e-4
    )


def stages(plan: Plan) -> set[str]:
    """The stages of attention and the residual stream if edited, where the order matters."""
    kinds = {
        "scores": (Bias, Gain),
        "weights": (Scale, Uniform, Calibrate, Replace),
        "outputs": (HeadScale, HeadReplace),
    }
    found = {
        stage
        for stage, operations in kinds.items()
        if any(isinstance(edit.operation, operations) for edit in plan.attention)
    }
    return found | {"residual"} if plan.residual else found


ALONE = [pair for pair in PAIRS if "+" not in "".join(map(registry.example, pair))]


@pytest.mark.slow  # five hundred pairs
@pytest.mark.parametrize(("one", "other"), ALONE, ids="+".join)
def test_the_order_in_which_logit_methods_are_named_does_not_matter(one, other, tiny, table):
    model, processor = tiny("llava")
    specs = [example(one, table), example(other, table)]
    try:
        plans = [parse("+".join(order)).plan() for order in (specs, specs[::-1])]
    except UserError as refusal:
        assert any(reason in str(refusal) for reason in REFUSALS)
        return
    if not stages(parse(specs[0]).plan()).isdisjoint(stages(parse(specs[1]).plan())):
        return  # edits of one stage of attention, or of the stream, are done in the order named
    if not plans[0].changes_logits:
        assert plans[0].rewrites == plans[1].rewrites[::-1] or len(plans[0].rewrites) < 2
        return
    forward, backward = (scored(model, processor, plan) for plan in plans)
    torch.testing.assert_close(forward, backward, atol=1e-4, rtol=1e-4)


def test_a_control_keeps_the_norm_of_the_increment_and_changes_its_direction(tiny):
    model, processor = tiny("llava")
    base = scored(model, processor, Plan())
    aimed = scored(model, processor, parse("vcd(beta=0)").plan()) - base
    random = scored(model, processor, parse("vcd(beta=0)+noise_control").plan()) - base
    centred = aimed - aimed.mean(-1, keepdim=True)
    torch.testing.assert_close(random.norm(dim=-1), centred.norm(dim=-1), atol=1e-3, rtol=1e-3)
    cosine = torch.cosine_similarity(random, centred, dim=-1)
    assert cosine.abs().max() < 0.3
    again = scored(model, processor, parse("vcd(beta=0)+noise_control(seed=1)").plan()) - base
    assert not torch.equal(again, random)
