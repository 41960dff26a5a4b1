"""Noise control: a random increment as long as the one it replaces."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from lmms_causal.errors import UserError
from lmms_causal.interventions import apply, parse, registry


@torch.no_grad()
def scored(run, spec: str | None, **request) -> Tensor:
    """Logits ``[B, K, V]`` of the last positions of the prompts under a spec, float64."""
    with apply(run.model, spec, run.processor) as handle, handle.request(**request):
        return run.model(**run.inputs()).logits[:, -2:].double()


def centred(values: Tensor) -> Tensor:
    return values - values.mean(dim=-1, keepdim=True)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "gemma3", "llama", "gemma2"])
def test_as_long_as_the_increment_and_in_another_direction(runs, family):
    run = runs(family)
    method = "icd(alpha=2;beta=0)"
    plain = scored(run, None)
    aimed = centred(scored(run, method) - plain)
    random = centred(scored(run, f"{method}+noise_control") - plain)
    torch.testing.assert_close(random.norm(dim=-1), aimed.norm(dim=-1), atol=1e-4, rtol=1e-4)
    alike = torch.cosine_similarity(random, aimed, dim=-1).abs()
    assert alike.max() < 0.25, "in 448 dimensions random directions are nearly orthogonal"
    assert alike.min() > 0
    # one direction a document: its positions share it
    same = torch.cosine_similarity(random[:, 0], random[:, 1], dim=-1)
    torch.testing.assert_close(same, torch.ones_like(same), atol=1e-5, rtol=0)


def test_the_length_is_that_of_the_sum_and_of_the_kept_tokens(runs):
    run = runs("llava")
    methods = "cfg(scale=2)+pai(alpha=0;gamma=2;beta=0.2)"
    plain, aimed = scored(run, None), scored(run, methods)
    random = scored(run, f"{methods}+noise_control")
    kept = plain.softmax(-1) >= 0.2 * plain.softmax(-1).amax(-1, keepdim=True)
    compared = 0
    results = (x.flatten(0, 1) for x in (kept, plain, aimed, random))
    for where, before, meant, control in zip(*results, strict=True):
        if where.sum() > 1:
            lengths = [centred((logits - before)[where]).norm() for logits in (meant, control)]
            torch.testing.assert_close(*lengths, atol=1e-4, rtol=1e-4)
            compared += 1
        if not where.all():
            assert control[~where].max() < control[where].min() - 19, "excluded stays excluded"
    assert compared > 2


def test_draws_are_a_documents_own(runs):
    run = runs("llama")
    spec = "cfg(scale=2;negative=prompt)+noise_control"
    length = run.inputs()["input_ids"].shape[1]
    ids = [str(i) for i in range(3)]
    first = scored(run, spec, documents=ids, prompt_length=length)
    again = scored(run, spec, documents=ids, prompt_length=length)
    other = scored(run, spec, documents=["a", "1", "2"], prompt_length=length)
    reseeded = scored(run, f"{spec}(seed=1)", documents=ids, prompt_length=length)
    assert torch.equal(first, again)
    assert torch.equal(first[1:], other[1:]) and not torch.equal(first[0], other[0])
    assert not torch.equal(first, reseeded)


@pytest.mark.parametrize("family", ["llava", "qwen2_vl", "gemma3"])
def test_all_ways_of_running_agree(runs, family):
    runs(family).agrees("pai(alpha=0;gamma=4;beta=0)+noise_control")


def test_nothing_to_control_is_refused():
    assert registry.example("noise_control") == "vcd+noise_control"
    parse("vcd+noise_control").plan()
    for spec in ("noise_control", "re2+noise_control", "vcd(alpha=0)+noise_control"):
        with pytest.raises(UserError, match=r"and none is named; write e\.g\. vcd\+noise_control"):
            parse(spec)
